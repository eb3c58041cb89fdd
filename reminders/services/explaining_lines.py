"""One rule, or one reminder by it, in one plain sentence: what became of it, what is ahead, or why nothing is."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from reminders import moment
from reminders.models import WAITING, PlannedReminder, Priority, Reminder, ReminderDelivery, ReminderRule, Todo
from reminders.schedule import Person, recipients
from reminders.services import lapsed, outbox, parts, planning, reach, sent_words
from reminders.services.outbox import Recipient
from reminders.services.sent_words import Sent

#: Of one rule, so many that fired before are told of.
MOST_EARLIER = 5


@dataclass
class Line:
    """One rule, or one reminder by it. applies: whether it is for this person. next_at: in UTC; next_local: theirs.

    held_until: of one that is sent then, as things are.
    """

    kind: str
    what: str
    applies: bool
    words: str
    next_at: datetime | None = None
    next_local: str = ""
    fired_at: datetime | None = None
    state: str = ""
    held_until: datetime | None = None
    sent: list[Sent] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)


class Facts:
    """What is looked up once."""

    def __init__(self, todo: Todo, user: Any) -> None:
        self.todo, self.user, self.now = todo, user, moment.now()
        self.name = str(user.get_username())
        self.way: Recipient = reach.of(user)
        self.person: Person | None = planning.people_of([user.pk]).get(user.pk)
        self.zone = self.person.time_zone if self.person else self.way.preferences.time_zone
        self.assignees = [one.pk for one in todo.assignees.all()]
        self.watchers = [one.pk for one in todo.watchers.all()]
        self.has_part = parts.has_part(user.pk, todo.pk)
        self.own = list(ReminderRule.objects.filter(todo=todo).select_related("person").order_by("id"))
        defaults = ReminderRule.objects.filter(todo=None, person=user).select_related("person")
        self.defaults = list(defaults.order_by("id"))
        planned = PlannedReminder.objects.filter(todo=todo, recipient=user)
        self.planned = {row.kind: row for row in planned}
        fired = Reminder.objects.filter(todo=todo, recipient=user).select_related("rule", "rule__person")
        self.fired: dict[str, list[Reminder]] = {}
        for row in fired.order_by("-id")[:200]:
            self.fired.setdefault(row.kind, []).append(row)
        ids = [row.pk for rows in self.fired.values() for row in rows[: MOST_EARLIER + 1]]
        self.deliveries: dict[int, list[ReminderDelivery]] = outbox.deliveries_of(ids)
        waiting = [row.pk for rows in self.fired.values() for row in rows if row.state in WAITING]
        self.lapsed = lapsed.reasons(waiting)
        self.told: set[str] = set()

    def people(self, rule: ReminderRule) -> list[int]:
        """For whom it is; of a rule for one person, while they have a part in the task."""
        if rule.person_id is None:
            return self.audience(rule.audience)
        return [rule.person_id] if rule.person_id != self.user.pk or self.has_part else []

    def audience(self, audience: str) -> list[int]:
        return recipients(audience, self.assignees, self.watchers, self.todo.creator_id)

    def at(self, when: datetime) -> str:
        """On the person's clock, and in UTC."""
        return sent_words.both_clocks(when, self.zone)

    @property
    def closed(self) -> str:
        """How and when the task was closed."""
        return f"{'given up' if self.todo.cancelled else 'done'} on {self.at(self.todo.done_at or self.now)}"


def line_of(facts: Facts, kind: str, what: str, applies: bool, why: str, at: datetime | str | None = None) -> Line:
    """why: what keeps it from counting; empty where that is told by what is planned or fired."""
    facts.told.add(kind)
    line = Line(kind, what, applies, why)
    rows = facts.fired.get(kind, [])
    current = next((row for row in rows if row.superseded_at is None), None)
    line.earlier = [_earlier(facts, row) for row in rows if row is not current][:MOST_EARLIER]
    planned = facts.planned.get(kind)
    if current is not None:
        line.fired_at, line.state = current.fired_at, current.state
        line.held_until = None if current.pk in facts.lapsed else current.held_until
        line.sent = [sent_words.sent_of(one, facts.zone) for one in facts.deliveries.get(current.pk, [])]
        # Of a task that does not concern them any more they are told no more than that.
        told = "" if why and not facts.has_part else _fired(facts, current, line.sent)
        line.words = f"{why} {told}".strip()
    if planned is not None and facts.todo.is_open:
        line.next_at, line.next_local = (
            planned.fire_at.astimezone(UTC),
            sent_words.on_clock(planned.fire_at, facts.zone),
        )
        line.words = _ahead(facts, planned)
    elif current is None and not why:
        line.words = _why_nothing(facts, kind, at)
    return line


def _fired(facts: Facts, row: Reminder, sent: list[Sent]) -> str:
    """What became of one that fired, also where the rule that it fired by does not count any more."""
    why = facts.lapsed.get(row.pk)
    if why is None:
        return sent_words.fired(row, sent, facts.at)
    return f"It fired on {facts.at(row.fire_at)}, still waits, and is not sent unless that changes: {why}."


def _earlier(facts: Facts, row: Reminder) -> str:
    sent = [sent_words.sent_of(one, facts.zone) for one in facts.deliveries.get(row.pk, [])]
    # Of the present dates a reminder is of the past once its rule was changed.
    former = "by the rule as it was" if row.schedule_version == facts.todo.schedule_version else "for another date"
    return f"Before that, {former}: {sent_words.fired(row, sent, facts.at)}"


def _ahead(facts: Facts, planned: PlannedReminder) -> str:
    when = facts.at(planned.fire_at)
    if not facts.has_part:
        return f"It was planned for {when}, and is not sent: {facts.name} has no part in the task any more."
    if planned.fire_at <= facts.now:
        return f"It is due since {when}, and the next scan sends it."
    if planned.schedule_version != facts.todo.schedule_version:
        return "It was planned for a date that the task no longer has, and is not sent."
    if facts.way.nobody:
        return f"It fires on {when}, and reaches nobody as things are: {facts.way.nobody}."
    held = facts.way.held_until(planned.fire_at, urgent=facts.todo.priority == Priority.URGENT)
    if held is not None:
        return f"It fires on {when}, and is held until {facts.at(held)}: {reach.why_held(facts.way, planned.fire_at)}."
    return f"It fires on {when}."


def _why_nothing(facts: Facts, kind: str, at: datetime | str | None) -> str:
    if not facts.todo.is_open:
        return f"It did not fire: the task was {facts.closed}, before its time."
    if not facts.user.is_active:
        return "The account is closed."
    if isinstance(at, str):
        return f"It cannot be worked out: {at}"
    if at is None:
        return "Nothing follows from it for this task."
    does = _does_another(facts, at)
    if does:
        return f"Another rule {does} at the same time, {facts.at(at)}; one reminder is enough."
    snooze = _snooze_after(facts, at)
    if snooze is not None:
        return f"It would fire on {facts.at(at)}; the task was snoozed until {facts.at(snooze)}, which takes its place."
    if at <= facts.now:
        return f"Its time, {facts.at(at)}, had passed when it was planned, so it did not fire."
    return f"It would fire on {facts.at(at)}, and is not planned yet; it will be with the next change of the task."


def _does_another(facts: Facts, at: datetime) -> str:
    """Whether another rule "fires" or "fired" at an instant; empty if none. A snooze is none."""
    if any(row.fire_at == at and not kind.startswith("snooze:") for kind, row in facts.planned.items()):
        return "fires"
    fired = [row for rows in facts.fired.values() for row in rows if row.superseded_at is None]
    return "fired" if any(row.fire_at == at and not row.kind.startswith("snooze:") for row in fired) else ""


def _snooze_after(facts: Facts, at: datetime) -> datetime | None:
    """A snooze that took off the plan what lay before it."""
    ends = [row.fire_at for kind, row in facts.planned.items() if kind.startswith("snooze:")]
    ends += [row.fire_at for kind, rows in facts.fired.items() if kind.startswith("snooze:") for row in rows]
    return next((end for end in sorted(ends) if end >= at), None)
