"""Measures what alerts watch, and writes down when one fires and recovers.

Workers' dispatchers and beats take turns in it, so it needs no queue and no job: a backlog is noticed while nothing
runs any more, and also when the last worker has died.
"""

import json
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from jobs.lanes import QUEUES
from jobs.ledger.sweeps import Connection, Turn
from jobs.models import AlertKind
from jobs.watch import delivering, of_apps

#: Failed jobs are counted up to this many.
MOST_FAILED = 100_000


@dataclass(frozen=True)
class Look:
    """One alert, as just measured. fires, recovers: whether it is to change its state now."""

    id: int
    name: str
    kind: str
    queue: str
    task: str
    threshold: int
    window_seconds: int
    value: float
    held: int
    fires: bool
    recovers: bool


_AGES_ASKED = "SELECT DISTINCT task FROM jobs_alert WHERE enabled AND kind = 'age'"

# What waits is looked for by queue and state, and by due time, in indexes of unfinished rows; nothing of it when no
# alert asks. `now()` is the statement's, and serves indexes where clock_timestamp() would not.
_LOOK = """
    WITH waiting AS MATERIALIZED (
        SELECT queue, sum(jobs)::bigint AS jobs, min(oldest) AS oldest, sum(held)::bigint AS held
        FROM (SELECT queue, count(*) AS jobs, min(run_at) AS oldest, count(*) FILTER (WHERE held) AS held
              FROM jobs_job WHERE state = 'queued' AND queue = ANY(%(queues)s) GROUP BY queue
              UNION ALL
              -- Due, and nobody has sent it: every dispatcher is gone.
              SELECT queue, count(*), min(run_at), 0 FROM jobs_job
              WHERE state = 'scheduled' AND run_at < now() GROUP BY queue) AS parts
        WHERE EXISTS (SELECT 1 FROM jobs_alert WHERE enabled AND kind IN ('oldest', 'waiting'))
        GROUP BY queue),
    ages AS (SELECT key AS task, value::float8 AS seconds FROM jsonb_each_text(%(ages)s::jsonb)),
    measured AS MATERIALIZED (
        SELECT a.id, COALESCE(CASE a.kind
            WHEN 'failed' THEN (
                SELECT count(*) FROM (
                    SELECT 1 FROM jobs_job AS j
                    WHERE j.state = 'failed' AND j.state IN ('failed', 'cancelled', 'discarded')
                      AND j.finished_at > now() - make_interval(secs => a.window_seconds)
                      AND (a.queue = '' OR j.queue = a.queue) AND (a.task = '' OR j.task = a.task)
                    LIMIT %(most)s) AS failed)
            WHEN 'oldest' THEN (SELECT extract(epoch FROM now() - min(w.oldest)) FROM waiting AS w
                                WHERE a.queue = '' OR w.queue = a.queue)
            -- Of what never succeeded, since when it is watched; what could not be asked stays as it was.
            WHEN 'age' THEN COALESCE((SELECT COALESCE(g.seconds, extract(epoch FROM now() - a.created_at))
                                      FROM ages AS g WHERE g.task = a.task), a.value)
            ELSE (SELECT sum(w.jobs) FROM waiting AS w WHERE a.queue = '' OR w.queue = a.queue)
            END, 0)::float8 AS value,
            COALESCE((SELECT sum(w.held) FROM waiting AS w WHERE a.queue = '' OR w.queue = a.queue), 0)::int AS held
        FROM jobs_alert AS a WHERE a.enabled)
    UPDATE jobs_alert AS a SET
        value = m.value, looked_at = now(),
        breached_since = CASE WHEN m.value >= a.threshold THEN COALESCE(a.breached_since, now())
                              WHEN a.firing_since IS NOT NULL THEN a.breached_since END
    FROM measured AS m WHERE m.id = a.id AND a.enabled
    RETURNING a.id, a.name, a.kind, a.queue, a.task, a.threshold, a.window_seconds, m.value, m.held,
        a.firing_since IS NULL AND m.value >= a.threshold
            AND a.breached_since <= now() - make_interval(secs => a.for_seconds)
            AND (a.fired_at IS NULL OR a.fired_at <= now() - make_interval(secs => a.cooldown_seconds)) AS fires,
        a.firing_since IS NOT NULL AND m.value < a.threshold AS recovers
"""

# Event and messages are written with the change of state; whoever finds another state changes nothing.
_DELIVERIES = """
    event AS (
        INSERT INTO jobs_alertevent (alert_id, at, kind, value, text, detail)
        SELECT id, clock_timestamp(), %(kind)s, %(value)s, %(text)s, jsonb_build_object('held', %(held)s::int)
        FROM changed RETURNING id),
    deliveries AS (
        INSERT INTO jobs_alertdelivery (event_id, channel)
        SELECT e.id, c.channel FROM event AS e, changed AS a,
               LATERAL (SELECT 'mail' WHERE a.mail_to <> '{}' UNION ALL SELECT 'webhook' WHERE a.webhook_url <> '')
               AS c(channel))
    SELECT id FROM event
"""
_FIRE = f"""
    WITH changed AS (
        UPDATE jobs_alert SET firing_since = clock_timestamp(), fired_at = clock_timestamp()
        WHERE id = %(id)s AND enabled AND firing_since IS NULL AND breached_since IS NOT NULL
        RETURNING id, mail_to, webhook_url),
    {_DELIVERIES}
"""  # noqa: S608  (constants only)
_RECOVER = f"""
    WITH changed AS (
        UPDATE jobs_alert SET firing_since = NULL, breached_since = NULL
        WHERE id = %(id)s AND firing_since IS NOT NULL RETURNING id, mail_to, webhook_url),
    {_DELIVERIES}
"""  # noqa: S608


def sweep(connection: Connection, turn: Turn) -> int:
    """Measure all alerts, in one statement but for ages; write down what changed, and have its messages sent."""
    asked = [task for (task,) in connection.execute(_AGES_ASKED)]
    parameters = {
        "most": MOST_FAILED,
        "queues": list(QUEUES),
        "ages": json.dumps(of_apps.ages(connection, asked)),
    }
    with connection.cursor(row_factory=class_row(Look)) as cursor:
        looks = cursor.execute(_LOOK, parameters).fetchall()
    for look in looks:
        if look.fires or look.recovers:
            _change(connection, look)
    if delivering.is_owed(connection):
        delivering.deliver_soon()
    return 0


def _change(connection: Connection, look: Look) -> None:
    parameters: dict[str, Any] = {
        "id": look.id,
        "kind": "fired" if look.fires else "recovered",
        "value": look.value,
        "held": look.held,
        "text": describe(look),
    }
    connection.execute(_FIRE if look.fires else _RECOVER, parameters)


def describe(look: Look) -> str:
    """What was measured, in one sentence."""
    where = f" in queue {look.queue}" if look.queue else ""
    if look.kind == AlertKind.FAILED:
        of = f" of {look.task}" if look.task else ""
        return (
            f"{_jobs(look.value)}{of}{where} failed in the last {seconds_text(look.window_seconds)}; "
            f"the threshold is {look.threshold:,}."
        )
    if look.kind == AlertKind.AGE:
        has = "has not succeeded for" if look.value >= look.threshold else "succeeded within"
        return f"{look.task} {has} {seconds_text(look.value)}; the threshold is {seconds_text(look.threshold)}."
    held = f" Held back by a pause or a limit: {look.held:,}." if look.held else ""
    if look.kind == AlertKind.OLDEST:
        text = f"The oldest job{where} waits for {seconds_text(look.value)}" if look.value else f"No job{where} waits"
        return f"{text}; the threshold is {seconds_text(look.threshold)}.{held}"
    waits = "waits" if look.value == 1 else "wait"
    return f"{_jobs(look.value)} {waits}{where}; the threshold is {look.threshold:,}.{held}"


def _jobs(count: float) -> str:
    return f"{count:,.0f} job" if count == 1 else f"{count:,.0f} jobs"


def seconds_text(seconds: float) -> str:
    """For people: 45 s, 15 min, 2 h 5 min."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
