"""What the links in mails lead to. Opening one shows a page; only its button does something.

Programs that look through mail open every link in it, so nothing is done by GET. The token is the proof: no login and
no cookie is needed, and where none is used, there is nothing that a foreign page could abuse.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere
from reminders import clocks, moment
from reminders.models import Channel, Todo
from reminders.operators import access
from reminders.operators import todos as operators
from reminders.schedule import Person
from reminders.services import confirming, links, parts, planning
from reminders.services.links import Action, Link, LinkRefused
from reminders.services.rendering import clock_words
from reminders.services.todos import TodoRefused
from reminders.wording import skipped_words

View = Callable[..., HttpResponse]
_METHODS = ("GET", "HEAD", "POST")
_GONE = ("There is no such task", "It was deleted, or it is not yours any more.")


class Told(Exception):
    """The answer is a page that tells something, and offers nothing."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(title)
        self.status, self.title, self.text = status, title, text


def _page(*actions: Action) -> Callable[[View], View]:
    """A page for tokens of these purposes: never stored, never indexed, and its address is told to nobody."""

    def decorate(view: View) -> View:
        @wraps(view)
        def shown(request: HttpRequest, token: str) -> HttpResponse:
            try:
                if request.method not in _METHODS:
                    raise Told(405, "This link is opened in a browser", "Then press the button of its page.")
                response = view(request, *_read(token, actions))
            except Told as told:
                response = _tell(request, told.title, told.text, status=told.status)
            except NotHere:
                response = _tell(request, *_GONE, status=404)
            response["Referrer-Policy"] = "no-referrer"
            response["X-Robots-Tag"] = "noindex, nofollow"
            if response.status_code == 405:
                response["Allow"] = ", ".join(_METHODS)
            # No log line repeats its path: whoever has the token can use it (django.utils.log.log_response).
            response._has_been_logged = True  # type: ignore[attr-defined]
            return response

        return csrf_exempt(never_cache(shown))

    return decorate


def _read(token: str, actions: tuple[Action, ...]) -> tuple[Link, Any]:
    """The link, and the person whose it is. Raises Told."""
    try:
        link = links.read(token)
    except LinkRefused as exc:
        raise Told(403, "This link does not work", str(exc)) from None
    if link.action not in actions:
        raise Told(403, "This link does not work", "It was made for something else. Copy all of it from the mail.")
    user = get_user_model()._default_manager.filter(pk=link.person, is_active=True).first()
    if user is None:
        raise Told(403, "The account is closed", "Its links do nothing any more, and no reminders are sent to it.")
    return link, user


def _tell(request: HttpRequest, title: str, text: str, status: int = 200, **more: Any) -> HttpResponse:
    return render(request, "reminders/links/told.html", {"title": title, "text": text, **more}, status=status)


# --- Tasks ------------------------------------------------------------------------------------------------------------


@_page(Action.OPEN, Action.DONE, *links.SNOOZES)
def act(request: HttpRequest, link: Link, user: Any) -> HttpResponse:
    actor = Actor.of_user(user, via="link")
    todo = _todo(actor, link)
    if not todo.is_open:
        when = clock_words(todo.done_at, _person(user).time_zone) if todo.done_at else ""
        word = "given up" if todo.cancelled else "done"
        return _tell(
            request, f"This task is {word} already", f"It was closed on {when}. Nothing is left to do.", todo=todo
        )
    if link.action == Action.OPEN:
        return _show(request, link, user, todo)
    if todo.schedule_version != link.version:
        text = "The mail spoke of a date that has been changed since. This is the task as it is now."
        return _show(request, link, user, todo, status=409, note=text)
    if request.method != "POST":
        return _confirm(request, link, user, todo)
    return _finish(request, actor, todo) if link.action == Action.DONE else _snooze(request, actor, link, user, todo)


def _todo(actor: Actor, link: Link) -> Todo:
    try:
        todo = access.require_todo(actor, link.target, "change")
    except (NotHere, PermissionDenied):
        raise Told(404, *_GONE) from None
    if not parts.has_part(link.person, todo.pk):
        # An operator may change it all the same; but what the mail offers to put off would be others' reminders.
        raise Told(404, *_GONE)
    return todo


def _person(user: Any) -> Person:
    return planning.people_of([user.pk]).get(user.pk, Person(user.pk))


def _show(request: HttpRequest, link: Link, user: Any, todo: Todo, status: int = 200, note: str = "") -> HttpResponse:
    """The task with all that can be done to it, each by a link of its own."""
    person = _person(user)
    now = moment.now()
    offers = [
        {"path": links.path(_as(link, action, todo)), "words": _words(action, person, now)}
        for action in (Action.DONE, *links.SNOOZES)
    ]
    values = {"title": todo.title, "todo": todo, "offers": offers, "note": note, "due": _due(todo, person)}
    return render(request, "reminders/links/open.html", values, status=status)


def _as(link: Link, action: Action, todo: Todo) -> Link:
    return Link(action, link.person, todo.pk, todo.schedule_version)


def _confirm(request: HttpRequest, link: Link, user: Any, todo: Todo) -> HttpResponse:
    person = _person(user)
    words = _words(link.action, person, moment.now())
    values = {"title": todo.title, "todo": todo, "button": words, "due": _due(todo, person)}
    return render(request, "reminders/links/confirm.html", values)


def _words(action: Action, person: Person, now: Any) -> str:
    if action == Action.DONE:
        return "Mark it as done"
    if action == Action.HOUR:
        return "Remind me in an hour"
    there = clocks.local(links.snooze_until(action, person, now), person.time_zone)
    return f"Remind me on {there:%A} {there.day} {there:%B} at {there:%H:%M}"


def _due(todo: Todo, person: Person) -> str:
    if todo.due_date is None or todo.due_at is None:
        return ""
    day = todo.due_date
    return f"{day:%A} {day.day} {day:%B %Y}" if todo.due_time is None else clock_words(todo.due_at, person.time_zone)


def _finish(request: HttpRequest, actor: Actor, todo: Todo) -> HttpResponse:
    try:
        completed = operators.complete_todo(actor, todo.pk)
    except TodoRefused:
        raise _closed() from None
    text = "You are reminded of it no more."
    if completed.successor is not None and completed.successor.due_date is not None:
        day = completed.successor.due_date
        missed = f"; {skipped_words(completed.skipped)}" if completed.skipped else ""
        text = f"It repeats: the next one is due on {day:%A} {day.day} {day:%B %Y}{missed}."
    return _tell(request, "Done", text, todo=todo)


def _snooze(request: HttpRequest, actor: Actor, link: Link, user: Any, todo: Todo) -> HttpResponse:
    person = _person(user)
    until = links.snooze_until(link.action, person, moment.now())
    try:
        operators.snooze_todo(actor, todo.pk, until)
    except TodoRefused:
        raise _closed() from None
    return _tell(request, "Put off", f"You are reminded again on {clock_words(until, person.time_zone)}.", todo=todo)


def _closed() -> Told:
    return Told(409, "This task was closed", "It was closed at this moment. Nothing is left to do.")


# --- Channels ---------------------------------------------------------------------------------------------------------


@_page(Action.UNSUBSCRIBE)
def unsubscribe(request: HttpRequest, link: Link, user: Any) -> HttpResponse:
    """RFC 8058: mail programs post to it by themselves, without cookies, and follow no redirect."""
    channel = _channel(link)
    if request.method != "POST":
        values = {"title": "Unsubscribe from reminders?", "channel": channel}
        return render(request, "reminders/links/unsubscribe.html", values)
    if channel.unsubscribed_at is None:
        Channel.objects.filter(pk=channel.pk).update(unsubscribed_at=moment.now())
        Actor.of_user(user, via="link").record("channel.unsubscribe", channel.pk)
    undo = links.path(Link(Action.SUBSCRIBE, link.person, link.target, link.version))
    text = f"No more reminders are sent to you by {channel.get_kind_display().lower()}."
    return _tell(request, "You are unsubscribed", text, undo=undo)


@_page(Action.SUBSCRIBE)
def subscribe(request: HttpRequest, link: Link, user: Any) -> HttpResponse:
    channel = _channel(link)
    if not confirming.may_subscribe(link, channel):
        text = "The account has entered another address since. Whoever has that one can have reminders sent to it."
        return _tell(request, "This address is not used", text, status=409)
    if request.method != "POST":
        values = {"title": "Get reminders again?", "channel": channel, "again": True}
        return render(request, "reminders/links/unsubscribe.html", values)
    if channel.unsubscribed_at is not None:
        Channel.objects.filter(pk=channel.pk).update(unsubscribed_at=None)
        Actor.of_user(user, via="link").record("channel.subscribe", channel.pk)
    return _tell(request, "You get reminders again", f"They are sent to you by {channel.get_kind_display().lower()}.")


@_page(Action.CONFIRM)
def confirm(request: HttpRequest, link: Link, user: Any) -> HttpResponse:
    """Whoever reads the mail of an address lets reminders be sent to it."""
    channel = _channel(link)
    if not confirming.is_of(link, channel):
        text = "The account has entered another address since, or none. Nothing is sent to this one."
        return _tell(request, "This address is not used", text, status=409)
    if channel.waits_since is None:
        return _tell(request, "This address is confirmed", f"Reminders of {user.get_username()} are sent to it.")
    if request.method != "POST":
        values = {"title": "Send reminders to this address?", "username": user.get_username()}
        return render(request, "reminders/links/confirm_address.html", values)
    confirming.confirm(link)
    return _tell(request, "This address is confirmed", f"Reminders of {user.get_username()} are sent to it.")


def _channel(link: Link) -> Channel:
    channel = Channel.objects.filter(pk=link.target, user=link.person).first()
    if channel is None:
        raise Told(404, "Nothing is sent this way", "This way of reminding you was deleted already.")
    return channel
