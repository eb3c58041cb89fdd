"""What a reminder says: the same facts as a mail, as JSON for a webhook, and as a short text for other services."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse

from reminders import clocks, moment
from reminders.models import Anchor, Channel, ChannelKind, Layout, Priority, Reminder, ReminderDelivery, Todo
from reminders.schedule import Person
from reminders.services import addresses, links
from reminders.services.links import Action, Link
from reminders.services.spans import span

#: The rest of a large digest is counted.
MOST_ITEMS = 100
LONGEST_SUBJECT = 150
LONGEST_NOTES = 600


@dataclass(frozen=True)
class Item:
    """One task as it is told. state: overdue, due or starts, as a word to show it by. links: by `Action`."""

    todo: Todo
    reminder: Reminder
    title: str
    facts: list[str]
    overdue: str
    late: str
    notes: str
    url: str
    links: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """A message before it is written for one kind of channel. more: how many tasks it leaves out."""

    layout: Layout
    subject: str
    headline: str
    items: Sequence[Item]
    more: int
    person: Person
    at: datetime
    links: dict[str, str]


def content(delivery: ReminderDelivery, reminders: Sequence[Reminder], person: Person) -> Content:
    """reminders: those still to be told, with their tasks, projects and rules; at least one."""
    now = moment.now()
    ordered = sorted(reminders, key=lambda row: (row.todo.due_at is None, row.todo.due_at or row.fire_at, row.pk))
    items = [_item(row, person, now) for row in ordered[:MOST_ITEMS]]
    layout = Layout(delivery.layout)
    if layout == Layout.DIGEST and len(reminders) == 1:
        layout = Layout.SINGLE
    subject, headline = _headlines(layout, items, len(reminders))
    stop = Link(Action.UNSUBSCRIBE, delivery.recipient_id, delivery.channel_id, _address_version(delivery.channel))
    base = links.base()
    around = {"unsubscribe": links.url(stop), "tasks": f"{base}{reverse('pages:todos')}" if base else ""}
    return Content(layout, subject, headline, items, len(reminders) - len(items), person, now, around)


def _address_version(channel: Channel) -> int:
    return addresses.version_of(addresses.mail_address(channel)) if channel.kind == ChannelKind.MAIL else 0


def _headlines(layout: Layout, items: Sequence[Item], count: int) -> tuple[str, str]:
    first = items[0]
    if layout == Layout.LATE:
        what = "A reminder comes late" if count == 1 else f"{count} reminders come late"
        return _line(f"{what}: {first.title}" if count == 1 else what), what
    if layout == Layout.DIGEST:
        return _line(f"{count} reminders: {first.title}, …"), f"{count} reminders"
    # The same for each reminder of a task: mail programs show as one thread what has one subject.
    return _line(f"Reminder: {first.title}"), first.title


def _line(text: str) -> str:
    """One line, without what could end a header, and not too long."""
    plain = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return plain if len(plain) <= LONGEST_SUBJECT else plain[: LONGEST_SUBJECT - 1].rstrip() + "…"


# --- One task ---------------------------------------------------------------------------------------------------------


def _item(reminder: Reminder, person: Person, now: datetime) -> Item:
    todo = reminder.todo
    facts = [text for text in (_when(todo, reminder, person), _project(todo), _priority(todo)) if text]
    base = links.base()
    late = span(now - reminder.fire_at)
    fire_at = clock_words(reminder.fire_at, person.time_zone)
    return Item(
        todo=todo,
        reminder=reminder,
        title=_line(todo.title) or "(no title)",
        facts=facts,
        overdue=_overdue(todo, person, now),
        late=f"This was to come on {fire_at}, {late} ago" if reminder.late and late else "",
        notes=_notes(todo.notes),
        url=f"{base}{reverse('pages:todo', args=[todo.pk])}" if base else "",
        links={
            action.value: links.url(Link(action, reminder.recipient_id, todo.pk, todo.schedule_version))
            for action in (Action.DONE, *links.SNOOZES, Action.OPEN)
        },
    )


def _when(todo: Todo, reminder: Reminder, person: Person) -> str:
    zone = person.time_zone
    about_start = reminder.rule is not None and reminder.rule.anchor == Anchor.START and reminder.rule.at_date is None
    parts = []
    if todo.start_date is not None and (about_start or todo.due_date is None):
        parts.append(f"Starts on {_day_and_time(todo.start_date, todo.start_time, todo.start_at, zone)}")
    if todo.due_date is not None:
        parts.append(f"Due on {_day_and_time(todo.due_date, todo.due_time, todo.due_at, zone)}")
    return "; d".join(part[1:] if index else part for index, part in enumerate(parts))


def _day_and_time(day: Any, clock: Any, at: datetime | None, zone: str) -> str:
    """A day alone is the same day everywhere; a time is told on the recipient's clock."""
    return f"{day:%A} {day.day} {day:%B %Y}" if clock is None or at is None else clock_words(at, zone)


def clock_words(at: datetime, zone: str) -> str:
    there = clocks.local(at, zone)
    return f"{there:%A} {there.day} {there:%B %Y} at {there:%H:%M} {zone}"


def _overdue(todo: Todo, person: Person, now: datetime) -> str:
    if todo.due_date is None or todo.due_at is None:
        return ""
    if todo.due_time is None:
        days = (clocks.local(now, person.time_zone).date() - todo.due_date).days
        return f"Overdue by {days} {'day' if days == 1 else 'days'}" if days > 0 else ""
    past = span(now - todo.due_at)
    return f"Overdue by {past}" if past else ""


def _project(todo: Todo) -> str:
    return f"Project {_line(todo.project.name)}" if todo.project is not None else ""


def _priority(todo: Todo) -> str:
    return f"Priority {Priority(todo.priority).label.lower()}" if todo.priority else ""


def _notes(text: str) -> str:
    kept = "".join(character for character in text if character.isprintable() or character == "\n").strip()
    return kept if len(kept) <= LONGEST_NOTES else kept[:LONGEST_NOTES].rstrip() + " …"


# --- Mail -------------------------------------------------------------------------------------------------------------


def domain() -> str:
    """Of the address that mails come from."""
    found = getaddresses([settings.DEFAULT_FROM_EMAIL])
    return (found[0][1].rpartition("@")[2] if found else "") or "localhost"


def message_id(delivery: ReminderDelivery) -> str:
    """The same for every try. The time keeps it apart from that of a row of the same number in a former database."""
    return f"<reminder.{delivery.pk}.{int(delivery.created_at.timestamp())}@{domain()}>"


def thread_id(todo: Todo) -> str:
    """What all mails of a task refer to, so that they are shown together. No mail has it."""
    return f"<task.{todo.pk}.{int(todo.created_at.timestamp())}@{domain()}>"


def mail(delivery: ReminderDelivery, told: Content, address: str) -> EmailMessage:
    """address: checked, in ASCII."""
    message = bare_mail(address, message_id(delivery))
    message["Subject"] = told.subject
    message["Date"] = format_datetime(told.at)
    # Out-of-office replies to machines help nobody.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["List-Id"] = f"Reminders of Switchyard <reminders.{domain()}>"
    if told.links["unsubscribe"]:
        message["List-Unsubscribe"] = f"<{told.links['unsubscribe']}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if len(told.items) == 1 and not told.more:
        message["In-Reply-To"] = message["References"] = thread_id(told.items[0].todo)
    values = {"told": told, "late": told.layout == Layout.LATE, "single": told.layout == Layout.SINGLE}
    message.set_content(render_to_string("reminders/mail/reminder.txt", values))
    message.add_alternative(render_to_string("reminders/mail/reminder.html", values), subtype="html")
    return message


def bare_mail(address: str, known_as: str) -> EmailMessage:
    """Sender, recipient and Message-ID: all that is asked for where the bytes are stored already."""
    message = EmailMessage()
    message["From"] = settings.DEFAULT_FROM_EMAIL
    message["To"] = address
    message["Message-ID"] = known_as
    return message


# --- Webhook and others -----------------------------------------------------------------------------------------------


def payload(delivery: ReminderDelivery, told: Content) -> bytes:
    """The body of a webhook's message; see docs/reminders.md."""
    kind = "reminder.due" if told.layout == Layout.SINGLE else "reminder.digest"
    data = {
        "delivery": delivery.pk,
        "late": told.layout == Layout.LATE,
        "recipient": {"id": delivery.recipient_id, "username": delivery.recipient.get_username()},
        "time_zone": told.person.time_zone,
        "more": told.more,
        "todos": [_todo(item, told.at) for item in told.items],
    }
    body = {"type": kind, "timestamp": told.at.isoformat(), "data": data}
    return json.dumps(body, sort_keys=True).encode()


def test_payload(channel: Channel, text: str) -> bytes:
    """The body of a message that tries a webhook."""
    body = {
        "type": "reminder.test",
        "timestamp": moment.now().isoformat(),
        "data": {"channel": channel.pk, "text": text},
    }
    return json.dumps(body, sort_keys=True).encode()


def _todo(item: Item, now: datetime) -> dict[str, Any]:
    todo, due_at = item.todo, item.todo.due_at
    return {
        "id": todo.pk,
        "title": todo.title,
        "priority": Priority(todo.priority).label.lower(),
        "project": todo.project.name if todo.project is not None else None,
        "tags": todo.tags,
        "due_date": todo.due_date.isoformat() if todo.due_date else None,
        "due_time": todo.due_time.isoformat() if todo.due_time else None,
        "time_zone": todo.time_zone,
        "due_at": due_at.isoformat() if due_at else None,
        "overdue_seconds": max(int((now - due_at).total_seconds()), 0) if due_at else 0,
        "reminder": {"id": item.reminder.pk, "kind": item.reminder.kind, "at": item.reminder.fire_at.isoformat()},
        "url": item.url or None,
    }


def short(told: Content) -> tuple[str, str]:
    """Title and text for a chat or a telephone."""
    lines = []
    for item in told.items[:20]:
        about = "; ".join(filter(None, [item.overdue, *item.facts, item.late]))
        lines.append(f"{item.title}: {about}" if about else item.title)
        if item.url:
            lines.append(item.url)
    left = len(told.items) - len(told.items[:20]) + told.more
    if left:
        lines.append(f"… and {left} more")
    return told.subject, "\n".join(lines)
