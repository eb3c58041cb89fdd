"""What became of a reminder, in one sentence for whoever asks."""

import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from reminders.models import DeliveryState, Reminder, ReminderDelivery, ReminderState


@dataclass(frozen=True)
class Sent:
    """One delivery of a reminder, in words; message_id as the mail bears it. at: when it was sent, or written."""

    delivery: int
    channel: str
    state: str
    at: datetime
    local: str
    message_id: str
    error: str
    words: str


def on_clock(at: datetime, zone: str) -> str:
    """2027-01-31 09:00 Europe/Berlin"""
    return f"{at.astimezone(zoneinfo.ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}"


def both_clocks(at: datetime, zone: str) -> str:
    """2027-01-31 09:00 Europe/Berlin (08:00 UTC)"""
    there, here = at.astimezone(zoneinfo.ZoneInfo(zone)), at.astimezone(UTC)
    if zone == "UTC":
        return on_clock(at, zone)
    same_day = there.date() == here.date()
    return (
        f"{on_clock(at, zone)} ({here:%H:%M} UTC)" if same_day else f"{on_clock(at, zone)} ({here:%Y-%m-%d %H:%M} UTC)"
    )


def fired(row: Reminder, sent: Sequence[Sent], at: Callable[[datetime], str]) -> str:
    """What became of one that fired. sent: its deliveries. at: how a time is written."""
    began = f"It fired on {at(row.fire_at)}"
    if row.late:
        began += f", found late on {at(row.fired_at)}"
    if row.state == ReminderState.DUE:
        return f"{began}, and is written by the next scan."
    if row.state == ReminderState.HELD and row.held_until is not None:
        return f"{began}, and is held until {at(row.held_until)}: {row.reason}."
    if row.state in (ReminderState.DROPPED, ReminderState.EXPIRED):
        return f"{began}, and was not sent: {row.reason}."
    if not sent:
        return f"{began}; the record of what was sent has been removed."
    return f"{began}. {' '.join(one.words for one in sent)}"


def delivered(delivery: ReminderDelivery, channel: str, when: str) -> str:
    """when: the time of sending, or else of writing."""
    known = f" with the Message-ID {delivery.message_id}" if delivery.message_id else ""
    layout = {"digest": ", in a digest", "late": ", in a digest of late ones"}.get(delivery.layout, "")
    error = f": {delivery.error.strip().rstrip('.')}" if delivery.error else ""
    if delivery.state == DeliveryState.SENT:
        return f"Sent by {channel} on {when}{layout}{known}."
    if delivery.state == DeliveryState.FAILED:
        return f"The delivery by {channel} failed{error}."
    if delivery.state == DeliveryState.UNCERTAIN:
        return f"Whether the delivery by {channel} arrived is not known{error}; an operator decides{known}."
    if delivery.state == DeliveryState.DROPPED:
        return f"The delivery by {channel} was not sent{error or ', as nothing was left to say'}."
    tried = f", after {delivery.attempts} tries{error}" if delivery.attempts else ""
    return f"The delivery by {channel} waits to be sent{layout}{tried}."


def sent_of(delivery: ReminderDelivery, zone: str) -> Sent:
    """A delivery, in words on the clock of a zone."""
    at = delivery.sent_at or delivery.created_at
    label = delivery.channel.label
    channel = f"{delivery.channel.kind} ({label})" if label else str(delivery.channel.kind)
    return Sent(
        delivery=delivery.pk,
        channel=channel,
        state=delivery.state,
        at=at,
        local=on_clock(at, zone),
        message_id=delivery.message_id,
        error=delivery.error,
        words=delivered(delivery, channel, both_clocks(at, zone)),
    )
