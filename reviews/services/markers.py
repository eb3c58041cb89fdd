"""Hidden lines by which what we wrote at GitHub is found again. Nobody else can make one before we have posted it."""

import hashlib
import hmac

from django.conf import settings

PREFIX = "<!-- switchyard:"


def marker(kind: str, what: str, shown: str = "") -> str:
    """The marker of one thing that we write. what: tells it from all others; shown: may be read by anybody."""
    key = settings.SECRET_KEY.encode()
    digest = hmac.new(key, f"{kind}-marker:{what}".encode(), hashlib.sha256).hexdigest()[:32]
    return f"{PREFIX}{kind}:{f'{shown}:' if shown else ''}{digest} -->"


def is_marked(text: str) -> bool:
    """Whether a text holds a marker, by whomever: people who quote us leave it out, so such a text is not answered."""
    return PREFIX in text
