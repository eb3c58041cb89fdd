"""What stands on a task's page."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from jobs.admin import show
from jobs.admin.base import actor_of
from jobs.admin.service_pages import line, spelled
from reminders import moment
from reminders.admin.common import delivery_pill, page_url, reminder_pill, todo_pill
from reminders.models import Attachment, PlannedReminder, RepeatFrom, Todo
from reminders.operators import reminders as fired
from reminders.operators import rules
from reminders.operators.times import clock_text, due_text, preferences_of
from reminders.operators.todo_values import PRIORITY_WORDS
from reminders.services import outbox, sent_words
from reminders.wording import audience_words, kind_words, repeat_words, rule_words

MOST_PLANNED = 50
MOST_FIRED = 50
MOST_FILES = 50


def task_page(request: HttpRequest, todo: Todo) -> dict[str, Any]:
    """For templates/reminders/admin/todo.html; only what the user may see."""
    user, actor = request.user, actor_of(request)
    may_change = user.has_perm("reminders.change_todo")
    is_late = todo.due_at is not None and todo.due_at <= moment.now()
    return {
        "todo": todo,
        "pill": todo_pill(todo, is_late),
        "notes": spelled(todo.notes),
        "facts": _facts(todo),
        "rules": [_rule(todo, rule) for rule in rules.rules_of_todo(actor, todo.pk)],
        "planned": _planned(todo),
        "reminders": _fired(request, todo) if user.has_perm("reminders.view_reminder") else None,
        "files": _files(todo) if user.has_perm("reminders.view_attachment") else [],
        "may_change": may_change,
        "deeds": _deeds(todo) if may_change else [],
        "edit_url": page_url("todo", todo.pk, "edit"),
        "rule_url": page_url("todo", todo.pk, "rule"),
        "remove_url": page_url("todo", todo.pk, "remove") if user.has_perm("reminders.delete_todo") else "",
        "explain_url": page_url("todo", todo.pk, "explain") if user.has_perm("reminders.view_reminder") else "",
    }


def explain_url(todo_id: int, username: str) -> str:
    return f"{page_url('todo', todo_id, 'explain')}?{urlencode({'user': username})}"


def _deeds(todo: Todo) -> list[tuple[str, str]]:
    def url(deed: str) -> str:
        return reverse("admin:reminders_todo_deed", args=[todo.pk, deed])

    if not todo.is_open:
        return [("Reopen", url("reopen"))]
    return [("Done", url("complete")), ("Snooze", page_url("todo", todo.pk, "snooze")), ("Give up", url("cancel"))]


def _facts(todo: Todo) -> list[tuple[str, Any]]:
    names = {
        "Assignees": ", ".join(sorted(user.get_username() for user in todo.assignees.all())),
        "Watchers": ", ".join(sorted(user.get_username() for user in todo.watchers.all())),
    }
    start = f"{todo.start_date} {clock_text(todo.start_time) if todo.start_time else ''}" if todo.start_date else ""
    facts: list[tuple[str, Any]] = [
        ("Due", due_text(todo)),
        ("Starts", start.strip()),
        ("Priority", PRIORITY_WORDS[todo.priority] if todo.priority else ""),
        ("Assignees", names["Assignees"] or "nobody; its creator is reminded"),
        ("Watchers", names["Watchers"]),
        ("Creator", todo.creator.get_username() if todo.creator else ""),
        ("Project", todo.project.name if todo.project else ""),
        ("Tags", ", ".join(todo.tags)),
        ("Repeats", _repeats(todo)),
        ("Time zone", todo.time_zone),
        ("Overdue reminders", "on" if todo.overdue_reminders else "off"),
        ("Closed", show.exact(todo.done_at) if todo.done_at else ""),
        ("Closed by", todo.done_by.get_username() if todo.done_by else ""),
        ("Added", show.exact(todo.created_at)),
    ]
    return [(name, value if hasattr(value, "__html__") else spelled(value)) for name, value in facts if value]


def _repeats(todo: Todo) -> str:
    words = repeat_words(todo.rrule, todo.repeat_from)
    moves_alone = todo.rrule and todo.is_open and todo.repeat_from == RepeatFrom.DUE
    return (
        f"{words} (another due date moves this one alone; the series goes on by its own dates)"
        if moves_alone
        else words
    )


def _rule(todo: Todo, rule: Any) -> dict[str, Any]:
    def url(deed: str) -> str:
        return reverse("admin:reminders_todo_rule_deed", args=[todo.pk, rule.pk, deed])

    return {
        "words": rule_words(rule),
        "whom": audience_words(rule),
        "pill": show.pill("set aside", "bad") if rule.set_aside_at else "",
        "why": line(rule.set_aside_because, 200),
        "edit_url": reverse("admin:reminders_todo_rule_edit", args=[todo.pk, rule.pk]),
        "delete_url": url("delete"),
        "enable_url": url("enable") if rule.set_aside_at else "",
    }


def _planned(todo: Todo) -> list[dict[str, Any]]:
    rows = PlannedReminder.objects.filter(todo=todo, todo__done_at=None)
    rows = rows.select_related("recipient__reminder_preferences", "rule")
    return [
        {
            "recipient": row.recipient.get_username(),
            "what": kind_words(row.kind, row.rule),
            "local": sent_words.on_clock(row.fire_at, preferences_of(row.recipient).time_zone),
            "when": show.ago(row.fire_at),
            "explain_url": explain_url(todo.pk, row.recipient.get_username()),
        }
        for row in rows.order_by("fire_at", "id")[:MOST_PLANNED]
    ]


def _fired(request: HttpRequest, todo: Todo) -> list[dict[str, Any]]:
    rows = list(fired.reminders(actor_of(request), todo=todo.pk).order_by("-id")[:MOST_FIRED])
    deliveries = outbox.deliveries_of([row.pk for row in rows])
    return [
        {
            "recipient": row.recipient.get_username(),
            "what": kind_words(row.kind, row.rule),
            "pill": reminder_pill(row),
            "former": row.superseded_at is not None,
            "when": show.time_element(row.fire_at),
            "url": page_url("reminder", row.pk),
            "reason": line(row.reason, 200),
            "deliveries": [
                {"pill": delivery_pill(one), "kind": one.channel.kind, "url": page_url("reminderdelivery", one.pk)}
                for one in deliveries.get(row.pk, [])
            ],
            "explain_url": explain_url(todo.pk, row.recipient.get_username()),
        }
        for row in rows
    ]


def _files(todo: Todo) -> list[dict[str, Any]]:
    rows = Attachment.objects.filter(todo=todo).select_related("blob").order_by("name")[:MOST_FILES]
    return [
        {
            "name": line(row.name, 100),
            "type": row.blob.content_type,
            "size": f"{row.blob.size:,} bytes",
            "state": row.blob.scan_state,
        }
        for row in rows
    ]
