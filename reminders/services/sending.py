"""Handing one delivery over by its channel, as an outside effect: its bytes are stored before they are tried."""

import smtplib
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings

from jobs.effects import EffectUnknown, NotDone, Refused, Try, Uncertain, once, send_mail, webhooks
from jobs.effects.webhooks import ChannelUnusable
from jobs.models import Effect
from reminders.models import Channel, ChannelKind, ReminderDelivery, Suppression
from reminders.services import addresses, apprise_targets, outbox, rendering
from reminders.services.rendering import Content

MAIL_SECONDS = 30.0
WEBHOOK_SECONDS = 10.0
APPRISE_SECONDS = 30.0
#: Said to whoever waits for mail, who is seldom the one that can mend it.
NO_MAIL_SERVER = "no mail server is configured; whoever runs this installation can set EMAIL_URL"


class NoMailServer(ChannelUnusable):
    """Mail is switched off for all; no channel is to blame."""


class MailServerAway(Exception):
    """Nothing was handed over: the server cannot be reached, or takes no mail from us now. Another try may succeed."""


def effect_of(delivery_id: int) -> Effect | None:
    """What is known of a delivery's effect, without the bytes."""
    return Effect.objects.defer("request").filter(key=key_of(delivery_id)).first()


def key_of(delivery_id: int) -> str:
    return f"reminder:{delivery_id}"


def why_unusable(channel: Channel) -> str:
    """Why nothing is to be sent by a channel now; empty if it may be used."""
    if not channel.user.is_active:
        return "the account is closed"
    if not outbox.is_usable(channel, channel.user):
        return outbox.why_unreachable([channel], channel.user)
    if channel.kind != ChannelKind.MAIL:
        return ""
    try:
        refused = suppression(addresses.mail_address(channel))
    except ChannelUnusable:
        return ""  # a failure when it is sent, rather than a reason to send nothing
    return "" if refused is None else f"the address is suppressed, as it refused mail: {refused.reason}"


def suppression(address: str) -> Suppression | None:
    """Of a mail address however it is written; None if it takes mail."""
    return Suppression.objects.filter(address=addresses.suppressed_as(address)).first()


def suppress(address: str, why: str) -> None:
    """Mail an address no more, however it is written."""
    Suppression.objects.get_or_create(address=addresses.suppressed_as(address), defaults={"reason": why})


def send(delivery: ReminderDelivery, tell: Callable[[], Content]) -> str:
    """Hand it over once. Returns the Message-ID that it bears, or the webhook's id; empty for Apprise.

    tell: asked for what to say where no bytes are stored yet. Raises ChannelUnusable, MailServerAway, and what
    `jobs.effects` and the far side raise.
    """
    known = effect_of(delivery.pk)
    kind = ChannelKind(delivery.channel.kind)
    way = {ChannelKind.MAIL: _mail, ChannelKind.WEBHOOK: _webhook, ChannelKind.APPRISE: _apprise}[kind]
    return way(delivery, tell, known)


# --- Mail -------------------------------------------------------------------------------------------------------------


def _mail(delivery: ReminderDelivery, tell: Callable[[], Content], known: Effect | None) -> str:
    require_mail_server()
    if known is None:
        address = addresses.sendable(addresses.mail_address(delivery.channel))
        message = rendering.mail(delivery, tell(), address)
    else:
        message = rendering.bare_mail(known.target, known.identity)
    hand_over(key_of(delivery.pk), message)
    return known.identity if known is not None else str(message["Message-ID"])


def has_mail_server() -> bool:
    return bool(settings.EMAIL_HOST)


def require_mail_server() -> None:
    """Raises NoMailServer."""
    if not has_mail_server():
        raise NoMailServer("no mail server is configured; set EMAIL_URL, and send it again")


def hand_over(key: str, message: Any) -> None:
    """Once for this key. Raises MailServerAway, and what `jobs.effects` raises."""
    try:
        send_mail(key, message, policy=Uncertain.AGAIN, timeout_seconds=MAIL_SECONDS)
    except Refused as exc:
        if exc.about != "sender":
            raise
        raise MailServerAway(str(exc)) from exc
    except (smtplib.SMTPException, OSError) as exc:
        # Before the text was given: afterwards the outcome would be unknown, and told so.
        raise MailServerAway(f"the mail server takes no mail now: {_one_line(exc)}") from exc


def _one_line(exc: BaseException) -> str:
    return " ".join(f"{type(exc).__name__}: {exc}".split())[:300]


# --- Webhook ----------------------------------------------------------------------------------------------------------


def _webhook(delivery: ReminderDelivery, tell: Callable[[], Content], known: Effect | None) -> str:
    message_id = f"msg_reminder_{delivery.pk}"
    body = rendering.payload(delivery, tell()) if known is None else b""
    _post(delivery.channel, key_of(delivery.pk), message_id, body, known)
    return message_id


def _post(channel: Channel, key: str, message_id: str, body: bytes, known: Effect | None) -> Any:
    url = addresses.url_of(channel)
    secret = addresses.secret_of(channel)
    found = addresses.webhook_addresses(url)

    def call(attempt: Try) -> dict[str, Any]:
        return webhooks.send(attempt, url, secret, message_id, bytes(attempt.request or body), found)

    return once(
        key,
        call,
        kind="webhook",
        target=known.target if known is not None else webhooks.shown_url(url)[:255],
        idempotent_seconds=webhooks.SAME_MESSAGE_SECONDS,
        policy=Uncertain.AGAIN,
        timeout_seconds=WEBHOOK_SECONDS,
        request=body,
    )


# --- Apprise ----------------------------------------------------------------------------------------------------------


def _apprise(delivery: ReminderDelivery, tell: Callable[[], Content], known: Effect | None) -> str:
    title, text = rendering.short(tell()) if known is None else ("", "")
    _push(delivery.channel, key_of(delivery.pk), title, text, known)
    return ""


def _push(channel: Channel, key: str, title: str, text: str, known: Effect | None) -> Any:
    url = addresses.url_of(channel)
    found = apprise_targets.target(url)

    def call(attempt: Try) -> str:
        kept_title, _, kept_text = bytes(attempt.request or b"").decode().partition("\n")
        apprise_targets.send(found, kept_title, kept_text, attempt)
        return "sent"

    return once(
        key,
        call,
        kind="apprise",
        target=known.target if known is not None else apprise_targets.shown(url),
        policy=Uncertain.AGAIN,
        timeout_seconds=APPRISE_SECONDS,
        request=f"{title}\n{text}".encode(),
    )


# --- A test -----------------------------------------------------------------------------------------------------------


def send_test(channel: Channel) -> tuple[bool, str]:
    """Send a message that says it is a test, even by a channel that is not in use. Returns what came of it."""
    key = f"reminder-test:{channel.pk}:{uuid.uuid4()}"
    text = "This is a test from Switchyard: reminders reach you here."
    try:
        if channel.kind == ChannelKind.MAIL:
            return True, _test_mail(channel, key, text)
        if channel.kind == ChannelKind.WEBHOOK:
            body = rendering.test_payload(channel, text)
            answer = _post(channel, key, f"msg_test_{key.rpartition(':')[2]}", body, None)
            return True, f"the receiver answered {answer['status']}"
        _push(channel, key, "Test", text, None)
        return True, "the service took it"
    except (ChannelUnusable, MailServerAway, NotDone) as exc:
        return False, str(exc)
    except EffectUnknown as exc:
        return False, f"whether it arrived is not known: {_one_line(exc.__cause__ or exc)}"
    except Exception as exc:  # of a far side, whose ways to fail have no end
        return False, f"whether it arrived is not known: {_one_line(exc)}"


def _test_mail(channel: Channel, key: str, text: str) -> str:
    require_mail_server()
    address = addresses.sendable(addresses.mail_address(channel))
    refused = suppression(address)
    if refused is not None:
        raise ChannelUnusable(f"the address is suppressed, as it refused mail: {refused.reason}")
    known_as = f"<test.{uuid.uuid4()}@{rendering.domain()}>"
    message = rendering.bare_mail(address, known_as)
    message["Subject"] = "Test of your reminders"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    hand_over(key, message)
    return f"the mail server took it, as {known_as}"
