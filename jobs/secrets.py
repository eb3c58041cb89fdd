"""Secrets at rest: encrypted with a key of the installation, decrypted where they are used, and never shown.

`SecretField` holds a `Secret`; its text is only had by `reveal()`, so a log line, a page or a serializer shows dots.
"""

import base64
import hashlib
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models

DOTS = "••••"


class SecretUnreadable(Exception):
    """A stored secret cannot be decrypted with any key that is set; the message says what to do."""


class Secret:
    """A text that is not shown. Falsy when it is empty."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return DOTS if self._text else ""

    __repr__ = __str__


class UnreadableSecret(Secret):
    """One that the present keys do not open: it is there, and using it tells what to do."""

    def reveal(self) -> str:
        raise SecretUnreadable(
            "a stored secret cannot be decrypted: SECRET_KEY was changed; put the former one into "
            "SECRET_KEY_FALLBACKS, or enter the secret again"
        )

    def __bool__(self) -> bool:
        return True


def encrypt(text: str) -> str:
    return _box().encrypt(text.encode()).decode("ascii")


def decrypt(stored: str) -> Secret:
    """What was encrypted, with the present key or a former one; an `UnreadableSecret` if none fits."""
    try:
        return Secret(_box().decrypt(stored.encode("ascii")).decode())
    except (InvalidToken, ValueError):
        return UnreadableSecret(stored)


def _box() -> MultiFernet:
    return _box_of((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=4)
def _box_of(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(_digest(key))) for key in keys])


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=32, person=b"sy-secrets").digest()


class SecretField(models.TextField):  # type: ignore[type-arg]
    """A `Secret` in Python, encrypted in Postgres; empty stays empty. Assign a str or a Secret."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("blank", True)
        kwargs.setdefault("default", Secret)
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Secret:
        return decrypt(value) if value else Secret()

    def to_python(self, value: Any) -> Secret:
        return value if isinstance(value, Secret) else Secret(str(value or ""))

    def get_prep_value(self, value: Any) -> str:
        if isinstance(value, UnreadableSecret):
            return value._text  # as it was stored: saving a row loses no secret
        text = self.to_python(value).reveal()
        return encrypt(text) if text else ""

    def value_to_string(self, obj: Any) -> str:
        return ""
