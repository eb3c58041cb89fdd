"""The ways of telling people: mail, and a webhook signed after Standard Webhooks. Each raises what went wrong."""

import base64
import hmac
import ipaddress
import json
import socket
import time
import urllib.parse
from email.message import EmailMessage
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.crypto import salted_hmac

from jobs.effects import Try, Uncertain, once, post, send_mail
from jobs.models import Alert, AlertDelivery, AlertEvent, AlertEventKind, Channel

MAIL_SECONDS = 15.0
WEBHOOK_SECONDS = 10.0
#: The receiver knows a message by its id, so the same one may be posted again for as long as it is tried.
SAME_MESSAGE_SECONDS = 86_400.0
SECRET_MARK = "whsec_"  # noqa: S105  (what every secret begins with)
_SALT = "jobs.watch.webhook"
#: Translates to the IPv4 address in its last four bytes.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ChannelUnusable(Exception):
    """It cannot be sent as things are; the message says what to change."""


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


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 over `id.timestamp.body`, as the header `webhook-signature` has it."""
    digest = hmac.digest(secret, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def shown_url(url: str) -> str:
    """What may be shown of a webhook's URL: chat services put their secret into its path."""
    if not url:
        return ""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"


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
        timestamp = int(time.time())
        sent = bytes(attempt.request or body)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Switchyard",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(_secret(alert), message_id, timestamp, sent),
        }
        return {"status": post(attempt, alert.webhook_url, sent, headers, addresses=addresses).status}

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


def check_url(url: str) -> None:
    """Raise ChannelUnusable unless it is an http or https URL with a host, and without a user."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        raise ChannelUnusable("the webhook's URL is not well-formed") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ChannelUnusable("the webhook's URL must begin with https:// or http:// and a host")
    if "@" in parts.netloc:
        raise ChannelUnusable("the webhook's URL must not hold a user or password")
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise ChannelUnusable("the webhook's URL may hold only visible ASCII characters; percent-encode the rest")


def allowed_addresses(url: str) -> list[str]:
    """The addresses to connect to, looked up once, so that a name cannot change its meaning after the check.

    Raises ChannelUnusable for an address inside of a network, unless its host is in ALERT_WEBHOOK_HOSTS.
    """
    check_url(url)
    parts = urllib.parse.urlsplit(url)
    host = str(parts.hostname)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise ChannelUnusable(f"the webhook's host {host[:100]!r} does not resolve: {exc}") from None
    addresses = [str(info[4][0]) for info in found]
    if host not in settings.ALERT_WEBHOOK_HOSTS and not all(_is_public(address) for address in addresses):
        raise ChannelUnusable(
            f"the webhook's host {host[:100]!r} has a private address; allow it in ALERT_WEBHOOK_HOSTS"
        )
    return addresses


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    embedded = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    if parsed in _NAT64:
        embedded = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
    return parsed.is_global and not parsed.is_multicast and (embedded is None or embedded.is_global)
