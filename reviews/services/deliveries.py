"""Deliveries of GitHub: each is stored once, and what it starts commits together with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F

from reviews.models import Delivery, GitHubAccess
from reviews.services import events
from reviews.services.events_repositories import remember_repository
from reviews.services.payloads import KEPT_BYTES, clean_text, outline

__all__ = ["OutlineOnly", "Received", "handle_again", "receive", "remember_repository"]


@dataclass(frozen=True)
class Received:
    """The stored delivery; repeated: it was stored before, and nothing was started now."""

    delivery: Delivery
    repeated: bool


class OutlineOnly(Exception):
    """The payload was too large to be kept, so it cannot be handled again; GitHub can send it again."""


def receive(
    guid: str, event: str, payload: Mapping[str, Any], size: int, access: GitHubAccess | None = None
) -> Received:
    """Store one delivery and send what it starts, in one transaction.

    guid, event: at most 64 characters. size: of the body, in bytes. access: by whose secret it was signed; None: by
    that of the environment. A guid that is stored already starts nothing, and is counted, unless GitHub was asked to
    send it again.
    """
    stored = Delivery.objects.filter(guid=guid).first()
    if stored is not None:
        return _repeated(stored) if stored.asked_again_at is None else _asked_for(stored, payload)
    with transaction.atomic():
        delivery, created = Delivery.objects.get_or_create(
            guid=guid,
            defaults={
                "access": access,
                "event": event,
                "action": _action(payload),
                "payload": payload if size <= KEPT_BYTES else outline(payload, size),
                "outcome": "",
            },
        )
        if not created:  # the same delivery came twice at once
            return _repeated(delivery)
        _start(delivery, payload)
    return Received(delivery, repeated=False)


def handle_again(delivery: Delivery) -> Delivery:
    """Start anew what a stored delivery asks for. Raises OutlineOnly."""
    if "not_kept_bytes" in delivery.payload:
        raise OutlineOnly(
            f"delivery {delivery.guid} had {delivery.payload['not_kept_bytes']:,} bytes, of which only an outline was "
            "kept; have GitHub send it again"
        )
    with transaction.atomic():
        _start(delivery, delivery.payload)
    return delivery


def _asked_for(delivery: Delivery, payload: Mapping[str, Any]) -> Received:
    """Handle what was asked for; of two that come at once, the first."""
    with transaction.atomic():
        waiting = Delivery.objects.filter(pk=delivery.pk, asked_again_at__isnull=False)
        if not waiting.update(asked_again_at=None, repeats=F("repeats") + 1):
            return _repeated(delivery)
        _start(delivery, payload)
    return Received(delivery, repeated=False)


def _start(delivery: Delivery, payload: Mapping[str, Any]) -> None:
    outcome = events.start(delivery.event, delivery.action, payload, delivery.access)
    delivery.outcome, delivery.job_id = clean_text(outcome.text), outcome.job_id
    delivery.repository = outcome.repository
    delivery.save(update_fields=["outcome", "job_id", "repository"])


def _repeated(delivery: Delivery) -> Received:
    Delivery.objects.filter(pk=delivery.pk).update(repeats=F("repeats") + 1)
    return Received(delivery, repeated=True)


def _action(payload: Mapping[str, Any]) -> str:
    action = payload.get("action")
    return clean_text(action)[:64] if isinstance(action, str) else ""
