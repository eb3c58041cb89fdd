"""Finds what GitHub delivered to Apps and we never stored, and has it sent again.

GitHub does not send again what it could not deliver. What it keeps of an App's deliveries is read from the newest back
to where the last sweep began; each that is not stored here is asked for, after 10 minutes, 20, 40, … until it comes.
Source: docs.github.com/webhooks/using-webhooks/handling-failed-webhook-deliveries.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.operators.actors import Actor
from reviews.github import apps
from reviews.github.app_client import AppClient
from reviews.github.errors import GitHubError, GitHubRefused
from reviews.github.shapes import HookDelivery
from reviews.models import AccessKind, Delivery, GitHubAccess, MissedDelivery
from reviews.services import deliveries
from reviews.services.payloads import clean_text
from reviews.services.throttle import Throttled

logger = logging.getLogger(__name__)

KEPT_DAYS = 3
ASK_AFTER_MINUTES = 10
MAX_ASKED = 9  # the next time would be after GitHub has thrown it away
ASKED_AT_ONCE = 60
PERMISSION = "reviews.redeliver_delivery"
# What we answered to a body that would be no better the next time: damaged, or too large.
REFUSED_FOR_GOOD = (400, 413)
# What GitHub answers where a delivery cannot be sent again.
NOT_REPEATED = (404, 410, 422)


class NotRedelivered(Exception):
    """A delivery cannot be had again; the message says why, and what to do."""


@dataclass
class Swept:
    """looked_at: deliveries in GitHub's list; missed: newly found; asked: for how many GitHub was asked."""

    looked_at: int = 0
    missed: int = 0
    asked: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def sweep() -> dict[str, Any]:
    """Look through the deliveries of every App; what was found. One that is refused does not keep others waiting."""
    done = Swept()
    for access in GitHubAccess.objects.filter(kind=AccessKind.APP, enabled=True).order_by("pk"):
        try:
            _sweep(access, done)
        except (GitHubError, Throttled) as exc:
            told = apps.explain(access, exc) if isinstance(exc, GitHubError) else exc
            done.refused[access.name] = str(told)
            logger.warning("The deliveries of %s could not be looked through: %s", access.name, told)
            if isinstance(told, GitHubRefused):
                GitHubAccess.objects.filter(pk=access.pk).update(error=str(told))
    return vars(done)


def _sweep(access: GitHubAccess, done: Swept) -> None:
    client = apps.app_client(access)
    horizon = _database_now() - timedelta(days=KEPT_DAYS)
    newest, cursor, more = access.swept_delivery_id or 0, "", True
    while more:
        page = client.deliveries(cursor)
        fresh = [found for found in page.deliveries if _is_fresh(found, access, horizon)]
        done.looked_at += len(fresh)
        done.missed += _note(access, fresh)
        newest = max([newest, *(found.id for found in fresh)])
        cursor = page.next_cursor
        more = bool(cursor) and len(fresh) == len(page.deliveries)
    # Only now: where a page could not be had, the next sweep begins where this one did.
    GitHubAccess.objects.filter(pk=access.pk).update(swept_delivery_id=newest or None, checked_at=Now(), error="")
    _forget_settled(access, horizon)
    done.asked += _ask(access, client)


def _is_fresh(found: HookDelivery, access: GitHubAccess, horizon: datetime) -> bool:
    """Whether no sweep has seen it; what was sent before the App was entered here was not meant for us."""
    try:
        sent = datetime.fromisoformat(found.delivered_at)
    except ValueError:
        return False
    return found.id > (access.swept_delivery_id or 0) and sent >= max(horizon, access.created_at)


def _note(access: GitHubAccess, found: list[HookDelivery]) -> int:
    """Write down those that are not stored; how many are new."""
    stored = set(Delivery.objects.filter(guid__in=[one.guid for one in found]).values_list("guid", flat=True))
    wanted = {one.guid: one for one in found if one.guid not in stored and one.status_code not in REFUSED_FOR_GOOD}
    known = MissedDelivery.objects.filter(access=access, guid__in=wanted).values_list("guid", flat=True)
    for guid in list(known):
        del wanted[guid]
    MissedDelivery.objects.bulk_create(
        [
            MissedDelivery(
                access=access,
                guid=clean_text(one.guid)[:64],
                github_id=one.id,
                event=clean_text(one.event)[:64],
                action=clean_text(one.action)[:64],
                status_code=one.status_code,
                delivered_at=one.delivered_at,
            )
            for one in wanted.values()
        ],
        ignore_conflicts=True,
    )
    return len(wanted)


def _forget_settled(access: GitHubAccess, horizon: datetime) -> None:
    settled = Q(guid__in=Delivery.objects.values("guid")) | Q(delivered_at__lt=horizon)
    MissedDelivery.objects.filter(settled, access=access).delete()


def _ask(access: GitHubAccess, client: AppClient) -> int:
    """Have those sent again whose time has come; how many."""
    due = MissedDelivery.objects.filter(access=access, ask_at__lte=Now(), asked__lt=MAX_ASKED).order_by("ask_at")
    asked = 0
    for missed in due[:ASKED_AT_ONCE]:
        error = ""
        try:
            client.redeliver(missed.github_id)
            asked += 1
        except GitHubError as exc:
            if exc.status not in NOT_REPEATED:
                raise
            error = str(exc)[:300]
        later = Now() + timedelta(minutes=ASK_AFTER_MINUTES * 2**missed.asked)
        MissedDelivery.objects.filter(pk=missed.pk).update(asked=F("asked") + 1, ask_at=later, error=error)
    return asked


def redeliver(actor: Actor, delivery: Delivery) -> str:
    """Handle a stored delivery again; what came of it, in words.

    Of one whose payload was not kept, GitHub is asked to send it again. Raises PermissionDenied
    (reviews.redeliver_delivery), NotRedelivered, GitHubError, Throttled.
    """
    actor.require(PERMISSION)
    try:
        with transaction.atomic():
            again = deliveries.handle_again(delivery)
            actor.record("delivery.redeliver", delivery, outcome=again.outcome)
            return again.outcome
    except deliveries.OutlineOnly:
        return _have_sent(actor, delivery)


def _have_sent(actor: Actor, delivery: Delivery) -> str:
    """Have GitHub send it: what comes is handled, though its guid is stored."""
    access = delivery.access
    with transaction.atomic():
        Delivery.objects.filter(pk=delivery.pk).update(asked_again_at=Now())
        actor.record("delivery.redeliver", delivery, outcome="GitHub is asked")
    if access is None or access.kind != AccessKind.APP:
        raise NotRedelivered(
            f"the payload of {delivery.guid} was too large to be kept, and GitHub sends again only for Apps by itself: "
            "press Redeliver on the page of the webhook at GitHub, and it will be handled"
        )
    try:
        client = apps.app_client(access)
        client.redeliver(_id_at_github(client, delivery))
    except GitHubError as exc:
        raise apps.explain(access, exc) from None
    return "GitHub was asked to send it again"


def _id_at_github(client: AppClient, delivery: Delivery) -> int:
    """The newest attempt to deliver it. Raises NotRedelivered."""
    cursor, more = "", True
    while more:
        page = client.deliveries(cursor)
        for found in page.deliveries:
            if found.guid == delivery.guid:
                return found.id
        cursor = page.next_cursor
        more = bool(cursor)
    raise NotRedelivered(f"GitHub does not keep {delivery.guid} any more; it does so for {KEPT_DAYS} days")


def ask_now(actor: Actor, missed: MissedDelivery) -> None:
    """Have a missed delivery sent at once. Raises PermissionDenied (reviews.redeliver_delivery), GitHubError."""
    actor.require(PERMISSION)
    actor.record("missed_delivery.redeliver", missed)
    try:
        apps.app_client(missed.access).redeliver(missed.github_id)
    except GitHubError as exc:
        raise apps.explain(missed.access, exc) from None
    MissedDelivery.objects.filter(pk=missed.pk).update(asked=F("asked") + 1)


def _database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now
