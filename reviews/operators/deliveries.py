"""GitHub's deliveries: listed, shown, handled again, and asked for again."""

from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from jobs.operators.actors import Actor
from jobs.operators.lookups import find
from jobs.operators.search import is_storable
from reviews.models import Delivery, MissedDelivery
from reviews.services import deliveries as services
from reviews.services.delivery_sweep import PERMISSION, NotRedelivered, ask_now, redeliver

__all__ = [
    "NotRedelivered",
    "ask_for_missed",
    "deliveries",
    "find_delivery",
    "find_missed",
    "handle_again",
    "missed_deliveries",
    "redeliver_delivery",
]

#: What came of a delivery, by how its outcome begins.
OUTCOMES = {"job": "job ", "ignored": "ignored"}


def deliveries(
    *,
    event: str = "",
    action: str = "",
    repository: str = "",
    outcome: str = "",
    guid: str = "",
    received_after: datetime | None = None,
    received_before: datetime | None = None,
) -> "QuerySet[Delivery]":
    """Those that fit all that is given, without their payloads. outcome: one of OUTCOMES. guid: the whole of it."""
    found = Delivery.objects.select_related("repository", "access").defer("payload")
    if not is_storable(event + action + repository + guid):
        return found.none()
    conditions = Q()
    for name, value in (("event", event), ("action", action), ("guid", guid)):
        if value:
            conditions &= Q(**{name: value})
    if repository:
        conditions &= Q(repository__full_name__iexact=repository)
    if outcome:
        conditions &= Q(outcome__startswith=OUTCOMES[outcome])
    if received_after is not None:
        conditions &= Q(received_at__gte=received_after)
    if received_before is not None:
        conditions &= Q(received_at__lt=received_before)
    return found.filter(conditions)


def find_delivery(delivery_id: int) -> Delivery:
    """With its payload. Raises NotHere."""
    return find(Delivery.objects.select_related("repository", "access"), delivery_id, "delivery")


def delivery_of(text: str) -> Delivery:
    """By its number here, or GitHub's id. Raises NotHere."""
    found = deliveries(guid=text).first() if text else None
    return find_delivery(found.pk if found is not None else int(text) if text.isdecimal() and len(text) < 19 else 0)


def handle_again(actor: Actor, delivery_id: int) -> Delivery:
    """Start anew what a stored delivery asks for, without GitHub.

    Raises PermissionDenied (reviews.redeliver_delivery), NotHere, NotRedelivered where only an outline was kept.
    """
    actor.require(PERMISSION)
    delivery = find_delivery(delivery_id)
    try:
        with transaction.atomic():
            again = services.handle_again(delivery)
            actor.record("delivery.handle", delivery, outcome=again.outcome)
    except services.OutlineOnly as exc:
        raise NotRedelivered(str(exc)) from None
    return find_delivery(delivery_id)


def redeliver_delivery(actor: Actor, delivery_id: int) -> tuple[Delivery, str]:
    """Handle a stored delivery again, or, where its payload was not kept, have GitHub send it; what came of that.

    Raises PermissionDenied (reviews.redeliver_delivery), NotHere, NotRedelivered, GitHubError, Throttled.
    """
    actor.require(PERMISSION)
    said = redeliver(actor, find_delivery(delivery_id))
    return find_delivery(delivery_id), said


def missed_deliveries(*, event: str = "", access: str = "") -> "QuerySet[MissedDelivery]":
    """What GitHub delivered and we never stored, and how often it was asked for since. access: an App, by name."""
    found = MissedDelivery.objects.select_related("access")
    if not is_storable(event + access):
        return found.none()
    conditions = Q()
    if event:
        conditions &= Q(event=event)
    if access:
        conditions &= Q(access__name=access)
    return found.filter(conditions)


def find_missed(missed_id: int) -> MissedDelivery:
    """Raises NotHere."""
    return find(missed_deliveries(), missed_id, "missed delivery")


def ask_for_missed(actor: Actor, missed_id: int) -> MissedDelivery:
    """Have GitHub send a missed delivery now; its row goes when it arrives and is swept.

    Raises PermissionDenied (reviews.redeliver_delivery), NotHere, GitHubError, Throttled.
    """
    actor.require(PERMISSION)
    ask_now(actor, find_missed(missed_id))
    return find_missed(missed_id)
