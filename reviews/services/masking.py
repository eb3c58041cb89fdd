"""Takes secrets out of what is about to be posted: our own, and those that the change holds."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from reviews.changes import Change, ContentUnavailable

MASK = "•••"
MIN_CHARACTERS = 8
#: Beyond these a change is not looked through: what it says is not quoted at such a length.
MAX_LINES = 3_000
MAX_LINE_CHARACTERS = 1_000
MAX_SAID_CHARACTERS = 20_000
_NAMES = re.compile(r"TOKEN|SECRET|PASSW|PRIVATE|CREDENTIAL|API_?KEY|ACCESS_?KEY|_KEY$", re.IGNORECASE)
_WORD = re.compile(rf"[^\s\"'`<>()\[\]{{}},;]{{{MIN_CHARACTERS},}}")


class Masker:
    """Replaces what it was given, the longest first."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {part.strip() for secret in secrets for part in (secret, *secret.splitlines())}
        self._secrets = sorted((part for part in found if len(part) >= MIN_CHARACTERS), key=len, reverse=True)

    def mask(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def of_environment() -> Iterator[str]:
    """The secrets that this process knows without asking the database."""
    yield from (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    yield from (settings.GITHUB.get("TOKEN", ""), settings.GITHUB.get("WEBHOOK_SECRET", ""))
    for name, value in os.environ.items():
        if _NAMES.search(name):
            yield value
        elif "://" in value and "@" in value:
            yield from _password(value)


def _password(url: str) -> Iterator[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return
    if password:
        yield password


def of_database() -> Iterator[str]:
    """Those that are stored, decrypted."""
    from jobs.secrets import SecretUnreadable
    from reviews.models import GitHubAccess, Installation, LlmProvider

    stored: list[Any] = [
        *(
            secret
            for row in GitHubAccess.objects.values_list("private_key", "token", "webhook_secret")
            for secret in row
        ),
        *Installation.objects.values_list("token", flat=True),
        *LlmProvider.objects.values_list("api_key", flat=True),
    ]
    for secret in stored:
        try:
            yield secret.reveal()
        except SecretUnreadable:
            continue


def masker_of(change: Change | None, texts: Iterable[str]) -> Masker:
    """For texts that are about to be posted about a change: our own secrets, and what looks like one in either."""
    said = [line for text in texts for line in text.splitlines()]
    words = {word for line in said for word in _WORD.findall(line)}
    found = secrets_in(said[:MAX_LINES], MAX_SAID_CHARACTERS)
    if change is not None and words:
        lines = [line for line in _added_lines(change) if not words.isdisjoint(_WORD.findall(line))][:MAX_LINES]
        keys = {word for line in _key_lines(change) for word in _WORD.findall(line)} & words
        found |= secrets_in(lines) | keys
    return Masker([*of_environment(), *of_database(), *found])


def _key_lines(change: Change) -> Iterator[str]:
    """The lines of private keys in the changed files: one from the middle does not tell that it is of a key."""
    from reviews.analysis import secret_patterns

    for side in (side for file in change.files for side in (file.base, file.head) if side is not None):
        try:
            content = side.load()
        except ContentUnavailable:
            continue
        if b" PRIVATE KEY" in content:
            lines = content.split(b"\n")
            for row in secret_patterns.key_rows(lines):
                yield lines[row - 1][:MAX_LINE_CHARACTERS].decode("utf-8", "replace")


def _added_lines(change: Change) -> Iterator[str]:
    for file in change.files:
        if file.head is None:
            continue
        try:
            content, changed = file.head.load(), file.changed_lines
        except ContentUnavailable:
            continue
        lines = content.split(b"\n")
        for part in changed.ranges:
            for line in lines[part.start - 1 : part.stop - 1]:
                yield line[:MAX_LINE_CHARACTERS].decode("utf-8", "replace")


def secrets_in(lines: Iterable[str], longest: int = MAX_LINE_CHARACTERS) -> set[str]:
    """What has the form of a key or token, or stands as a value beside a name that tells of a secret."""
    from reviews.analysis import secret_patterns

    text = "\n".join(dict.fromkeys(line[:longest] for line in lines))
    return {text[found.start : found.end] for found in secret_patterns.find(text)}
