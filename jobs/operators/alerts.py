"""What an operator can do about alerts. The admin, the API and the commands all come here."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import Count, Prefetch, Q, QuerySet
from django.db.models.functions import Now

from jobs.lanes import QUEUES
from jobs.models import Alert, AlertDelivery, AlertEvent, AlertEventKind, AlertKind, Channel, DeliveryState
from jobs.operators.actors import Actor
from jobs.operators.search import is_storable
from jobs.registry import UnknownTask, find_task
from jobs.watch import channels, delivering, of_apps

MOST_EVENTS = 20
MOST_RECIPIENTS = 20
LARGEST_ID = 2**63 - 1
DAY = 86_400
#: Whole numbers that can be set, with the smallest and the largest value.
NUMBERS = {
    "threshold": (1, 1_000_000_000),
    "window_seconds": (10, 7 * DAY),
    "for_seconds": (0, 7 * DAY),
    "cooldown_seconds": (0, 30 * DAY),
}
#: What can be set.
FIELDS = ("name", "kind", "queue", "task", *NUMBERS, "enabled", "mail_to", "webhook_url")


class AlertRefused(ValueError):
    """A value cannot be; the message begins with the field's name."""

    @property
    def field(self) -> str:
        return str(self).partition(" ")[0]


def alerts() -> QuerySet[Alert]:
    """All of them by name."""
    return Alert.objects.order_by("name")


def find_alert(alert_id: int | str) -> Alert:
    """By number, or by name. Raises Alert.DoesNotExist."""
    text = str(alert_id)
    found = None
    if text.isascii() and text.isdigit() and int(text[:25]) <= LARGEST_ID:
        found = Alert.objects.filter(pk=int(text)).first()
    if found is None and isinstance(alert_id, str) and is_storable(text):
        found = Alert.objects.filter(name=text).first()
    if found is None:
        raise Alert.DoesNotExist(f"no alert {text[:100]!r}")
    return found


def newest_events(alert: Alert, most: int = MOST_EVENTS) -> list[AlertEvent]:
    """What became of it lately, each with its deliveries; the newest first."""
    deliveries = Prefetch("deliveries", AlertDelivery.objects.order_by("channel"))
    return list(alert.events.order_by("-at", "-id").prefetch_related(deliveries)[:most])


def firing() -> list[Alert]:
    return list(alerts().filter(enabled=True, firing_since__isnull=False))


def with_failures(found: QuerySet[Alert]) -> QuerySet[Alert]:
    """Each with `failures`: how many messages of the last day failed, or wait after a failure."""
    is_failing = Q(events__at__gte=Now() - timedelta(days=1)) & ~Q(events__deliveries__error="")
    return found.annotate(
        failures=Count("events__deliveries", filter=is_failing & ~Q(events__deliveries__state=DeliveryState.SENT))
    )


def create_alert(actor: Actor, values: Mapping[str, Any]) -> Alert:
    """Make an alert. Raises PermissionDenied (jobs.add_alert) or AlertRefused."""
    actor.require("jobs.add_alert")
    alert = Alert(changed_by=actor.name[:255])
    _apply(alert, values)
    with transaction.atomic():
        _save(alert)
        actor.record("alert.create", alert.pk, name=alert.name, fields=sorted(values))
    alert.refresh_from_db()
    return alert


def change_alert(actor: Actor, alert_id: int | str, values: Mapping[str, Any]) -> Alert:
    """Change what is named; the next look, within ten seconds, judges by it.

    Raises PermissionDenied (jobs.change_alert), Alert.DoesNotExist or AlertRefused.
    """
    actor.require("jobs.change_alert")
    with transaction.atomic():
        alert = _locked(alert_id)
        before = {name: getattr(alert, name) for name in FIELDS}
        _apply(alert, values)
        changed = [name for name in FIELDS if getattr(alert, name) != before[name]]
        if changed:
            if before["enabled"] and not alert.enabled:
                _close(actor, alert)
            if {"kind", "queue", "task"} & set(changed) and alert.firing_since is None:
                alert.breached_since = None
            _save(alert, actor)
            actor.record("alert.change", alert.pk, name=alert.name, fields=changed)
    alert.refresh_from_db()
    return alert


def enable_alert(actor: Actor, alert_id: int | str, enabled: bool = True) -> Alert:
    """Switch it on or off. Raises PermissionDenied (jobs.change_alert) or Alert.DoesNotExist."""
    return change_alert(actor, alert_id, {"enabled": enabled})


def delete_alert(actor: Actor, alert_id: int | str) -> None:
    """With its history. Raises PermissionDenied (jobs.delete_alert) or Alert.DoesNotExist."""
    actor.require("jobs.delete_alert")
    with transaction.atomic():
        alert = _locked(alert_id)
        actor.record("alert.delete", alert.pk, name=alert.name)
        alert.delete()


def try_alert(actor: Actor, alert_id: int | str, *, wait: bool = False) -> AlertEvent:
    """Send a test message through each of its channels; its state stays as it is.

    wait: send them now, in the caller's time; else soon, in the background. The event's deliveries tell what became
    of them. Raises PermissionDenied (jobs.change_alert), Alert.DoesNotExist, or AlertRefused without a channel.
    """
    actor.require("jobs.change_alert")
    with transaction.atomic():
        alert = _locked(alert_id)
        used = [name for name, is_used in _channels(alert).items() if is_used]
        if not used:
            raise AlertRefused("mail_to and webhook_url are both empty: there is nobody to send a test to")
        event = alert.events.create(
            kind=AlertEventKind.TESTED, text=f"This is a test of the alert {alert.name!r}, sent by {actor.name}."
        )
        for name in used:
            event.deliveries.create(channel=name)
        actor.record("alert.test", alert.pk, name=alert.name, channels=used)
        if not wait:
            transaction.on_commit(delivering.deliver_soon, robust=True)
    if wait:
        for delivery in event.deliveries.select_related("event__alert"):
            delivering.deliver_now(delivery)
    return next(found for found in newest_events(alert) if found.pk == event.pk)


def webhook_secret(actor: Actor, alert_id: int | str, *, rotate: bool = False) -> str:
    """What the webhook signs with, for the receiver to check it by; rotate: a new one, in force at once.

    Raises PermissionDenied (jobs.change_alert) or Alert.DoesNotExist.
    """
    actor.require("jobs.change_alert")
    with transaction.atomic():
        alert = _locked(alert_id)
        if rotate:
            alert.webhook_key = uuid.uuid4()
            alert.save(update_fields=["webhook_key"])
        actor.record("alert.rotate_secret" if rotate else "alert.show_secret", alert.pk, name=alert.name)
    return channels.secret_of(alert)


def _channels(alert: Alert) -> dict[str, bool]:
    return {Channel.MAIL.value: bool(alert.mail_to), Channel.WEBHOOK.value: bool(alert.webhook_url)}


def _locked(alert_id: int | str) -> Alert:
    return Alert.objects.select_for_update().get(pk=find_alert(alert_id).pk)


def _save(alert: Alert, actor: Actor | None = None) -> None:
    if actor is not None:
        alert.changed_by = actor.name[:255]
        alert.changed_at = Now()
    try:
        with transaction.atomic():
            alert.save()
    except IntegrityError as exc:
        if "name" not in str(exc):
            raise
        raise AlertRefused(f"name {alert.name!r} is another alert's; choose another") from None


def _close(actor: Actor, alert: Alert) -> None:
    """Switched off while it fires: that is noted, and nobody is told."""
    if alert.firing_since is not None:
        alert.events.create(kind=AlertEventKind.CLOSED, value=alert.value, text=f"Disabled by {actor.name}.")
    alert.firing_since = alert.breached_since = None


# --- Checks --------------------------------------------------------------------------------------------------------


def _apply(alert: Alert, values: Mapping[str, Any]) -> None:
    """Set what is given, and check the whole. Raises AlertRefused."""
    unknown = [name for name in values if name not in FIELDS]
    if unknown:
        raise AlertRefused(f"{unknown[0][:60]} cannot be set; choose from: {', '.join(FIELDS)}")
    for name, value in values.items():
        setattr(alert, name, value)
    _check_name(alert)
    _check_scope(alert)
    for name, (least, most) in NUMBERS.items():
        number = getattr(alert, name)
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            raise AlertRefused(f"{name} {str(number)[:40]!r} is not a whole number from {least:,} to {most:,}")
    if not isinstance(alert.enabled, bool):
        raise AlertRefused(f"enabled {str(alert.enabled)[:40]!r} is neither true nor false")
    alert.mail_to = _recipients(alert.mail_to)
    if alert.webhook_url:
        if len(alert.webhook_url) > 2000:
            raise AlertRefused(f"webhook_url has {len(alert.webhook_url):,} characters; at most 2,000 are kept")
        try:
            # Whether its address may be reached is checked when it is: names change their meaning.
            channels.check_url(alert.webhook_url)
        except channels.ChannelUnusable as exc:
            raise AlertRefused(f"webhook_url cannot be used: {exc}") from None


def _check_name(alert: Alert) -> None:
    alert.name = " ".join(str(alert.name).split())
    if not 0 < len(alert.name) <= 100 or not is_storable(alert.name) or not alert.name.isprintable():
        raise AlertRefused(
            f"name {alert.name[:40]!r} has {len(alert.name)} characters; it takes 1 to 100 printable ones"
        )
    if alert.name.isdigit():
        raise AlertRefused(f"name {alert.name!r} is a number; the commands would take it for an alert's id")


def _check_scope(alert: Alert) -> None:
    if alert.kind not in AlertKind.values:
        raise AlertRefused(f"kind {str(alert.kind)[:40]!r} is unknown; choose from: {', '.join(AlertKind.values)}")
    if alert.queue and alert.queue not in QUEUES:
        raise AlertRefused(f"queue {str(alert.queue)[:60]!r} is unknown; choose from: {', '.join(QUEUES)}")
    if alert.kind == AlertKind.AGE:
        _check_age(alert)
        return
    if alert.task and alert.kind != AlertKind.FAILED:
        raise AlertRefused("task is for failed jobs and for ages; a backlog is watched by queue")
    if alert.task:
        try:
            find_task(alert.task)
        except UnknownTask as exc:
            raise AlertRefused(f"task is unknown: {exc}") from None


def _check_age(alert: Alert) -> None:
    if alert.queue:
        raise AlertRefused("queue is for jobs; how long ago a task succeeded is watched by task alone")
    if alert.task not in of_apps.watched_tasks():
        known = ", ".join(of_apps.watched_tasks()) or "there is none"
        said = f"{str(alert.task)[:60]!r} keeps no time of its last success" if alert.task else "is missing"
        raise AlertRefused(f"task {said}; choose from: {known}")


def _recipients(given: Any) -> list[str]:
    addresses = list(dict.fromkeys(str(address).strip() for address in given or []))
    if len(addresses) > MOST_RECIPIENTS:
        raise AlertRefused(f"mail_to has {len(addresses)} addresses; at most {MOST_RECIPIENTS} are kept")
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError:
            raise AlertRefused(f"mail_to {address[:100]!r} is not an address, such as ann@example.org") from None
        if len(address) > 254 or not address.isascii():
            raise AlertRefused(f"mail_to {address[:100]!r} is no address that every mail server takes")
    return addresses
