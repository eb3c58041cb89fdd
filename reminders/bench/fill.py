"""Fills tables by statements of the database's own: a million tasks within a minute."""

from datetime import UTC, datetime

from jobs.bench.stack import Stack

#: What is due is due at this instant of the benchmark's clock, or at most nine minutes before.
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

_TABLES = (
    "reminders_deliveredreminder, reminders_reminderdelivery, reminders_reminder, reminders_plannedreminder, "
    "reminders_reminderrule, reminders_todo, reminders_channel, reminders_preferences, reminders_scanrecord, "
    "jobs_job, jobs_attempt, jobs_effect, django_celery_results_taskresult"
)

_PEOPLE = """
    INSERT INTO auth_user (id, username, first_name, last_name, email, password, is_staff, is_active, is_superuser,
                           date_joined)
    SELECT 1000000 + n, 'bench' || n, '', '', 'bench' || n || '@example.org', '!', false, true, false, now()
    FROM generate_series(1, %(people)s::int) n
"""
_PREFERENCES = """
    INSERT INTO reminders_preferences (user_id, time_zone, anchor_time, urgent_bypasses_quiet, digest_from, created_at)
    SELECT 1000000 + n, (ARRAY['Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'UTC'])[1 + n %% 4], '09:00', true,
           %(digest_from)s, now()
    FROM generate_series(1, %(people)s::int) n
"""
_CHANNELS = """
    INSERT INTO reminders_channel (user_id, kind, label, address, secret, enabled, failures, set_aside_because,
                                   created_at)
    SELECT 1000000 + n, 'mail', '', '', '', true, 0, '', now() FROM generate_series(1, %(people)s::int) n
"""
# One task a number: due far ahead, in steps of a minute. Its creator is reminded of it.
_TODOS = """
    INSERT INTO reminders_todo (id, uid, title, notes, priority, tags, creator_id, time_zone,
                                due_date, due_time, due_at, schedule_version, overdue_reminders,
                                rrule, repeat_from, occurrence, cancelled, created_at, updated_at)
    SELECT n, n || '@bench', 'Water the plants of room ' || n, '', n %% 5, '{}',
           1000000 + 1 + n %% %(people)s::int, 'UTC',
           (at AT TIME ZONE 'UTC')::date, (at AT TIME ZONE 'UTC')::time, at, 0, true,
           '', 'due', 0, false, now(), now()
    FROM (SELECT n, %(now)s + %(ahead)s::interval + n %% %(steps)s::int * %(step)s::interval AS at
          FROM generate_series(%(first)s::int, %(last)s::int) n) AS numbered
"""
_PLANNED = """
    INSERT INTO reminders_plannedreminder (todo_id, recipient_id, kind, fire_at, schedule_version)
    SELECT id, creator_id, 'overdue:0', due_at, 0 FROM reminders_todo WHERE id BETWEEN %(first)s AND %(last)s
"""
# Spread over the whole table, and others for each round.
_FALL_DUE = """
    UPDATE reminders_plannedreminder SET fire_at = %(now)s - (todo_id %% 10) * interval '1 minute'
    WHERE todo_id IN (SELECT %(round)s::int + n * (SELECT max(id) / (%(count)s::int + 1) FROM reminders_todo)
                      FROM generate_series(0, %(count)s::int - 1) n)
"""
_ANALYZED = "auth_user, reminders_preferences, reminders_channel, reminders_todo, reminders_plannedreminder"


def empty(stack: Stack) -> None:
    """Forget people, tasks, reminders and jobs of the part before."""
    stack.broker(0).flushall()
    with stack.connect() as connection:
        connection.execute(f"TRUNCATE {_TABLES} CASCADE".encode())
        connection.execute("DELETE FROM auth_user WHERE id > 1000000")
        connection.execute("CHECKPOINT")


def people(stack: Stack, count: int, *, digest_from: int = 4) -> None:
    """Accounts that get their reminders by mail; their numbers follow 1,000,000."""
    with stack.connect() as connection:
        for statement in (_PEOPLE, _PREFERENCES, _CHANNELS):
            connection.execute(statement.encode(), {"people": count, "digest_from": digest_from})


def tasks(stack: Stack, count: int, *, of_people: int, first: int = 1, due: bool = False) -> None:
    """Open tasks, each with one reminder: planned an hour or more ahead, or all of them due."""
    values = {"first": first, "last": first + count - 1, "people": of_people, "now": NOW}
    values |= {"ahead": "0 minutes" if due else "1 hour", "step": "-1 minute" if due else "1 minute"}
    values["steps"] = 10 if due else 500_000
    with stack.connect() as connection:
        connection.execute(_TODOS.encode(), values)
        connection.execute(_PLANNED.encode(), values)


def fall_due(stack: Stack, count: int, number: int) -> None:
    """Have the reminders of `count` tasks be due. number: of the round, from 1; each round has other tasks."""
    with stack.connect() as connection:
        connection.execute(_FALL_DUE.encode(), {"now": NOW, "count": count, "round": number})


def analyze(stack: Stack) -> None:
    """What autovacuum would have done by itself within minutes of such a load."""
    with stack.connect() as connection:
        connection.execute(f"VACUUM ANALYZE {_ANALYZED}".encode())
        connection.execute("CHECKPOINT")
