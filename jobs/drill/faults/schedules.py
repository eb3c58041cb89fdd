"""Faults of schedules and of the beats that run them."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from jobs.drill.registry import Scene, fault
from jobs.drill.system import wait_for

MISSED_EVERY_SECONDS = 1200
GAPS_SECONDS = (3600, 5 * 3600)


@fault("beats", "Two beats run; one is killed, then the other.", row=22, weight=3)
def beats(scene: Scene) -> None:
    """That each due time has one job is looked at after every drill."""
    order = scene.rng.sample(scene.system.beats, 2)
    for beat in order:
        beat.send(signal.SIGKILL)
        time.sleep(scene.rng.uniform(1.0, 4.0))


@fault("beat-dead", "No beat has run for one hour, or five: each schedule's policy says what is made up for.", row=23)
def beat_dead(scene: Scene) -> None:
    system = scene.system
    for beat in system.beats:
        beat.wanted = False
        beat.send(signal.SIGKILL)
    wait_for(lambda: all(beat.pid is None for beat in system.beats), "the beats to end", 10)
    owed = system.inside("miss", gaps=GAPS_SECONDS, every=MISSED_EVERY_SECONDS)
    for beat in system.beats:
        system.ask(beat.start)
    time.sleep(8)
    for name, expected in owed.items():
        sent, ticks = scene.rows(
            "SELECT count(DISTINCT job_id) FILTER (WHERE outcome IN ('sent', 'caught_up')), COALESCE(sum(ticks), 0) "
            "FROM jobs_scheduletick WHERE schedule_id = %s",
            expected["schedule"],
            patience_seconds=10,
        )[0]
        scene.expect(
            sent == expected["jobs"] and ticks == expected["missed"],
            f"{name}: {sent} jobs for {ticks} missed ticks instead of {expected['jobs']} for {expected['missed']}",
        )


@fault("clock-change", "The clocks change, forward and back, in three time zones.", row=24)
def clock_change(scene: Scene) -> None:
    """Asks for due times over the change: daily runs once a day, hourly ones each hour."""
    changes = {
        "America/New_York": ("2026-03-08", "2026-11-01"),
        "Europe/Berlin": ("2026-03-29", "2026-10-25"),
        "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),
    }
    for zone, days in changes.items():
        for day in days:
            after = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(days=2)
            for hour, minute in (("1", "30"), ("2", "0"), ("2", "30"), ("3", "0")):
                runs = _due_times(zone, minute, hour, after, 4)
                local = {run.astimezone(ZoneInfo(zone)).date() for run in runs}
                scene.expect(len(local) == 4, f"daily at {hour}:{minute} in {zone} around {day}: {runs}")
            hourly = _due_times(zone, "0", "*", after, 96)
            gaps = {later - earlier for earlier, later in pairwise(hourly)}
            # Where the clocks change by half an hour, so does one gap.
            allowed = {timedelta(hours=1)} | (
                {timedelta(minutes=30), timedelta(minutes=90)} if "Howe" in zone else set()
            )
            scene.expect(gaps <= allowed, f"hourly in {zone} around {day}: gaps {sorted(map(str, gaps))}")


def _due_times(zone: str, minute: str, hour: str, after: datetime, count: int) -> list[datetime]:
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    from jobs.schedules.due_times import due_times

    crontab = CrontabSchedule(minute=minute, hour=hour, timezone=ZoneInfo(zone))
    return list(islice(due_times(PeriodicTask(name="drill", task="drill.tick", crontab=crontab), after), count))


@fault("schedule-edit", "A schedule is edited again and again while it is due.", row=25, weight=2)
def edit(scene: Scene) -> None:
    scene.figures["edits"] = scene.system.inside("edit", seconds=5.0)


def check_ticks(connection: psycopg.Connection[tuple[Any, ...]], since: float) -> list[str]:
    """What is wrong with the ticks of the drill's schedules since a time: each due time is one tick with one job."""
    wrong = []
    for sentence, query in _CHECKS.items():
        rows = connection.execute(query, {"since": since}).fetchall()
        if rows:
            wrong.append(f"{len(rows)} {sentence}, such as {json.dumps(rows[0], default=str)}")
    return wrong


_CHECKS = {
    "scheduled jobs belong to no tick": """
        SELECT j.id, j.origin_detail FROM jobs_job AS j
        WHERE j.origin = 'schedule' AND j.created_at >= to_timestamp(%(since)s)
          AND NOT EXISTS (SELECT 1 FROM jobs_scheduletick AS t WHERE t.job_id = j.id)""",
    "ticks have no job": """
        SELECT t.schedule_id, t.due_at FROM jobs_scheduletick AS t
        WHERE t.at >= to_timestamp(%(since)s) AND t.outcome IN ('sent', 'caught_up')
          AND NOT EXISTS (SELECT 1 FROM jobs_job AS j WHERE j.id = t.job_id)""",
    # A tick with a detail was taken in by an unfinished job of its key, as of a task of each minute that waits for two.
    "jobs were sent for two ticks": """
        SELECT t.job_id, min(t.due_at), max(t.due_at) FROM jobs_scheduletick AS t
        WHERE t.at >= to_timestamp(%(since)s) AND t.outcome IN ('sent', 'caught_up') AND t.detail = ''
        GROUP BY t.job_id HAVING count(*) > 1""",
    "due times have no tick": """
        WITH seen AS (
            SELECT t.schedule_id, i.every, min(t.due_at) AS first, max(t.due_at) AS last, sum(t.ticks) AS ticks
            FROM jobs_scheduletick AS t
            JOIN django_celery_beat_periodictask AS p ON p.id = t.schedule_id
            JOIN django_celery_beat_intervalschedule AS i ON i.id = p.interval_id AND i.period = 'seconds'
            WHERE p.name LIKE 'drill: every%%' AND t.due_at >= to_timestamp(%(since)s)
            GROUP BY t.schedule_id, i.every)
        SELECT schedule_id, first, last, ticks FROM seen
        WHERE ticks <> extract(epoch FROM last - first) / every + 1""",
}
