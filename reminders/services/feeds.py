"""Calendar feeds: a secret address for each person, of which only the SHA-256 is kept."""

import hashlib
import re
import secrets
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.urls import reverse

from reminders import moment
from reminders.models import CalendarFeed

#: 256 random bits need no salt and no slow hash.
_BYTES = 32
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
#: That somebody reads a feed is noted once in so long, not with every request.
NOTED_EVERY = timedelta(hours=1)


def renew(person: Any) -> tuple[CalendarFeed, str]:
    """Make a person's feed, in place of a former one, which ends. Returns it and its secret, never to be had again."""
    secret = secrets.token_urlsafe(_BYTES)
    values = {"token_digest": _digest(secret), "created_at": moment.now(), "last_read_at": None}
    feed, _ = CalendarFeed.objects.update_or_create(user=person, defaults=values)
    return feed, secret


def revoke(person: Any) -> bool:
    """End a person's feed. Returns whether there was one."""
    deleted, _ = CalendarFeed.objects.filter(user=person).delete()
    return deleted > 0


def find(secret: str) -> CalendarFeed | None:
    """The feed of a secret, with its person; None for an unknown one, and for an account that is closed.

    The digest is looked up, whatever the text is, so the time that takes tells nothing about a secret.
    """
    feed = CalendarFeed.objects.select_related("user__reminder_preferences").filter(token_digest=_digest(secret))
    found = feed.first()
    return found if found is not None and found.user.is_active and _SECRET.fullmatch(secret) else None


def note_read(feed: CalendarFeed) -> None:
    now = moment.now()
    if feed.last_read_at is None or feed.last_read_at <= now - NOTED_EVERY:
        earlier = Q(last_read_at=None) | Q(last_read_at__lte=now - NOTED_EVERY)
        CalendarFeed.objects.filter(earlier, pk=feed.pk).update(last_read_at=now)


def url_of(secret: str) -> str:
    """The address of a feed; a path alone where PUBLIC_URL is not set."""
    return f"{settings.PUBLIC_URL.rstrip('/')}{reverse('calendar-feed-file', args=[secret])}"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
