"""The effect of the self-test task: one POST to a loopback or allowed URL, looked up where there is a URL for it."""

import hashlib
import http.client
import ipaddress
import json
import socket
import ssl
import urllib.parse
from typing import Any

from django.conf import settings

from jobs.effects import wire
from jobs.effects.http import post
from jobs.effects.protocol import once
from jobs.effects.trying import Try

KIND = "selftest"
TIMEOUT_SECONDS = 10.0
LOOK_UP_SECONDS = 5.0


def post_once(url: str, key: str, lookup_url: str | None) -> str:
    """Post {"key": key} once for this URL and key. Returns what was answered. Raises ValueError for a foreign URL."""
    addresses = allowed_addresses(url)
    lookup_addresses = allowed_addresses(lookup_url) if lookup_url is not None else []

    def call(attempt: Try) -> str:
        body = json.dumps({"key": key}).encode()
        answer = post(attempt, url, body, {"Content-Type": "application/json"}, addresses=addresses)
        return f"posted: {answer.status}"

    def look_up(identity: str) -> str | None:
        assert lookup_url is not None
        return "known already" if is_known(lookup_url, key, lookup_addresses) else None

    parts = urllib.parse.urlsplit(url)
    digest = hashlib.sha256(json.dumps([url, key]).encode()).hexdigest()
    receipt = once(
        f"selftest:{digest}",
        call,
        kind=KIND,
        target=f"{parts.scheme}://{parts.hostname}:{parts.port or '-'}{parts.path} {key}",
        look_up=None if lookup_url is None else look_up,
        look_first=True,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    return str(receipt)


def is_known(lookup_url: str, key: str, addresses: list[str]) -> bool:
    """Ask the far side: 200 if the key is known there, 404 if not. Raises on anything else."""
    parts = urllib.parse.urlsplit(lookup_url)
    query = "&".join(part for part in (parts.query, urllib.parse.urlencode({"key": key})) if part)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or _port(parts), timeout=LOOK_UP_SECONDS)
    sock = wire.connect(addresses or [connection.host], connection.port, LOOK_UP_SECONDS)
    if parts.scheme == "https":
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=parts.hostname)
    connection.sock = sock
    try:
        host = parts.netloc.rpartition("@")[2]
        connection.request("GET", f"{parts.path or '/'}?{query}", headers={"Host": host, "Connection": "close"})
        status = connection.getresponse().status
    finally:
        connection.close()
    if status not in (200, 404):
        raise OSError(f"the look-up answered {status}; expected 200 or 404")
    return status == 200


def _port(parts: urllib.parse.SplitResult) -> int:
    return 443 if parts.scheme == "https" else 80


def allowed_addresses(url: str) -> list[str]:
    """The loopback addresses to connect to; none for a host in SELFTEST_HOSTS. Raises ValueError for any other host."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an http or https URL")
    if parts.hostname in settings.JOBS["SELFTEST_HOSTS"]:
        return []
    try:
        found: list[Any] = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise ValueError(f"{parts.hostname!r} does not resolve: {exc}") from None
    addresses = [str(info[4][0]) for info in found]
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise ValueError(f"{parts.hostname!r} is not on loopback; allow it in SELFTEST_HOSTS")
    return addresses
