"""Sending one delivery: looked at again, rendered, handed over once, and written down.

A mail is never lost, and at most one second copy of it comes, under the same Message-ID: its bytes are stored before
they are tried, and tried again only when they surely did not arrive, or once when nobody can tell.
"""

import logging
import re
import time
from typing import Any

from celery.exceptions import Ignore, Reject, Retry
from django.db import transaction
from django.db.models import F

from jobs.effects import EffectUncertain, EffectUnknown, Refused
from jobs.effects.webhooks import ChannelUnusable, HostUnknown
from jobs.ledger import effects as store
from jobs.ledger.errors import Discard, JobCancelled, JobMovedOn, Snooze
from jobs.ledger.records import clean_text
from jobs.models import Effect, EffectState
from jobs.rates import Rate
from reminders import moment
from reminders.models import (
    Channel,
    ChannelKind,
    DeliveryState,
    PlannedReminder,
    Reminder,
    ReminderDelivery,
    ReminderState,
)
from reminders.schedule import Person
from reminders.services import addresses, outbox, parts, planning, rendering, sending
from reminders.services.rendering import Content
from reminders.services.sending import MailServerAway, NoMailServer

logger = logging.getLogger(__name__)

#: So many deliveries in a row that failed for good set a channel aside.
MOST_FAILURES = 3
#: While the mail server is away a delivery waits, without using attempts: this long, then twice as long each time.
FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 300.0
#: About a day of such waits.
MOST_WAITS = 290
LONGEST_ERROR = 1_000
#: A receiver that failed after so long is left alone: for five minutes, one such try.
SLOW_SECONDS = 3.0
SLOW = Rate("reminders that were sent slowly, and in vain", most=1, seconds=300)
#: Answers of SMTP about an address or a mailbox (RFC 5321, 4.2; RFC 7504); others of 5xx are about us.
_NO_SUCH = frozenset({521, 550, 551, 552, 553, 554, 556})
#: Answers of HTTP that may be others the next time: redirects that are not for good, and too many requests.
_PASSING = frozenset({302, 307, 429})
_POLICY = re.compile(r"\b5\d\d[ -]5\.7\.\d", re.ASCII)
#: What a task says to the ledger by an exception.
SIGNALS = (JobMovedOn, Snooze, JobCancelled, Discard, Retry, Ignore, Reject)


class DeliveryFailed(Exception):
    """It is given up; the message says why."""

    #: The job is not tried again: a person sends it anew.
    is_final = True


def deliver(delivery_id: int, *, last_attempt: bool = False) -> dict[str, Any]:
    """Send it by its channel, once, however often this is run. Returns what became of it.

    last_attempt: a failure is the delivery's end. Raises DeliveryFailed, EffectUncertain, and what may be tried again.
    """
    rows = ReminderDelivery.objects.select_related("channel__user", "recipient")
    delivery = rows.filter(pk=delivery_id).first()
    if delivery is None:
        return {"delivery": delivery_id, "state": "deleted"}
    if delivery.state in (DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.DROPPED):
        return {"delivery": delivery_id, "state": delivery.state, "note": "it had come to its end before"}
    known = _stored(delivery)
    if known is None or _surely_not_sent(known):
        why = _why_drop(delivery, is_first=known is None)
        if why:
            return _drop(delivery, why)
    elif known.state != EffectState.DONE:
        why = sending.why_unusable(delivery.channel)
        if why:
            return _drop(delivery, f"it may have arrived, and is not tried again: {why}")
    _wait_for_slow(delivery.channel)
    ReminderDelivery.objects.filter(pk=delivery_id).update(attempts=F("attempts") + 1)
    delivery.attempts += 1
    began = time.monotonic()
    try:
        message_id = sending.send(delivery, lambda: _content(delivery))
    except SIGNALS:
        raise
    except Exception as exc:
        if time.monotonic() - began > SLOW_SECONDS:
            SLOW.count(str(delivery.channel_id))
        _settle_failure(delivery, exc, last_attempt)
        raise
    return _record_sent(delivery, message_id)


def send_anew(delivery: ReminderDelivery) -> None:
    """Give one that is pending again a new job, in the caller's transaction.

    What surely was never sent is rendered anew, to the address of now; what may have gone keeps its bytes.
    """
    known = sending.effect_of(delivery.pk)
    if known is not None and _surely_not_sent(known):
        store.forget(known.key)
    delivery.attempts = 0
    delivery.job_id = outbox.send_job(delivery.pk, delivery.channel.kind)
    delivery.save(update_fields=["state", "error", "attempts", "job_id"])


def _stored(delivery: ReminderDelivery) -> Effect | None:
    """What is known of its effect. A mail that surely was never sent is forgotten once its person has another address:
    it is rendered anew, as its links are signed for that person and the former address may be a stranger's. So is what
    tells several reminders at once, of which some may need no telling any more, or be told again.
    """
    known = sending.effect_of(delivery.pk)
    if known is None or not _surely_not_sent(known):
        return known
    if delivery.items.count() < 2 and not _is_for_former_address(delivery, known):
        return known
    store.forget(known.key)
    return sending.effect_of(delivery.pk)  # still there, where another run has begun to send it


def _is_for_former_address(delivery: ReminderDelivery, known: Effect) -> bool:
    if delivery.channel.kind != ChannelKind.MAIL:
        return False
    try:
        return addresses.plain(addresses.mail_address(delivery.channel)) != addresses.plain(known.target)
    except ChannelUnusable:
        return False  # it cannot be decrypted, so nobody can tell


def _surely_not_sent(known: Effect) -> bool:
    return known.state in (EffectState.INTENDED, EffectState.FAILED) and known.doubts == 0


def _wait_for_slow(channel: Channel) -> None:
    """One that kept a try waiting in vain is left alone for some minutes: others share the processes with it."""
    if channel.kind == ChannelKind.MAIL:
        return  # all mail goes by one server
    seconds = SLOW.wait(str(channel.pk))
    if seconds:
        raise Snooze(seconds, "the receiver took long to fail; others are served first")


# --- Before a try -----------------------------------------------------------------------------------------------------


def _why_drop(delivery: ReminderDelivery, *, is_first: bool) -> str:
    """Why nothing is to be sent; else empty. Before the first try, what needs no telling is taken out of it."""
    why = sending.why_unusable(delivery.channel)
    if why:
        return why
    reasons = _moot(_reminders(delivery))
    left = [row for row, reason in reasons if not reason]
    if is_first or not left:
        _drop_reminders([(row, reason) for row, reason in reasons if reason])
    if left:
        return ""
    return reasons[0][1] if reasons else "its reminders were deleted"


def _reminders(delivery: ReminderDelivery) -> list[Reminder]:
    rows = Reminder.objects.filter(items__delivery=delivery)
    return list(rows.select_related("todo__project", "rule").defer("todo__search").order_by("pk"))


def _moot(rows: list[Reminder]) -> list[tuple[Reminder, str]]:
    """Of each, why it needs no telling any more; else empty."""
    snoozed = dict(
        PlannedReminder.objects.filter(
            todo__in=[row.todo_id for row in rows],
            recipient__in={row.recipient_id for row in rows},
            kind__startswith="snooze:",
        ).values_list("todo_id", "fire_at")
    )
    theirs = set(
        Reminder.objects.filter(parts.concerns("recipient_id"), pk__in=[row.pk for row in rows]).values_list(
            "pk", flat=True
        )
    )
    found = []
    for row in rows:
        why = ""
        if row.pk not in theirs:
            why = parts.NO_PART
        elif not row.todo.is_open:
            why = "the task was closed"
        elif row.schedule_version != row.todo.schedule_version:
            why = "the task's date was changed"
        elif row.superseded_at is not None:
            why = "its rule was changed"
        elif row.todo_id in snoozed and row.fire_at < snoozed[row.todo_id]:
            why = "it was snoozed"
        found.append((row, why))
    return found


def _drop_reminders(rows: list[tuple[Reminder, str]]) -> None:
    """Say of each why it was not told, unless another channel has told it."""
    for row, why in rows:
        told = ReminderDelivery.objects.filter(items__reminder=row.pk, state=DeliveryState.SENT)
        if not told.exists():
            Reminder.objects.filter(pk=row.pk, state=ReminderState.OUTBOX).update(
                state=ReminderState.DROPPED, reason=why
            )


def _content(delivery: ReminderDelivery) -> Content:
    left = [row for row, why in _moot(_reminders(delivery)) if not why]
    if not left:
        # Closed between two looks; the job's next run drops it.
        raise Snooze(1, "its tasks changed at this moment")
    person = planning.people_of([delivery.recipient_id]).get(delivery.recipient_id, Person(delivery.recipient_id))
    return rendering.content(delivery, left, person)


# --- After it ---------------------------------------------------------------------------------------------------------


def _record_sent(delivery: ReminderDelivery, message_id: str) -> dict[str, Any]:
    with transaction.atomic():
        ReminderDelivery.objects.filter(pk=delivery.pk).update(
            state=DeliveryState.SENT, sent_at=moment.now(), message_id=message_id, error=""
        )
        Channel.objects.filter(pk=delivery.channel_id, failures__gt=0).update(failures=0)
    return {"delivery": delivery.pk, "state": DeliveryState.SENT, "message_id": message_id}


def _drop(delivery: ReminderDelivery, why: str) -> dict[str, Any]:
    rows = ReminderDelivery.objects.filter(pk=delivery.pk)
    rows.update(state=DeliveryState.DROPPED, error=clean_text(why)[:LONGEST_ERROR])
    return {"delivery": delivery.pk, "state": DeliveryState.DROPPED, "why": why}


def _settle_failure(delivery: ReminderDelivery, exc: Exception, last_attempt: bool) -> None:
    """Write down how a try went wrong, and what follows. Raises what the job is told instead of the error."""
    told = told_of(exc)
    row = ReminderDelivery.objects.filter(pk=delivery.pk)
    row.update(error=told)
    if isinstance(exc, EffectUncertain):
        row.update(state=DeliveryState.UNCERTAIN)
    elif isinstance(exc, MailServerAway) or _is_put_off(exc):
        if delivery.attempts > MOST_WAITS:
            _fail(delivery, f"given up after {delivery.attempts} tries: {told}", blame=_is_put_off(exc))
        raise Snooze(min(FIRST_WAIT_SECONDS * 2.0 ** min(delivery.attempts - 1, 10), LONGEST_WAIT_SECONDS), told)
    elif isinstance(exc, EffectUnknown) and delivery.channel.kind != ChannelKind.WEBHOOK:
        if last_attempt:
            # The next run finds out, or sends the same bytes once more; it must not be missing for want of attempts.
            raise Snooze(LONGEST_WAIT_SECONDS, told)
    elif is_final(exc) or last_attempt:
        if isinstance(exc, Refused):
            _suppress(delivery, exc)
            _disable_gone(delivery, exc)
        _fail(delivery, told, blame=not isinstance(exc, NoMailServer), cause=exc)


def _is_put_off(exc: Exception) -> bool:
    """A mail server says "not now" of one mail by 4xx: greylisting, a full mailbox, too many at once."""
    return isinstance(exc, Refused) and bool(exc.about) and exc.status is not None and 400 <= exc.status < 500


def told_of(exc: Exception) -> str:
    """An error in one line. Its type is told where its text alone does not tell enough."""
    text = " ".join(clean_text(str(exc)).split())
    own = isinstance(exc, ChannelUnusable | MailServerAway | Refused | EffectUncertain | EffectUnknown)
    return (text if own and text else f"{type(exc).__name__}: {text}")[:LONGEST_ERROR]


def is_final(exc: Exception) -> bool:
    """Whether another try would end in the same way."""
    if isinstance(exc, HostUnknown):
        return False
    if isinstance(exc, ChannelUnusable):
        return True
    if isinstance(exc, EffectUnknown):
        return exc.is_final
    if not isinstance(exc, Refused) or exc.status is None:
        return False
    # SMTP says "for good" by 5xx.
    return exc.status >= 500 if exc.about else exc.status not in _PASSING


def is_no_such_address(exc: Refused) -> bool:
    """Whether a mail server refused an address for good, and not us as a matter of policy."""
    return exc.status in _NO_SUCH and bool(exc.about) and not _POLICY.search(str(exc))


def _suppress(delivery: ReminderDelivery, exc: Refused) -> None:
    """An address that refuses mail for good gets none any more, unless it was a matter of policy (X.7.X): that is
    about us, and may hit everybody.
    """
    if delivery.channel.kind != ChannelKind.MAIL or not is_no_such_address(exc):
        return
    known = sending.effect_of(delivery.pk)
    if known is not None:
        sending.suppress(known.target, told_of(exc))


def _disable_gone(delivery: ReminderDelivery, exc: Refused) -> None:
    """410 Gone: the receiver wants no more."""
    if delivery.channel.kind == ChannelKind.WEBHOOK and exc.status == 410:
        row = Channel.objects.filter(pk=delivery.channel_id, set_aside_at=None)
        why = "the receiver answered 410 Gone: it wants no more"
        row.update(enabled=False, set_aside_at=moment.now(), set_aside_because=why)


def _fail(delivery: ReminderDelivery, told: str, *, blame: bool, cause: Exception | None = None) -> None:
    """Give it up. blame: whether it counts against its channel. Raises DeliveryFailed."""
    with transaction.atomic():
        ReminderDelivery.objects.filter(pk=delivery.pk).update(state=DeliveryState.FAILED, error=told)
        if blame:
            count_failure(delivery.channel_id, told)
    logger.warning("Delivery %s failed for good", delivery.pk, extra={"action": "delivery_failed"})
    raise DeliveryFailed(told) from cause


def count_failure(channel_id: int, why: str) -> None:
    """One more delivery in a row that failed for good; after three the channel is set aside."""
    Channel.objects.filter(pk=channel_id).update(failures=F("failures") + 1)
    Channel.objects.filter(pk=channel_id, failures__gte=MOST_FAILURES, set_aside_at=None).update(
        set_aside_at=moment.now(),
        set_aside_because=f"{MOST_FAILURES} deliveries in a row failed, the last one so: {why}"[:LONGEST_ERROR],
    )
