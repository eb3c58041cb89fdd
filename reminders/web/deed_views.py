"""What is done to a task by one press of a button: a POST, then back to where it was pressed, with a message."""

from collections.abc import Callable
from datetime import timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from jobs.operators.actors import Actor
from jobs.operators.settings import SettingsRefused
from reminders import clocks, moment
from reminders.models import Todo
from reminders.operators import access, rules, todos
from reminders.services.todos import TodoRefused
from reminders.templatetags.people import at
from reminders.web.frame import actor_of, back, page, zone_name
from reminders.web.todo_forms import RuleForm, SnoozeForm
from reminders.web.todo_views import detail_page
from reminders.wording import skipped_words

#: Of the buttons: so many days from today, at the person's hour for days, as the links in mails do.
DAYS = {"tomorrow": 1, "week": 7}
Deed = Callable[[Actor, int], "str | SafeString"]


def _button(deed: Deed) -> Callable[..., HttpResponse]:
    @page
    @require_POST
    def pressed(request: HttpRequest, todo_id: int) -> HttpResponse:
        try:
            messages.success(request, deed(actor_of(request), todo_id))
        except TodoRefused as exc:
            messages.error(request, str(exc))
        return back(request, "pages:todo", todo_id)

    return pressed


@_button
def complete(actor: Actor, todo_id: int) -> "str | SafeString":
    completed = todos.complete_todo(actor, todo_id)
    told = _linked("Done:", completed.todo)
    if completed.successor is not None:
        told = format_html("{} {}", told, _linked("The next one:", completed.successor))
    return format_html("{} ({})", told, skipped_words(completed.skipped)) if completed.skipped else told


@_button
def cancel(actor: Actor, todo_id: int) -> "str | SafeString":
    return _linked("Given up:", todos.cancel_todo(actor, todo_id).todo)


@_button
def reopen(actor: Actor, todo_id: int) -> "str | SafeString":
    return _linked("Open again:", todos.reopen_todo(actor, todo_id))


def _linked(word: str, todo: Todo) -> SafeString:
    return format_html('{} <a href="{}"><bdi>{}</bdi></a>.', word, reverse("pages:todo", args=[todo.pk]), todo.title)


@page
@require_POST
def snooze(request: HttpRequest, todo_id: int) -> HttpResponse:
    """By a button for a usual time, or until the day of the form."""
    actor = actor_of(request)
    form = SnoozeForm(request.POST, prefix="snooze")
    until = _until(request.POST.get("for", ""))
    if not until:
        access.require_todo(actor, todo_id, "change")
        if not form.is_valid():
            return detail_page(request, todo_id, snooze=form)
        until = form.until()
    try:
        snoozed = todos.snooze_todo(actor, todo_id, until)
    except SettingsRefused as exc:
        form.is_valid()
        form.refused(exc)
        return detail_page(request, todo_id, snooze=form)
    except TodoRefused as exc:
        messages.error(request, str(exc))
    else:
        words = format_html("You will be reminded on {}:", at(snoozed.until))
        messages.success(request, _linked(words, snoozed.todo))
    return back(request, "pages:todo", todo_id)


def _until(button: str) -> str:
    """What a button for a usual time means; empty for none."""
    if button in DAYS:
        return str(clocks.local(moment.now(), zone_name()).date() + timedelta(days=DAYS[button]))
    return "PT1H" if button == "hour" else ""


@page
@require_POST
def add_rule(request: HttpRequest, todo_id: int) -> HttpResponse:
    actor = actor_of(request)
    access.require_todo(actor, todo_id, "change")
    form = RuleForm(request.POST, prefix="rule")
    if form.is_valid():
        try:
            rules.add_rule_once(actor, todo_id, form.given(actor.name))
        except SettingsRefused as exc:
            form.refused(exc)
        else:
            messages.success(request, "The reminder was added.")
            return back(request, "pages:todo", todo_id)
    return detail_page(request, todo_id, rule=form)


@page
@require_POST
def delete_rule(request: HttpRequest, todo_id: int, rule_id: int) -> HttpResponse:
    actor = actor_of(request)
    access.require_todo(actor, todo_id, "change")
    if rules.rules_of_todo(actor, todo_id).filter(pk=rule_id).exists():
        rules.delete_rule(actor, rule_id)
    messages.success(request, "The reminder was taken away.")
    return back(request, "pages:todo", todo_id)
