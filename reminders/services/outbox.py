"""The outbox: reminders that fired are held, dropped, or written down as deliveries; then each delivery has its job."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.db import transaction

from jobs import job
from jobs.ledger.door import collecting, enter_now, holder_of
from reminders.clocks import QuietHours, usable_zone
from reminders.models import (
    Channel,
    ChannelKind,
    DeliveredReminder,
    Layout,
    ReminderDelivery,
    ReminderState,
)
from reminders.services import lapsed, outbox_rows
from reminders.services.outbox_rows import NewDelivery, Settled, Waiting
from reminders.services.planning import default_preferences

if TYPE_CHECKING:
    from reminders.services.scanning import Scan

#: Reminders that are written in one transaction.
BATCH = 5_000
#: The rest is left to the next scan.
JOBS_A_SCAN = 20_000
JOBS_A_BATCH = 500
MAIL_PRIORITY, OTHER_PRIORITY = 6, 4


@dataclass(frozen=True)
class Recipient:
    """How one person is reached. channels: those that may be used now. nobody: why there is none.

    preferences, channels: rows of the models, or in a scan, which reads many, tuples of the same names.
    """

    preferences: Any
    channels: Sequence[Any]
    nobody: str = ""

    def held_until(self, now: datetime, urgent: bool) -> datetime | None:
        """When what fires now may be sent; None: at once."""
        kept = self.preferences
        paused: datetime | None = kept.paused_until
        if paused is not None and paused > now:
            return paused
        if kept.quiet_from is None or kept.quiet_until is None or (urgent and kept.urgent_bypasses_quiet):
            return None
        return QuietHours(kept.quiet_from, kept.quiet_until).until(now, usable_zone(kept.time_zone))


def write(now: datetime, done: "Scan") -> None:
    """Hand all that waits to deliveries, in batches of whole people's reminders."""
    done.released += outbox_rows.release(now)
    after = 0
    while True:
        with transaction.atomic():
            rows = outbox_rows.claim(after, BATCH)
            whole = _whole_people(rows)
            if whole:
                write_batch(whole, now, done)
        if len(rows) < BATCH:
            break
        # Of somebody with more than a batch the rest is still to come.
        after = whole[-1].recipient_id - (len(whole) == len(rows) and whole[0].recipient_id == whole[-1].recipient_id)
        job.check_cancelled()


def _whole_people(rows: list[Waiting]) -> list[Waiting]:
    """Without the last person, whose reminders the end of a full batch may have divided; unless there is no other."""
    if len(rows) < BATCH or rows[0].recipient_id == rows[-1].recipient_id:
        return rows
    return [row for row in rows if row.recipient_id != rows[-1].recipient_id]


def write_batch(rows: list[Waiting], now: datetime, done: "Scan") -> None:
    """Settle claimed reminders, ordered by their recipients, in a transaction of the caller's."""
    if not rows:
        return
    people = recipients({row.recipient_id for row in rows})
    urgent = _urgent(rows, people)
    # What fired in this transaction was looked at as it was planned.
    gone = lapsed.reasons([row.id for row in rows if row.state == ReminderState.DUE])
    settled: list[Settled] = []
    deliveries: list[NewDelivery] = []
    for person_id, theirs in groupby(rows, key=attrgetter("recipient_id")):
        person = people.get(person_id)
        sending = []
        for row in theirs:
            one = _settle(row, person, now, is_urgent=row.todo_id in urgent, gone=gone.get(row.id, ""))
            if one.state != row.state:
                settled.append(one)
            if one.state == ReminderState.OUTBOX:
                sending.append(row)
        if sending and person is not None:
            deliveries += _deliveries(sending, person)
    outbox_rows.store(settled, deliveries, now)
    states = [one.state for one in settled]
    done.held += states.count(ReminderState.HELD)
    done.dropped += states.count(ReminderState.DROPPED)
    done.deliveries += len(deliveries)


def _urgent(rows: Iterable[Waiting], people: Mapping[int, Recipient]) -> set[int]:
    """The tasks that are; asked for where it would matter."""
    quiet = {pk for pk, person in people.items() if person.preferences.quiet_from is not None}
    concerned = [row.todo_id for row in rows if row.recipient_id in quiet]
    return outbox_rows.urgent_among(concerned) if concerned else set()


def _settle(row: Waiting, person: Recipient | None, now: datetime, *, is_urgent: bool, gone: str) -> Settled:
    why = row.why_not or gone or ("the account is closed" if person is None else person.nobody)
    if why or person is None:
        return Settled(row.id, str(ReminderState.DROPPED), None, why)
    until = person.held_until(now, urgent=is_urgent)
    if until is not None:
        return Settled(row.id, str(ReminderState.HELD), until, _why_held(person, now))
    return Settled(row.id, str(ReminderState.OUTBOX), None, "")


def _why_held(person: Recipient, now: datetime) -> str:
    paused = person.preferences.paused_until
    return "reminders are paused" if paused is not None and paused > now else "quiet hours"


def _deliveries(rows: list[Waiting], person: Recipient) -> list[NewDelivery]:
    late = [row.id for row in rows if row.late]
    fresh = [row.id for row in rows if not row.late]
    least = person.preferences.digest_from
    groups: list[tuple[Layout, list[int]]] = []
    if late:
        groups.append((Layout.LATE, late))
    if least and len(fresh) >= least:
        groups.append((Layout.DIGEST, fresh))
    else:
        groups += [(Layout.SINGLE, [one]) for one in fresh]
    recipient_id = rows[0].recipient_id
    return [
        NewDelivery(channel.pk, recipient_id, layout, members)
        for layout, members in groups
        for channel in person.channels
    ]


# --- People -----------------------------------------------------------------------------------------------------------


def recipients(ids: Collection[int]) -> dict[int, Recipient]:
    """How people are reached, of those whose accounts are open. Whoever has no channel yet gets one by mail."""
    people = outbox_rows.people(ids)
    channels = outbox_rows.channels(ids)
    without = [
        person.id
        for person in people
        if person.email and not any(channel.kind == ChannelKind.MAIL for channel in channels[person.id])
    ]
    if without:
        # In their order, so that two who do this at once do not wait for one another.
        made = [Channel(user_id=pk, kind=ChannelKind.MAIL) for pk in sorted(without)]
        Channel.objects.bulk_create(made, ignore_conflicts=True)
        channels |= outbox_rows.channels(without)
    usual = default_preferences(None)
    return {one.id: _recipient(one, one.preferences or usual, channels[one.id]) for one in people}


def _recipient(account: outbox_rows.Account, preferences: Any, channels: list[Any]) -> Recipient:
    usable = [channel for channel in channels if is_usable(channel, account)]
    return Recipient(preferences, usable, "" if usable else why_unreachable(channels, account))


def is_usable(channel: Any, user: Any) -> bool:
    if not channel.enabled or channel.unsubscribed_at is not None or channel.set_aside_at is not None:
        return False
    if channel.waits_since is not None:
        return False
    return bool(channel.address or (channel.kind == ChannelKind.MAIL and user.email))


def why_unreachable(channels: Sequence[Any], user: Any) -> str:
    """In one line for whoever asks why nothing came."""
    if not channels:
        return "the account has no mail address, and no other way to be reached"
    told = []
    for channel in channels:
        if channel.unsubscribed_at is not None:
            told.append(f"{channel.kind}: unsubscribed")
        elif channel.set_aside_at is not None:
            told.append(f"{channel.kind}: set aside, {channel.set_aside_because}")
        elif not channel.enabled:
            told.append(f"{channel.kind}: switched off")
        elif channel.waits_since is not None:
            told.append(f"{channel.kind}: waits for confirmation")
        else:
            told.append(f"{channel.kind}: no address")
    return "; ".join(told)


# --- Jobs -------------------------------------------------------------------------------------------------------------


def send_jobs(limit: int = JOBS_A_SCAN) -> int:
    """A job for each delivery that waits for one; both are written in one transaction, so none is without the other."""
    sent = 0
    while sent < limit:
        with transaction.atomic():
            owed = outbox_rows.claim_unsent(min(JOBS_A_BATCH, limit - sent))
            with collecting() as records:
                sent_as = [send_job(one, kind) for one, kind in owed]
            enter_now(records)
            outbox_rows.note_jobs([one for one, _ in owed], [holder_of(one) for one in sent_as])
        if not owed:
            break
        sent += len(owed)
        job.check_cancelled()
    return sent


def send_job(delivery_id: int, kind: str) -> str:
    """The id of the job that sends a delivery. Mail goes first: its server is ours, other receivers are anybody's."""
    from reminders.tasks import deliver_reminder

    priority = MAIL_PRIORITY if kind == ChannelKind.MAIL else OTHER_PRIORITY
    return str(deliver_reminder.apply_async((delivery_id,), priority=priority).id)


def deliveries_of(reminder_ids: Iterable[int]) -> dict[int, list[ReminderDelivery]]:
    """Of each reminder, its deliveries."""
    found: dict[int, list[ReminderDelivery]] = defaultdict(list)
    items = DeliveredReminder.objects.filter(reminder__in=list(reminder_ids)).select_related("delivery__channel")
    for item in items.order_by("delivery_id"):
        found[item.reminder_id].append(item.delivery)
    return found
