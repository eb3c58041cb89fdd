"""Figures of tasks and reminders on the control room; what is well is left out, but for what is due."""

from typing import Any

from django.urls import reverse
from django.utils.http import urlencode

from jobs.admin import show
from reminders import moment
from reminders.operators import reminders


def tiles(user: Any) -> list[dict[str, Any]]:
    """What the user may see. In half a dozen statements over indexes."""
    sees_tasks, sees_reminders = user.has_perm("reminders.view_todo"), user.has_perm("reminders.view_reminder")
    if not sees_tasks and not sees_reminders:
        return []
    figures, found = reminders.figures(), []
    if sees_tasks:
        found.append(_tile("tasks due today", figures.due_today, "scheduled", "todo", state="today"))
        if figures.overdue:
            found.append(_tile("tasks overdue", figures.overdue, "queued", "todo", state="overdue"))
    if sees_reminders and figures.held:
        found.append(_tile("reminders held", figures.held, "scheduled", "reminder", state="held"))
    if user.has_perm("reminders.view_reminderdelivery"):
        if figures.failed:
            found.append(
                _tile("reminders failed in 24 hours", figures.failed, "failed", "reminderdelivery", state="failed")
            )
        if figures.uncertain:
            label = "reminders uncertain"
            found.append(_tile(label, figures.uncertain, "failed", "reminderdelivery", state="uncertain"))
    if sees_reminders and figures.scan_is_old:
        age = show.duration_text(moment.now() - figures.scanned_at) if figures.scanned_at else "never"
        url = reverse("admin:reminders_reminder_changelist")
        found.append({"label": "since the last scan for reminders", "text": age, "kind": "failed", "url": url})
    return found


def _tile(label: str, count: int, kind: str, model: str, **query: str) -> dict[str, Any]:
    text = f"{reminders.CAP:,}+" if count > reminders.CAP else f"{count:,}"
    url = f"{reverse(f'admin:reminders_{model}_changelist')}?{urlencode(query)}"
    return {"label": label, "text": text, "kind": kind, "url": url}
