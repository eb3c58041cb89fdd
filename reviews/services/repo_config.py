"""`.switchyard.yml`: how a repository wants to be reviewed, read from the base branch only, over the admin's settings.

Who proposes a change cannot change how it is reviewed, and the file can neither spend more nor choose a provider that
the operators did not allow.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import Any

import yaml
from django.conf import settings
from jsonschema import Draft202012Validator, ValidationError

from reviews.changes import ContentUnavailable
from reviews.github.errors import GitHubError
from reviews.models import Repository
from reviews.paths import BadPattern, PathPatterns
from reviews.policy import PathInstructions, ReviewSettings
from reviews.services.payloads import clean

FILE = ".switchyard.yml"
MAX_BYTES = 64 * 1024
MAX_ERRORS = 10
MAX_DEPTH = 20
_LISTS = ("excluded_labels", "excluded_titles", "excluded_authors")
_PLAIN = ("provider", "severity_floor", "finding_budget", "review_drafts", "review_bots", "instructions", "language")


class FileRefused(ValueError):
    """The file cannot be heeded; errors: each in words, with what to change."""

    def __init__(self, *errors: str) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


@dataclass(frozen=True)
class RepositoryFile:
    """The file at a commit, as far as it can be heeded.

    settings: the admin's where there are errors. blob: git's id of its content, empty where there is none; of one that
    cannot be read, another for each reason. said: what it says, as JSON.
    """

    settings: ReviewSettings
    errors: tuple[str, ...] = ()
    blob: str = ""
    said: Mapping[str, Any] = field(default_factory=dict)


def read(client: Any, repository: Repository, ref: str) -> RepositoryFile:
    """Read the file at a commit of the base branch. Raises GitHubError when GitHub does not answer."""
    try:
        content: bytes = client.file_at(repository.full_name, FILE, ref)
    except ContentUnavailable as exc:
        if exc.is_missing:
            return RepositoryFile(settings_of(repository))
        error = f"it cannot be read: {exc}; it has to be a file, and our access needs read access to contents"
        return RepositoryFile(settings_of(repository), (error,), _digest(error.encode()))
    except GitHubError as exc:
        if exc.status == 404:
            return RepositoryFile(settings_of(repository))
        raise
    blob = _digest(b"blob %d\0" % len(content) + content)
    try:
        said = parse(content)
        return RepositoryFile(settings_of(repository, said, source=f"{FILE} at {ref[:12]}"), (), blob, said)
    except FileRefused as exc:
        return RepositoryFile(settings_of(repository), exc.errors, blob)


def _digest(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def settings_of(repository: Repository, said: Mapping[str, Any] | None = None, source: str = "") -> ReviewSettings:
    """The admin's settings, and over them what the file says. Raises FileRefused for what it may not say."""
    base = ReviewSettings(
        provider=repository.provider,
        severity_floor=repository.severity_floor,
        finding_budget=repository.finding_budget,
        review_drafts=repository.review_drafts,
        review_bots=repository.review_bots,
        excluded_labels=tuple(repository.excluded_labels),
        excluded_titles=tuple(repository.excluded_titles),
        excluded_authors=tuple(repository.excluded_authors),
        excluded_paths=_admin_patterns(repository),
        instructions=repository.instructions,
        path_instructions=_admin_path_instructions(repository),
        language=repository.language,
        change_cap_usd=repository.change_cap_usd,
        daily_cap_usd=repository.daily_cap_usd,
    )
    return _over(base, said, repository, source) if said else base


def known_settings(repository: Repository) -> ReviewSettings:
    """The settings as far as they are known without asking GitHub: by the file as it was last read."""
    try:
        return settings_of(repository, repository.file_settings, source=f"{FILE} as last read")
    except FileRefused:
        return settings_of(repository)


def starting_settings(repository: Repository) -> ReviewSettings:
    """What decides whether a review starts, in which the file is read anew.

    By what the file excluded when it was last read, nothing is kept off: it may not say so any more. Drafts and bots
    are let in by it.
    """
    admin, known = settings_of(repository), known_settings(repository)
    return replace(
        admin,
        review_drafts=admin.review_drafts or known.review_drafts,
        review_bots=admin.review_bots or known.review_bots,
    )


def renew_known(client: Any, repository: Repository) -> None:
    """Note what the file on the default branch says now. Raises GitHubError when GitHub does not answer."""
    tip = read(client, repository, repository.default_branch)
    if not tip.errors:
        Repository.objects.filter(pk=repository.pk).update(file_settings=dict(tip.said))


def _over(base: ReviewSettings, said: Mapping[str, Any], repository: Repository, source: str) -> ReviewSettings:
    allowed = dict.fromkeys((repository.provider, *repository.providers_allowed))
    chosen = said.get("provider", repository.provider)
    if chosen not in allowed:
        raise FileRefused(f"provider: {chosen!r} is not allowed here; choose from: {', '.join(allowed)}")
    changed: dict[str, Any] = {name: said[name] for name in _PLAIN if name in said}
    for name in _LISTS:
        changed[name] = tuple(dict.fromkeys((*getattr(base, name), *said.get(name, ()))))
    for name in ("change_cap_usd", "daily_cap_usd"):
        changed[name] = _tighter(getattr(base, name), said.get(name))
    changed["excluded_paths"] = _patterns(
        "excluded_paths", (*base.excluded_paths.patterns, *said.get("excluded_paths", ()))
    )
    given = said.get("path_instructions", ())
    for entry in given:
        _patterns("path_instructions", (entry["path"],))
    changed["path_instructions"] = (
        *base.path_instructions, *(PathInstructions(entry["path"], entry["instructions"]) for entry in given)
    )  # fmt: skip
    return replace(base, **changed, source=source)


def _tighter(cap: Decimal | None, said: float | None) -> Decimal | None:
    caps = [limit for limit in (cap, None if said is None else Decimal(str(said))) if limit is not None]
    return min(caps, default=None)


def _patterns(where: str, patterns: tuple[str, ...]) -> PathPatterns:
    try:
        return PathPatterns.of(patterns)
    except BadPattern as exc:
        raise FileRefused(f"{where}: {exc}") from None


def _admin_patterns(repository: Repository) -> PathPatterns:
    """What cannot be read is left out: the admin refuses it where it is entered."""
    try:
        return PathPatterns.of(repository.excluded_paths)
    except BadPattern:
        return PathPatterns()


def _admin_path_instructions(repository: Repository) -> tuple[PathInstructions, ...]:
    entries = repository.path_instructions if isinstance(repository.path_instructions, list) else []
    return tuple(
        PathInstructions(str(entry["path"]), str(entry["instructions"]))
        for entry in entries
        if isinstance(entry, dict) and {"path", "instructions"} <= set(entry)
    )


# --- The file as such ----------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML without anchors, which a few bytes of could stand for gigabytes, and without a key given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise FileRefused(f"line {self.peek_event().start_mark.line + 1}: aliases (*name) are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None) if len(keys) < 1000 else None
        if twice is not None:
            raise FileRefused(f"line {node.start_mark.line + 1}: {twice!r} is given twice")
        return super().construct_mapping(node, deep)


def parse(content: bytes) -> dict[str, Any]:
    """What the file says, checked by the schema. Raises FileRefused."""
    if len(content) > MAX_BYTES:
        raise FileRefused(f"the file has {len(content):,} bytes; {MAX_BYTES:,} at most are read")
    try:
        said = yaml.load(content.decode("utf-8-sig"), Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except UnicodeDecodeError:
        raise FileRefused("the file is not UTF-8") from None
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise FileRefused(f"{where}not YAML: {exc.problem or exc.context}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as exc:
        if isinstance(exc, FileRefused):
            raise
        raise FileRefused(f"not YAML that can be read: {type(exc).__name__}") from None
    if said is None:
        return {}
    try:
        errors = tuple(_told(error) for error in _validator().iter_errors(said))
    except (ValueError, RecursionError):  # of whole numbers beyond 4,300 digits, which Python does not write out
        raise FileRefused("a value in the file is too large") from None
    if errors:
        raise FileRefused(*sorted(set(errors))[:MAX_ERRORS])
    if any(isinstance(value, float) and not isfinite(value) for value in said.values()):
        raise FileRefused("a number in the file is not finite")
    kept: dict[str, Any] = clean(said, MAX_DEPTH)
    return kept


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads((settings.BASE_DIR / "docs" / "switchyard.schema.json").read_text()))


def _told(error: ValidationError) -> str:
    """One error in words: where, what is wrong, and what was probably meant."""
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema["properties"]) if isinstance(error.schema, Mapping) else []
        unknown = [str(key) for key in error.instance if key not in known]
        return "; ".join(_unknown(f"{where}.{key}".lstrip("."), key, known) for key in unknown[:MAX_ERRORS])
    return f"{where}: {error.message}"[:300] if where else f"the file: {error.message}"[:300]


def _unknown(where: str, key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=0.6)
    return f"unknown key {where[:80]!r}" + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}")
