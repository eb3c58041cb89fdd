"""The ways of telling people: mail, and a webhook signed after Standard Webhooks. Each raises what went wrong."""

import base64
import json
from email.message import EmailMessage
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.crypto import salted_hmac

from jobs.effects import Try, Uncertain, once, send_mail, webhooks
from jobs.effects.webhooks import SAME_MESSAGE_SECONDS, SECRET_MARK, ChannelUnusable, check_url, shown_url
from jobs.models import Alert, AlertDelivery, AlertEvent, AlertEventKind, Channel

MAIL_SECONDS = 15.0
WEBHOOK_SECONDS = 10.0
_SALT = "jobs.watch.webhook"
__all__ = ["ChannelUnusable", "allowed_addresses", "check_url", "page_url", "payload", "secret_of", "send", "shown_url"]


def send(delivery: AlertDelivery) -> None:
    """Send one message, once. Raises ChannelUnusable, or what `jobs.effects` and the far side raise."""
    alert = delivery.event.alert
    if delivery.channel == Channel.MAIL:
        _mail(delivery, alert)
    else:
        _post(delivery, alert)


# --- Mail ----------------------------------------------------------------------------------------------------------


def _mail(delivery: AlertDelivery, alert: Alert) -> None:
    if not settings.EMAIL_HOST:
        raise ChannelUnusable("no mail server is configured; set EMAIL_URL")
    if not alert.mail_to:
        raise ChannelUnusable("the alert has no recipients any more")
    message = EmailMessage()
    message["From"] = settings.DEFAULT_FROM_EMAIL
    message["To"] = ", ".join(alert.mail_to)
    message["Subject"] = f"[Switchyard] {_headline(delivery.event)}"
    # Out-of-office replies to machines help nobody.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_body(delivery.event))
    receipt = send_mail(_key(delivery), message, policy=Uncertain.AGAIN, timeout_seconds=MAIL_SECONDS)
    refused = receipt.get("refused") or {}
    if refused:
        told = "; ".join(f"{address}: {answer}" for address, answer in refused.items())
        delivery.error = f"sent, but refused for {told}"[:1000]


def _headline(event: AlertEvent) -> str:
    words = {
        AlertEventKind.FIRED: "is firing",
        AlertEventKind.RECOVERED: "has recovered",
        AlertEventKind.TESTED: "is being tested",
    }
    # A header is one line.
    name = " ".join(event.alert.name.split())
    return f"{name} {words.get(AlertEventKind(event.kind), event.kind)}"


def _body(event: AlertEvent) -> str:
    lines = [event.text, "", f"{event.at:%Y-%m-%d %H:%M:%S} UTC"]
    url = page_url(event.alert)
    return "\n".join([*lines, *([url] if url else [])]) + "\n"


def page_url(alert: Alert) -> str:
    """The alert's page, if it is known under which address people reach the admin; else empty."""
    base = settings.PUBLIC_URL.rstrip("/")
    return f"{base}{reverse('admin:jobs_alert_change', args=[alert.pk])}" if base else ""


def _key(delivery: AlertDelivery) -> str:
    return f"alert:{delivery.event_id}:{delivery.channel}"


# --- Webhook -------------------------------------------------------------------------------------------------------


def secret_of(alert: Alert) -> str:
    """What the alert's webhook signs with, as Standard Webhooks write it.

    Derived from SECRET_KEY and the alert's key, so that no dump of the database holds it.
    """
    return SECRET_MARK + base64.b64encode(_secret(alert)).decode()


def _secret(alert: Alert) -> bytes:
    return salted_hmac(_SALT, f"{alert.pk}:{alert.webhook_key}", algorithm="sha256").digest()


def payload(event: AlertEvent) -> dict[str, Any]:
    """The message's body."""
    alert = event.alert
    return {
        "type": f"alert.{event.kind}",
        "timestamp": event.at.isoformat(),
        "data": {
            "alert": {"id": alert.pk, "name": alert.name, "kind": alert.kind, "queue": alert.queue, "task": alert.task},
            "event": event.pk,
            "state": "firing" if event.kind == AlertEventKind.FIRED else alert.state,
            "value": event.value,
            "threshold": alert.threshold,
            "text": event.text,
            "url": page_url(alert),
        },
    }


def _post(delivery: AlertDelivery, alert: Alert) -> None:
    if not alert.webhook_url:
        raise ChannelUnusable("the alert has no webhook any more")
    addresses = allowed_addresses(alert.webhook_url)
    # Bytes that stay the same: a second try must be the first one's copy.
    body = json.dumps(payload(delivery.event), sort_keys=True).encode()
    message_id = f"msg_alert_{delivery.event_id}"

    def call(attempt: Try) -> dict[str, Any]:
        sent = bytes(attempt.request or body)
        return webhooks.send(attempt, alert.webhook_url, _secret(alert), message_id, sent, addresses)

    once(
        _key(delivery),
        call,
        kind="webhook",
        target=shown_url(alert.webhook_url)[:255],
        idempotent_seconds=SAME_MESSAGE_SECONDS,
        policy=Uncertain.AGAIN,
        timeout_seconds=WEBHOOK_SECONDS,
        request=body,
    )


def allowed_addresses(url: str) -> list[str]:
    """The addresses to connect to. Raises ChannelUnusable for a private one whose host ALERT_WEBHOOK_HOSTS lacks."""
    return webhooks.allowed_addresses(url, settings.ALERT_WEBHOOK_HOSTS, "ALERT_WEBHOOK_HOSTS")
