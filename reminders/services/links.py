"""Links in mails that act without a login: signed, for one person, one thing and one purpose, and for some days.

Whoever has the mail can use its links, so each can do no more than its one thing; nothing is done by opening one.
"""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core import signing
from django.urls import reverse

from reminders import clocks, moment
from reminders.schedule import Person

VALID_FOR = timedelta(days=30)
CONFIRM_WITHIN = timedelta(days=7)
LONGEST_TOKEN = 400
_SALT = "reminders.links"


class Action(enum.StrEnum):
    """What a link is for. The snoozes: an hour, tomorrow or a week from now, at the person's hour for days."""

    OPEN = "open"
    DONE = "done"
    HOUR = "hour"
    TOMORROW = "tomorrow"
    WEEK = "week"
    UNSUBSCRIBE = "unsubscribe"
    SUBSCRIBE = "subscribe"
    CONFIRM = "confirm"


_PAGES = {
    Action.UNSUBSCRIBE: "reminder-unsubscribe",
    Action.SUBSCRIBE: "reminder-subscribe",
    Action.CONFIRM: "reminder-confirm",
}
SNOOZES = (Action.HOUR, Action.TOMORROW, Action.WEEK)


class LinkRefused(ValueError):
    """A token that is not ours, or is too old; the message says so to whoever followed the link."""


@dataclass(frozen=True)
class Link:
    """target: the number of a task, or of a channel. version: the task's schedule that the mail spoke of, or the
    address that it went to.
    """

    action: Action
    person: int
    target: int
    version: int = 0


def valid_for(action: Action) -> timedelta:
    return CONFIRM_WITHIN if action == Action.CONFIRM else VALID_FOR


def token(link: Link, now: datetime | None = None) -> str:
    expires = int(((now or moment.now()) + valid_for(link.action)).timestamp())
    return _signer().sign_object([link.action.value, link.person, link.target, link.version, expires])


def read(text: str) -> Link:
    """What a token stands for. Raises LinkRefused."""
    if len(text) > LONGEST_TOKEN:
        raise LinkRefused("This link is not whole. Copy all of it from the mail.")
    try:
        action, person, target, version, expires = _signer().unsign_object(text)
        link = Link(Action(action), int(person), int(target), int(version))
    except (signing.BadSignature, ValueError, TypeError):
        raise LinkRefused("This link is not whole, or was not made here. Copy all of it from the mail.") from None
    if moment.now().timestamp() > expires:
        raise LinkRefused(f"This link was good for {valid_for(link.action).days} days, which have passed.")
    return link


def _signer() -> signing.Signer:
    return signing.Signer(salt=_SALT, sep=".")


def base() -> str:
    """Where people reach this installation; empty if that is not known."""
    return str(settings.PUBLIC_URL).rstrip("/")


def path(link: Link) -> str:
    return reverse(_PAGES.get(link.action, "reminder-link"), args=[token(link)])


def url(link: Link) -> str:
    """The whole address, for a mail; empty if PUBLIC_URL is not set."""
    return base() + path(link) if base() else ""


def snooze_until(action: Action, person: Person, now: datetime) -> datetime:
    """When one of the snoozes ends, in UTC."""
    if action == Action.HOUR:
        return now + timedelta(hours=1)
    days = 1 if action == Action.TOMORROW else 7
    day = clocks.local(now, person.time_zone).date() + timedelta(days=days)
    return clocks.instant(datetime.combine(day, person.anchor_time), person.time_zone)
