"""Reminders that fired and wait, whose reason has gone since: looked at when they are to be sent, and when asked for.

Until then nothing is taken from them, so that what is switched off and on again meanwhile loses nobody's reminder. What
somebody puts off, closes or leaves is dropped at once, elsewhere.
"""

from collections.abc import Collection

from django.db import connection

from reminders.models import Audience
from reminders.schedule import OVERDUE_STEPS
from reminders.services.outbox_rows import numbers

# A rule that is set aside keeps what fired by it, and so does a default rule when the task gets rules of its own: the
# time of what would take its place has passed.
_REASONS = """
    SELECT * FROM (
        SELECT reminder.id, CASE
            WHEN reminder.kind LIKE 'rule:%%' AND rule.id IS NULL THEN 'its rule was deleted'
            WHEN reminder.kind LIKE 'overdue:%%' AND NOT todo.overdue_reminders
            THEN 'overdue reminders were switched off for the task'
            WHEN its.audience = 'assignees' AND NOT responsible
            THEN 'it is for whoever is responsible for the task, which its recipient is not any more'
            WHEN its.audience = 'watchers' AND NOT watching
            THEN 'it is for those who watch the task, which its recipient does not any more'
            WHEN its.audience = 'everyone' AND NOT responsible AND NOT watching
            THEN 'its recipient is not responsible for the task any more, and does not watch it'
        END AS why
        FROM reminders_reminder reminder
        JOIN reminders_todo todo ON todo.id = reminder.todo_id
        LEFT JOIN reminders_reminderrule rule ON rule.id = reminder.rule_id
        CROSS JOIN LATERAL (
            SELECT CASE WHEN reminder.kind = ANY(%(for_watchers)s) THEN 'watchers'
                        WHEN reminder.kind LIKE 'overdue:%%' OR rule.todo_id IS NULL AND rule.id IS NOT NULL
                        THEN 'assignees'
                        WHEN rule.person_id IS NULL THEN rule.audience END AS audience
        ) its
        CROSS JOIN LATERAL (
            SELECT EXISTS (SELECT FROM reminders_todo_assignees one
                           WHERE one.todo_id = todo.id AND one.user_id = reminder.recipient_id)
                   OR todo.creator_id IS NOT DISTINCT FROM reminder.recipient_id
                   AND NOT EXISTS (SELECT FROM reminders_todo_assignees one WHERE one.todo_id = todo.id) AS responsible,
                   EXISTS (SELECT FROM reminders_todo_watchers one
                           WHERE one.todo_id = todo.id AND one.user_id = reminder.recipient_id) AS watching
        ) part
        WHERE reminder.id = ANY(%(ids)s::bigint[])
    ) AS looked_at WHERE why IS NOT NULL
"""
_FOR_WATCHERS = [f"overdue:{step}" for step, (_, who) in enumerate(OVERDUE_STEPS) if who == Audience.WATCHERS]


def reasons(reminder_ids: Collection[int]) -> dict[int, str]:
    """Of those that are not to be sent any more, why. In one statement, and none if there are no ids."""
    if not reminder_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_REASONS, {"ids": numbers(reminder_ids), "for_watchers": _FOR_WATCHERS})
        return dict(cursor.fetchall())
