"""Whether a channel's address can be used: checked when it is entered, and again when something is sent to it."""

import contextlib
import hashlib
import urllib.parse
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from jobs.effects import webhooks
from jobs.effects.webhooks import ChannelUnusable, HostUnknown
from jobs.operators.settings import SettingsRefused
from jobs.secrets import SecretUnreadable
from reminders.models import Channel, ChannelKind
from reminders.services import apprise_targets

SETTING = "REMINDER_WEBHOOK_HOSTS"
LONGEST = {ChannelKind.MAIL: 254, ChannelKind.WEBHOOK: 2_000, ChannelKind.APPRISE: 2_000}


def mail_address(channel: Channel) -> str:
    """Where a mail channel sends to: its own address, else the account's; perhaps empty.

    Raises ChannelUnusable for one that cannot be decrypted.
    """
    return _revealed(channel.address) or str(channel.user.email)


def url_of(channel: Channel) -> str:
    """A webhook's or Apprise's. Raises ChannelUnusable."""
    return _revealed(channel.address)


def secret_of(channel: Channel) -> bytes:
    """What a webhook signs with. Raises ChannelUnusable."""
    try:
        return webhooks.secret_bytes(_revealed(channel.secret))
    except ValueError:
        raise ChannelUnusable("the webhook has no secret to sign with; have a new one made") from None


def _revealed(secret: Any) -> str:
    try:
        return str(secret.reveal())
    except SecretUnreadable as exc:
        raise ChannelUnusable(str(exc)) from None


def sendable(address: str) -> str:
    """A mail address as every server takes it, with its domain in ASCII. Raises ChannelUnusable."""
    local, _, domain = address.rpartition("@")
    try:
        validate_email(address)
        plain = f"{local}@{domain.encode('idna').decode('ascii')}"
    except (ValidationError, UnicodeError):
        raise ChannelUnusable("the mail address is not well-formed; enter another one") from None
    if not plain.isascii() or '"' in plain:
        raise ChannelUnusable("the mail address has characters that not every mail server takes; enter another one")
    return plain


def plain(address: str) -> str:
    """A mail address that is the same for all ways to write it."""
    try:
        return sendable(address.strip()).lower()
    except ChannelUnusable:
        return address.strip().lower()


def suppressed_as(address: str) -> str:
    """By what a mail address that refused mail is kept and found."""
    return plain(address)[: LONGEST[ChannelKind.MAIL]]


def digest(address: str) -> bytes:
    """Of a mail address however it is written; 32 bytes."""
    return hashlib.sha256(plain(address).encode("utf-8", "replace")).digest()


def version_of(address: str) -> int:
    """By what a link knows the mail address that it was mailed to."""
    return int.from_bytes(digest(address)[:6])


def webhook_addresses(url: str) -> list[str]:
    """What to connect to. Raises ChannelUnusable for a private address whose host is not in REMINDER_WEBHOOK_HOSTS."""
    return webhooks.allowed_addresses(url, settings.REMINDER_WEBHOOK_HOSTS, SETTING)


def check_address(channel: Channel) -> None:
    """Whether a channel's address and secret are of its kind. Raises SettingsRefused, which names neither."""
    kind = ChannelKind(channel.kind)
    try:
        address = _revealed(channel.address)
        if len(address) > LONGEST[kind]:
            raise ChannelUnusable(f"has {len(address):,} characters; it takes up to {LONGEST[kind]:,}")
        {ChannelKind.MAIL: _check_mail, ChannelKind.WEBHOOK: _check_webhook, ChannelKind.APPRISE: _check_apprise}[kind](
            channel, address
        )
    except ChannelUnusable as exc:
        raise SettingsRefused({"address": str(exc)}) from None
    if kind != ChannelKind.WEBHOOK:
        if channel.secret:
            raise SettingsRefused({"secret": f"only a webhook has one; leave it out of a channel of the kind {kind}"})
        return
    try:
        webhooks.secret_bytes(_revealed(channel.secret))
    except (ValueError, ChannelUnusable) as exc:
        raise SettingsRefused({"secret": str(exc)}) from None


def _check_mail(channel: Channel, address: str) -> None:
    if not (address or channel.user.email):
        raise ChannelUnusable("is empty, and the account has no mail address; enter one")
    if address:
        sendable(address)


def _check_webhook(channel: Channel, address: str) -> None:
    webhooks.check_url(address)
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in settings.REMINDER_WEBHOOK_HOSTS:
        raise ChannelUnusable(f"must begin with https://; http is for hosts in {SETTING}")
    # A name that does not resolve now may do so when something is sent.
    with contextlib.suppress(HostUnknown):
        webhook_addresses(address)


def _check_apprise(channel: Channel, address: str) -> None:
    apprise_targets.target(address)
