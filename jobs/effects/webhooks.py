"""Messages to other systems, signed after Standard Webhooks, and which addresses they may be posted to."""

import base64
import binascii
import hmac
import ipaddress
import re
import secrets
import socket
import time
import urllib.parse
from collections.abc import Container, Sequence
from typing import Any

from jobs.effects.errors import Refused
from jobs.effects.http import Redirected, UnclearAnswer, post
from jobs.effects.trying import Try

#: The receiver knows a message by its id, so the same one may be posted again for as long as it is tried.
SAME_MESSAGE_SECONDS = 86_400.0
SECRET_MARK = "whsec_"  # noqa: S105  (what every secret begins with)
SECRET_BYTES = 32
#: What the specification takes.
_SECRET_SIZES = range(24, 65)
#: What a host may look like that is told to people.
_HOST = re.compile(r"[a-z0-9.-]{1,253}")
#: Translates to the IPv4 address in its last four bytes.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ChannelUnusable(Exception):
    """It cannot be sent as things are; the message says what to change."""


class SeeOther(UnclearAnswer):
    """303 answers a POST that was most often done (RFC 9110, 15.4.4): it is neither taken as done, nor posted again."""

    is_final = True


class HostUnknown(ChannelUnusable):
    """The host's name does not resolve, which may pass."""


def new_secret() -> str:
    """Something to sign with, as Standard Webhooks write it."""
    return SECRET_MARK + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def secret_bytes(text: str) -> bytes:
    """The key in a secret such as whsec_…. Raises ValueError, which does not name it."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_MARK), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(SECRET_MARK) or len(key) not in _SECRET_SIZES:
        raise ValueError(f"is no secret of a webhook; it takes {SECRET_MARK} and 24 to 64 bytes in Base64")
    return key


def send(
    attempt: Try, url: str, secret: bytes, message_id: str, body: bytes, addresses: Sequence[str]
) -> dict[str, Any]:
    """Post one message to one of the addresses, signed; the receipt.

    Raises Refused also for a redirect, which Standard Webhooks take for a failure; SeeOther; and what `post` raises.
    """
    signed = headers(secret, message_id, int(time.time()), body)
    try:
        return {"status": post(attempt, url, body, signed, addresses=addresses).status}
    except Redirected as exc:
        where = host_of(exc.location)
        if exc.status == 303:
            took = "it may have taken the message, which is not posted again by itself"
            raise SeeOther(f"{exc}{where}: {took}; enter an address that answers 2xx") from None
        told = f"{exc}: it points to another address{where}, and redirects are not followed"
        raise Refused(f"{told}; enter that address instead", exc.status) from None


def host_of(location: str) -> str:
    """The host that an answer points to, in words; empty where it names none. Its path may be a secret."""
    try:
        host = urllib.parse.urlsplit(location).hostname or ""
    except ValueError:
        return ""
    return f" at {host}" if _HOST.fullmatch(host) else ""


def headers(secret: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message. timestamp: seconds since 1970, of this try; message_id: the same for every try."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "Switchyard",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message_id, timestamp, body),
    }


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


def allowed_addresses(url: str, private_hosts: Container[str], setting: str) -> list[str]:
    """The addresses to connect to, looked up once, so that a name cannot change its meaning after the check.

    Raises ChannelUnusable for an address inside of a network, unless its host is in `private_hosts`, which come from
    the environment variable `setting`.
    """
    check_url(url)
    parts = urllib.parse.urlsplit(url)
    host = str(parts.hostname)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise HostUnknown(f"the webhook's host {host[:100]!r} does not resolve: {exc}") from None
    addresses = [str(info[4][0]) for info in found]
    if host not in private_hosts and not all(_is_public(address) for address in addresses):
        raise ChannelUnusable(f"the webhook's host {host[:100]!r} has a private address; allow it in {setting}")
    return addresses


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    embedded = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    if parsed in _NAT64:
        embedded = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
    return parsed.is_global and not parsed.is_multicast and (embedded is None or embedded.is_global)
