"""What a task's page shows of its reminders: the rules, what comes next to oneself, and what was sent."""

from dataclasses import dataclass
from typing import Any

from jobs.operators.actors import Actor
from reminders.models import (
    ChannelKind,
    DeliveryState,
    PlannedReminder,
    Priority,
    Reminder,
    ReminderDelivery,
    ReminderState,
    Todo,
)
from reminders.operators import rules
from reminders.services import outbox, reach
from reminders.wording import kind_words

MOST = 50
_STATES = {
    ReminderState.DUE: "is about to be sent",
    ReminderState.HELD: "is held",
    ReminderState.OUTBOX: "was handed over",
    ReminderState.DROPPED: "was not sent",
    ReminderState.EXPIRED: "was found too late to be sent",
}
_DELIVERIES = {
    DeliveryState.PENDING: "is on its way",
    DeliveryState.SENT: "sent",
    DeliveryState.FAILED: "failed",
    DeliveryState.UNCERTAIN: "may have gone",
    DeliveryState.DROPPED: "not sent",
}
_WAYS = {ChannelKind.MAIL: "mail", ChannelKind.WEBHOOK: "webhook", ChannelKind.APPRISE: "Apprise"}


@dataclass(frozen=True)
class Fired:
    """One reminder that fired. good: whether it reached its person; None while that is open."""

    reminder: Reminder
    what: str
    state: str
    good: bool | None
    deliveries: list[str]


def of(actor: Actor, todo: Todo) -> dict[str, Any]:
    """For the template: rules, and of the actor: ahead (planned reminders), held, nobody, fired."""
    user = actor.user
    mine = PlannedReminder.objects.filter(todo=todo, todo__done_at=None, recipient=user).select_related("rule__person")
    ahead = list(mine.order_by("fire_at", "id")[:MOST])
    way = reach.of(user)
    held = way.held_until(ahead[0].fire_at, urgent=todo.priority == Priority.URGENT) if ahead else None
    return {
        "rules": list(rules.rules_of_todo(actor, todo.pk)),
        "ahead": [(planned, kind_words(planned.kind, planned.rule)) for planned in ahead],
        "held": held,
        "why_held": reach.why_held(way, ahead[0].fire_at) if held else "",
        "nobody": way.nobody,
        "fired": _fired(todo, user),
    }


def _fired(todo: Todo, user: Any) -> list[Fired]:
    rows = Reminder.objects.filter(todo=todo, recipient=user).select_related("rule__person")
    reminders = list(rows.order_by("-id")[:MOST])
    deliveries = outbox.deliveries_of([reminder.pk for reminder in reminders])
    return [_told(reminder, deliveries.get(reminder.pk, [])) for reminder in reminders]


def _told(reminder: Reminder, deliveries: list[ReminderDelivery]) -> Fired:
    states = {delivery.state for delivery in deliveries}
    good = None
    if DeliveryState.SENT in states:
        good = True
    elif states & {DeliveryState.FAILED, DeliveryState.UNCERTAIN} or reminder.state == ReminderState.EXPIRED:
        good = False
    state = _STATES[ReminderState(reminder.state)]
    words = f"{state}: {reminder.reason}" if reminder.reason else state
    return Fired(reminder, kind_words(reminder.kind, reminder.rule), words, good, [way_words(d) for d in deliveries])


def way_words(delivery: ReminderDelivery) -> str:
    """Such as "mail: sent"; without its address."""
    way = _WAYS[ChannelKind(delivery.channel.kind)]
    label = f" ({delivery.channel.label})" if delivery.channel.label else ""
    return f"{way}{label}: {_DELIVERIES[DeliveryState(delivery.state)]}"
