"""The library Apprise, kept short: which of its services may be used, and a message to one of them.

Its URLs hold secrets. Nothing that the library says of one is passed on but the status that the service answered.
"""

import logging
import re
import urllib.parse
from typing import Any

from django.conf import settings

from jobs.effects import Refused, Try
from jobs.effects.webhooks import ChannelUnusable

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
#: What may stand behind the `?` of a URL. Others of the library's read files, or send elsewhere.
PARAMETERS = frozenset(
    {"footer", "format", "image", "mode", "overflow", "priority", "silent", "sound", "thread", "topic"}
)
_STATUS = re.compile(r"error=(\d{3})\b")
_SCHEME = re.compile(r"[a-z0-9]{1,30}", re.ASCII)


class ServiceFailed(Exception):
    """The service did not take it, as far as is known; whether it did after all is not."""


def target(url: str) -> Any:
    """The library's object for a URL. Raises ChannelUnusable, which does not tell the URL."""
    scheme = _checked(url)
    library = _library()
    found = library.Apprise.instantiate(url, asset=_asset(library), suppress_exceptions=True)
    if found is None:
        raise ChannelUnusable(f"is no URL that Apprise takes of a {scheme}:// service; see its documentation")
    _check_host(found, scheme)
    found.socket_connect_timeout, found.socket_read_timeout = CONNECT_SECONDS, READ_SECONDS
    return found


def send(found: Any, title: str, body: str, attempt: Try) -> None:
    """Hand one message to a service. Raises Refused for a 4xx, and ServiceFailed for what does not tell."""
    library = _library()
    sender = library.Apprise(asset=_asset(library))
    sender.add(found)
    found.socket_read_timeout = min(READ_SECONDS, attempt.seconds_left)
    attempt.check()
    try:
        result = sender.notify(body=body, title=title, body_format=library.NotifyFormat.TEXT)
    except Exception as exc:  # its message may hold the URL
        raise ServiceFailed(f"Apprise failed by {type(exc).__name__}") from None
    if result:
        return
    said = " ".join(str(entry.message) for entry in result.logs())
    statuses = [int(status) for status in _STATUS.findall(said)]
    if statuses and all(400 <= status < 500 for status in statuses):
        raise Refused(f"the service answered {statuses[0]}", statuses[0])
    raise ServiceFailed(f"the service answered {statuses[0]}" if statuses else "the service could not be reached")


def shown(url: str) -> str:
    """What may be shown of a URL."""
    return f"{urllib.parse.urlsplit(url).scheme[:30]}://…"


def _checked(url: str) -> str:
    """The URL's scheme, if it may be used."""
    try:
        parts = urllib.parse.urlsplit(url)
        names = {name.lower() for name, _ in urllib.parse.parse_qsl(parts.query, keep_blank_values=True)}
    except ValueError:
        raise ChannelUnusable("is not a well-formed URL") from None
    scheme = parts.scheme.lower()
    allowed = settings.APPRISE_SCHEMES
    if not _SCHEME.fullmatch(scheme) or scheme not in allowed:
        known = ", ".join(sorted(allowed)) or "none"
        raise ChannelUnusable(f"must begin with the scheme of a service in APPRISE_SCHEMES, such as {known}")
    if not url.isprintable() or " " in url:
        raise ChannelUnusable("may not hold spaces or control characters; percent-encode them")
    foreign = sorted(names - PARAMETERS)
    if foreign:
        raise ChannelUnusable(f"has the parameter {foreign[0][:30]!r}; it takes only {', '.join(sorted(PARAMETERS))}")
    return scheme


def _check_host(found: Any, scheme: str) -> None:
    """A service that is at a host of the URL's choice needs that host to be allowed."""
    templates = getattr(found, "templates", ())
    if not any("{host}" in template for template in templates):
        return
    # ntfy without a host means its public server.
    if scheme in ("ntfy", "ntfys") and getattr(found, "mode", None) == "cloud":
        return
    host = str(getattr(found, "host", "") or "")
    if host not in settings.REMINDER_WEBHOOK_HOSTS:
        raise ChannelUnusable(f"names a host of its own for {scheme}://; allow it in REMINDER_WEBHOOK_HOSTS")


def _asset(library: Any) -> Any:
    return library.AppriseAsset(
        app_id="Switchyard",
        app_desc="Switchyard",
        app_url="",
        secure_logging=True,
        http_redirects=False,
        async_mode=False,
        plugin_paths=[],
        storage_mode="memory",
    )


def _library() -> Any:
    import apprise

    # Both write URLs with secrets to the log.
    logger = logging.getLogger("apprise")
    logger.propagate = False
    for name, least in (("apprise", logging.WARNING), ("urllib3", logging.ERROR)):
        if logging.getLogger(name).level < least:
            logging.getLogger(name).setLevel(least)
    return apprise
