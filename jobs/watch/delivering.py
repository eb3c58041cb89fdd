"""Sends the messages of alerts, in a thread of its own: a mail server that hangs keeps nobody from dispatching."""

import logging
import threading
from datetime import timedelta

from django.db import close_old_connections, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.effects import EffectPostponed
from jobs.ledger.records import clean_text
from jobs.ledger.sweeps import Connection
from jobs.models import AlertDelivery, DeliveryState
from jobs.watch import channels

logger = logging.getLogger(__name__)

#: While one process is at a message, the others leave it alone for so long: longer than a try may take, and not so
#: long that the sweep of effects would have given up on one that was cut off.
TAKEN = timedelta(seconds=18)
#: After the first try, then twice as long each time.
FIRST_PAUSE = timedelta(seconds=10)
MOST_ATTEMPTS = 10

_sender: threading.Thread | None = None
_lock = threading.Lock()


def is_owed(connection: Connection) -> bool:
    """Whether any message is to be sent now."""
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM jobs_alertdelivery WHERE state = 'waiting' AND next_at <= now())"
    ).fetchone()
    return bool(row and row[0])


def deliver_soon() -> None:
    """Have what is owed sent by this process' sender; the next sweep looks again, should it die."""
    global _sender
    with _lock:
        if _sender is None or not _sender.is_alive():
            _sender = threading.Thread(target=_deliver_and_close, name="alert-sender", daemon=True)
            _sender.start()


def _deliver_and_close() -> None:
    close_old_connections()
    try:
        deliver_due()
    except Exception as exc:
        logger.warning("Alerts wait to be sent: %s: %s", type(exc).__name__, str(exc).strip()[:200])
    finally:
        connection.close()


def deliver_due() -> int:
    """Send what is due, one message after another. Returns how many were tried."""
    tried = 0
    while (delivery := _take()) is not None:
        deliver(delivery)
        tried += 1
    return tried


def _take() -> AlertDelivery | None:
    """The next message that is due, with others kept from it for a while."""
    with transaction.atomic():
        due = AlertDelivery.objects.filter(state=DeliveryState.WAITING, next_at__lte=Now()).order_by("next_at", "pk")
        delivery = due.select_for_update(skip_locked=True).first()
        if delivery is None:
            return None
        AlertDelivery.objects.filter(pk=delivery.pk).update(next_at=Now() + TAKEN, attempts=F("attempts") + 1)
    return AlertDelivery.objects.select_related("event__alert").filter(pk=delivery.pk).first()


def deliver_now(delivery: AlertDelivery) -> None:
    """Send this message, unless another process is at it."""
    taken = AlertDelivery.objects.filter(pk=delivery.pk, state=DeliveryState.WAITING, next_at__lte=Now())
    if taken.update(next_at=Now() + TAKEN, attempts=F("attempts") + 1):
        delivery.attempts += 1
        deliver(delivery)


def deliver(delivery: AlertDelivery) -> None:
    """Send one message, and write down what became of it. Its failure is its own, and stops no other."""
    row = AlertDelivery.objects.filter(pk=delivery.pk, state=DeliveryState.WAITING)
    delivery.error = ""
    try:
        channels.send(delivery)
    except EffectPostponed as exc:  # an earlier try, which was cut off, may still be under way
        row.update(next_at=Now() + timedelta(seconds=exc.seconds), attempts=F("attempts") - 1)
        return
    except Exception as exc:
        error = clean_text(" ".join(f"{type(exc).__name__}: {exc}".split()))[:1000]
        gives_up = getattr(exc, "is_final", False) or delivery.attempts >= MOST_ATTEMPTS
        pause = FIRST_PAUSE * 2 ** min(delivery.attempts - 1, MOST_ATTEMPTS)
        state = DeliveryState.FAILED if gives_up else DeliveryState.WAITING
        row.update(state=state, error=error, next_at=Now() + pause)
        logger.warning(
            "Alert %s could not be told by %s: %s", delivery.event.alert_id, delivery.channel, type(exc).__name__
        )
        return
    row.update(state=DeliveryState.SENT, sent_at=Now(), error=delivery.error)
