"""Chords: joined over distinct finished rows, in the transaction in which the last member ends.

A member that fails, or is cancelled, holds its chord up until an operator retries or discards it. The body takes the
results of those that succeeded.
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any

from celery import current_app
from celery.backends.base import _create_fake_task_request, _result_errbacks
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from django.db import connection, transaction
from django_celery_results.models import ChordCounter, TaskResult

from jobs.ledger import states
from jobs.ledger.canvas import chain_of, flat, ids_in, result_ids, result_steps, with_ids
from jobs.ledger.door import enter_now
from jobs.ledger.records import plain_canvas
from jobs.ledger.run import Run, current_run, set_current
from jobs.models import Job, State
from jobs.models.workflow import OPEN_CHORDS, Chord, ChordState
from jobs.registry import NO_POLICY

logger = logging.getLogger(__name__)

#: How a member ends without a result.
STOPPED = (State.FAILED, State.CANCELLED, State.DISCARDED)
#: When a replaced job waits for its replacement under its own id.
AWAITING = "9000-01-01T00:00Z"

# A member's own row tells its state. While it has none, or waits for its replacement, the job or the inner chord that
# ended before it does; neither means that it is still to come.
_MEMBER_STATE = f"""
    LEFT JOIN jobs_job AS j ON j.id = m.id
    LEFT JOIN jobs_job AS s ON s.id = c.stopped -> m.id ->> 'job'
    LEFT JOIN jobs_chord AS k ON k.group_id = c.stopped -> m.id ->> 'chord'
    CROSS JOIN LATERAL (SELECT CASE
        WHEN j.id IS NOT NULL AND NOT (j.state = 'scheduled' AND j.run_at = '{AWAITING}') THEN j.state
        WHEN s.state IN ('failed', 'cancelled', 'discarded') THEN s.state
        WHEN k.state IN ('resting', 'broken') THEN 'failed'
    END AS state OFFSET 0) AS t
"""
_UNENDED = "t.state IS NULL OR t.state IN ('scheduled', 'queued', 'running')"

# Backwards: members end about in the order in which they were sent, so the last ones tell soonest.
_IS_OPEN = f"""
    SELECT EXISTS (
        SELECT 1 FROM jobs_chord AS c CROSS JOIN LATERAL (
            SELECT id FROM jsonb_array_elements_text(c.leaves) WITH ORDINALITY AS l(id, place) ORDER BY place DESC
            OFFSET 0) AS m
        {_MEMBER_STATE}
        WHERE c.group_id = %s AND ({_UNENDED}))
"""  # noqa: S608  (constants only)

_STATES = f"""
    SELECT m.id, t.state, COALESCE(s.id, k.group_id) FROM jobs_chord AS c
    CROSS JOIN LATERAL jsonb_array_elements_text(c.leaves) WITH ORDINALITY AS m(id, place) {_MEMBER_STATE}
    WHERE c.group_id = %s ORDER BY m.place
"""  # noqa: S608

_INSERT = """
    INSERT INTO jobs_chord (
        group_id, state, members, leaves, steps, stopped, body, rests, error, created_at, checked_at)
    SELECT %s, 'waiting', %s::jsonb, %s::jsonb, %s::jsonb, '{}', %s::jsonb, 0, '', now, now
    FROM clock_timestamp() AS now
    ON CONFLICT DO NOTHING
"""


def begin(results: Any, body: Any) -> None:
    """Write a chord down before its members are sent: now, or with the running job's finish.

    results: the GroupResult of its frozen header. body: Celery's signature, with its ids.
    """
    run = current_run()
    chord = _new_chord(results, body)
    if run is not None and run.body_done:
        run.chords.append(chord)
    else:
        insert([chord])


def _new_chord(results: Any, body: Any) -> Chord:
    members = [result_ids(result) for result in results]
    steps = {found for result in results for found in result_steps(result)}
    return Chord(
        group_id=str(results.id),
        members=members,
        leaves=list(dict.fromkeys(flat(members))),
        steps=sorted(steps),
        body=plain_canvas(body),
    )


def insert(chords: list[Chord]) -> None:
    """Insert chords that are not there yet, in the caller's transaction."""
    if chords:
        with connection.cursor() as cursor:
            for chord in chords:
                parts = (chord.members, chord.leaves, chord.steps, chord.body)
                cursor.execute(_INSERT, [chord.group_id, *(json.dumps(part) for part in parts)])


def member_ended(job_id: str, group_id: str, body: Any) -> None:
    """A member succeeded, in this transaction: go on if it was the last.

    body: what the member's own message says follows, for a chord that a foreign client sent.
    """
    if not Chord.objects.filter(pk=group_id).exists() and not _adopt(group_id, body):
        logger.warning("Job %s belongs to the chord %s, of which nothing is known", job_id, group_id)
        return
    settle(group_id, by=job_id)


def _adopt(group_id: str, body: Any) -> bool:
    """Take over a chord that another Celery application wrote down for django-celery-results."""
    counter = ChordCounter.objects.select_for_update().filter(group_id=group_id).first()
    if counter is None:
        return False
    insert([_new_chord(counter.group_result(app=current_app), body)])
    counter.delete()
    return True


def settle(group_id: str, *, by: str | None = None) -> None:
    """Send a chord's body if none of its members is to come, or let it rest if some of them failed.

    In the transaction of whatever ended a member: the lock lets exactly one of two that end together be the last.
    by: the job that ended.
    """
    with transaction.atomic(savepoint=False):
        chord = Chord.objects.select_for_update().only("state").filter(pk=group_id, state__in=OPEN_CHORDS).first()
        if chord is None:
            return
        with connection.cursor() as cursor:
            cursor.execute(_IS_OPEN, [group_id])
            if cursor.fetchone()[0]:
                return
            cursor.execute(_STATES, [group_id])
            members: list[tuple[str, str, str | None]] = cursor.fetchall()
        culprits = [(row[2] or row[0], row[1]) for row in members if row[1] in (State.FAILED, State.CANCELLED)]
        if culprits:
            if chord.state == ChordState.WAITING:
                _rest(chord, culprits, by)
        else:
            _join(chord, {row[0] for row in members if row[1] == State.SUCCEEDED}, by)


def _join(chord: Chord, succeeded: set[str], by: str | None) -> None:
    """Send the body, with the results of the members that succeeded; discard it if none did."""
    values = {
        row.task_id: current_app.backend.decode_content(row, row.result)
        for row in TaskResult.objects.filter(task_id__in=succeeded)
    }
    results = _picked(chord.members, succeeded, values)
    root = _root_of(by)
    try:
        with _collecting() as collected:
            body = maybe_signature(chord.body, app=current_app)
            body.apply_async((results,), parent_id=by, root_id=body.options.get("root_id") or root)
    except Exception as exc:
        # Nothing has been written yet: Postgres' own errors come later, and go to the caller.
        logger.exception("The body of the chord %s cannot be sent", chord.pk)
        _end(chord, ChordState.BROKEN, f"{type(exc).__name__}: {exc}"[:1000])
        _call_errbacks(chord, f"its body cannot be sent: {exc}", by)
        return
    _end(chord, ChordState.JOINED if succeeded else ChordState.DROPPED)
    _enter(collected)
    if not succeeded:
        _discard_all([record.id for record in collected.held], "every member of its chord was discarded")


def _root_of(job_id: str | None) -> str | None:
    return Job.objects.filter(pk=job_id).values_list("root_id", flat=True).first() if job_id else None


def _picked(members: Any, succeeded: set[str], values: dict[str, Any]) -> list[Any]:
    return [
        _picked(member, succeeded, values) if isinstance(member, list) else values.get(member)
        for member in members
        if isinstance(member, list) or member in succeeded
    ]


def _rest(chord: Chord, culprits: list[tuple[str, str]], by: str | None) -> None:
    """Members failed and none is to come: call the body's errbacks, once, and tell the chords around this one."""
    chord.rests += 1
    Chord.objects.filter(pk=chord.pk).update(state=ChordState.RESTING, rests=chord.rests)
    culprit, state = culprits[0]
    error = Job.objects.filter(pk=culprit).values_list("error", flat=True).first() or ""
    _call_errbacks(chord, f"job {culprit} {state}: {error}".removesuffix(": "), by)
    rest = [chord.body, *chain_of(chord.body.get("options") or {})]
    for outer in sorted(_stop(rest, {"chord": chord.pk})):
        settle(outer, by=by)


def _call_errbacks(chord: Chord, why: str, by: str | None) -> None:
    body = maybe_signature(chord.body, app=current_app)
    body_id, errbacks = _result_errbacks(body, current_app)
    if not errbacks:
        return
    with _collecting() as collected:
        request = _create_fake_task_request(
            body_id or body.id or chord.pk,
            with_ids(errbacks, chord.pk, "error", chord.rests),
            body.task,
            root_id=_root_of(by),
        )
        current_app.backend._call_task_errbacks(request, ChordError(why), None)
    _enter(collected)


def _end(chord: Chord, state: ChordState, error: str = "") -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_chord SET state = %s, error = %s, finished_at = clock_timestamp() WHERE group_id = %s",
            [state, error, chord.pk],
        )


def stopped(job_id: str) -> None:
    """A job failed, or was cancelled or discarded, in this transaction: tell the chords that wait for it.

    Members that would have followed it will not come; those that have a row and wait for their replacement are
    discarded with it. Doing this again changes nothing.
    """
    job = Job.objects.only("state", "group_id", "embed").filter(pk=job_id, state__in=STOPPED).first()
    if job is None or not (job.embed.get("chord") or job.embed.get("chain")):
        return
    with transaction.atomic(savepoint=False):
        rest = chain_of(job.embed)
        groups = _stop(rest, {"job": job_id})
        if job.embed.get("chord") and job.group_id:
            groups.add(job.group_id)
        if job.state == State.DISCARDED:
            following = {found for step in rest for found in ids_in(step)}
            awaiting = Job.objects.filter(pk__in=following, state=State.SCHEDULED, run_at=AWAITING)
            _discard_all(list(awaiting.values_list("pk", flat=True)), f"its replacement {job_id} was discarded")
        for group_id in sorted(groups):
            settle(group_id, by=job_id)


def _stop(rest: list[Any], by: dict[str, str]) -> set[str]:
    """Note in the open chords of which `rest` holds members why these do not come. Returns the chords' ids."""
    following = {found for step in rest for found in ids_in(step)}
    if not following:
        return set()
    waiting = Chord.objects.select_for_update().filter(state__in=OPEN_CHORDS, steps__has_any_keys=sorted(following))
    groups = set()
    for chord in waiting.order_by("pk"):
        members = {leaf: by for leaf in chord.leaves if leaf in following}
        if members:
            Chord.objects.filter(pk=chord.pk).update(stopped={**chord.stopped, **members})
            groups.add(chord.pk)
    return groups


def reopened(job_id: str) -> None:
    """An operator retries a job, in this transaction: chords that rested because of it wait again."""
    job = Job.objects.only("embed").filter(pk=job_id).first()
    if job is None or not (job.embed.get("chord") or job.embed.get("chain")):
        return
    ids = {job_id, *(found for step in chain_of(job.embed) for found in ids_in(step))}
    Chord.objects.filter(state=ChordState.RESTING, steps__has_any_keys=sorted(ids)).update(state=ChordState.WAITING)


CHECKED_AT_ONCE = 100

_CHECK = f"""
    UPDATE jobs_chord SET checked_at = clock_timestamp() WHERE group_id IN (
        SELECT group_id FROM jobs_chord WHERE state IN ('waiting', 'resting')
        ORDER BY checked_at LIMIT {CHECKED_AT_ONCE} FOR UPDATE SKIP LOCKED)
    RETURNING group_id
"""  # noqa: S608

_STOPPED_STEPS = """
    SELECT j.id FROM jobs_chord AS c CROSS JOIN LATERAL jsonb_array_elements_text(c.steps) AS m(id)
    JOIN jobs_job AS j ON j.id = m.id
    WHERE c.group_id = %s AND j.state IN ('failed', 'cancelled', 'discarded') AND j.embed ? 'chain'
"""


def look_at_open_chords() -> None:
    """Settle chords whose members ended in a way that told them nothing: expired, superseded, or parked too long."""
    with connection.cursor() as cursor:
        cursor.execute(_CHECK)
        groups = [row[0] for row in cursor.fetchall()]
        for group_id in groups:
            cursor.execute(_STOPPED_STEPS, [group_id])
            for (job_id,) in cursor.fetchall():
                stopped(job_id)
            settle(group_id)


def _discard_all(ids: list[str], reason: str) -> None:
    with connection.cursor() as cursor:
        gone = [job_id for job_id in ids if states.discard(cursor, job_id, reason)]
    for job_id in gone:
        stopped(job_id)


@contextlib.contextmanager
def _collecting() -> Iterator[Run]:
    """Have what Celery sends inside the block collected, instead of sent by whichever job runs in this thread."""
    before = current_run()
    collected = Run("", "", 0, 0, NO_POLICY, body_done=True)
    set_current(collected)
    try:
        yield collected
    finally:
        set_current(before)


def _enter(collected: Run) -> None:
    insert(collected.chords)
    enter_now(collected.held)
