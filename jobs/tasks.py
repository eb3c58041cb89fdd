"""Tasks of the ledger itself: the clean-up, and self-tests for drills, demonstrations and other people's checks."""

import ipaddress
import os
import signal as signals
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from django.conf import settings

from jobs import job, retention
from jobs.ledger.run import current_run


@job(name="jobs.clean_up", queue="maintenance", unique=lambda: "jobs.clean_up", max_attempts=4)
def clean_up() -> dict[str, int]:
    """Empty old results and prune old jobs, in small batches."""
    return retention.clean_up()


@job(name="selftest.echo", max_attempts=1)
def echo(value: Any) -> Any:
    """Return the value."""
    return value


@job(name="selftest.sleep", max_attempts=1)
def sleep(seconds: float, steps: int = 1) -> float:
    """Sleep, reporting progress after each step."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    for step in range(steps):
        time.sleep(seconds / steps)
        job.progress((step + 1) / steps, f"step {step + 1} of {steps}")
    return seconds


@job(name="selftest.fail", max_attempts=4, bind=True, max_retries=3)
def fail(self: Any, message: str, times: int = 1, backoff_seconds: float = 0) -> str:
    """Fail so many attempts, backoff_seconds apart, then succeed; with times of 4 or more the job ends failed."""
    run = current_run()
    attempt = run.attempt if run else times + 1
    if attempt > times:
        return f"succeeded at attempt {attempt}"
    raise self.retry(exc=RuntimeError(message), countdown=backoff_seconds)


@job(name="selftest.crash", max_attempts=1)
def crash(signal: int = 9) -> None:
    """Kill the process that runs this job."""
    os.kill(os.getpid(), signals.Signals(signal))
    time.sleep(5)
    raise RuntimeError(f"signal {signal} did not end this process")


@job(name="selftest.effect", max_attempts=4, backoff_seconds=1)
def effect(url: str, key: str, lookup_url: str | None = None) -> str:
    """Post {"key": key} to a loopback or allowed URL, unless the look-up URL says that it is known there."""
    for address in (url, lookup_url):
        if address is not None:
            _check_allowed(address)
    if lookup_url is not None and _is_known(lookup_url, key):
        return "known already"
    body = f'{{"key": {_json(key)}}}'.encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310
    with _open(request) as response:
        return f"posted: {response.status}"


def _json(value: str) -> str:
    import json

    return json.dumps(value)


def _is_known(lookup_url: str, key: str) -> bool:
    joint = "&" if urllib.parse.urlsplit(lookup_url).query else "?"
    request = urllib.request.Request(f"{lookup_url}{joint}{urllib.parse.urlencode({'key': key})}")  # noqa: S310
    try:
        with _open(request) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as exc:
        if exc.code == 404:
            return False
        raise


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _open(request: urllib.request.Request) -> Any:
    return urllib.request.build_opener(_NoRedirects).open(request, timeout=10)


def _check_allowed(url: str) -> None:
    """Raise ValueError unless the URL is http(s) and its host is on loopback or in SELFTEST_HOSTS."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an http or https URL")
    if parts.hostname in settings.JOBS["SELFTEST_HOSTS"]:
        return
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(parts.hostname, None)}
    except OSError as exc:
        raise ValueError(f"{parts.hostname!r} does not resolve: {exc}") from None
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise ValueError(f"{parts.hostname!r} is not on loopback; allow it in SELFTEST_HOSTS")
