"""How pages for people word what they show. Times are in the zone that the page is in."""

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from reminders import clocks, moment, wording
from reminders.models import Priority, Todo
from reminders.services import agenda
from reminders.web.frame import zone_name

register = template.Library()
register.filter("repeat_words", lambda todo: wording.repeat_words(todo.rrule, todo.repeat_from))
register.filter("rule_words", wording.rule_words)
register.filter("audience_words", wording.audience_words)


@register.filter
def at(when: datetime | None) -> str | SafeString:
    """A time in the page's zone, such as "Tue 24 Nov, 09:00"."""
    if when is None:
        return ""
    local = timezone.localtime(when)
    return format_html('<time datetime="{}">{}</time>', local.isoformat(timespec="seconds"), _moment_words(local))


@register.filter
def due(todo: Todo, short: str = "") -> str:
    """When a task is due; short: of one that stands under its day, the time alone."""
    return _date_words(todo, "due", short)


@register.filter
def start(todo: Todo) -> str:
    return _date_words(todo, "start", "")


def _date_words(todo: Todo, name: str, short: str) -> str:
    day, clock, instant = (getattr(todo, f"{name}_{part}") for part in ("date", "time", "at"))
    if day is None:
        return ""
    if clock is None:
        return "" if short else _day_words(datetime.combine(day, datetime.min.time()))
    local = clocks.local(instant, zone_name())
    return f"{local:%H:%M}" if short else _moment_words(local)


@register.filter
def late(todo: Todo) -> bool:
    return agenda.is_overdue(todo, zone_name(), moment.now())


@register.filter
def priority(todo: Todo) -> str:
    return Priority(todo.priority).label if todo.priority else ""


@register.filter
def pressing(todo: Todo) -> bool:
    return todo.priority >= Priority.HIGH


@register.filter
def others(todo: Todo, user: Any) -> list[str]:
    """Who else is to do it."""
    return [one.get_username() for one in todo.assignees.all() if one.pk != user.pk]


def _moment_words(local: datetime) -> str:
    return f"{_day_words(local)}, {local:%H:%M}"


def _day_words(local: datetime) -> str:
    this_year = timezone.localtime(moment.now()).year
    return f"{local:%a %-d %b}" if local.year == this_year else f"{local:%a %-d %b %Y}"
