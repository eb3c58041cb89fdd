"""Fields of webhook payloads: each of its kind and size, or told which is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reviews.services.payloads import clean_text

MAX_LABELS = 100
_REQUIRED = object()


class FieldMissing(LookupError):
    """A field that is needed is not there, or of another kind; the message names it."""


@dataclass(frozen=True)
class RepositoryFields:
    """What a payload tells of its repository. private, default_branch: None where it does not say."""

    github_id: int
    full_name: str
    private: bool | None
    default_branch: str | None
    archived: bool


@dataclass(frozen=True)
class PullRequestFields:
    """What a payload tells of a pull request. changed_at: when it was last changed at GitHub."""

    number: int
    title: str
    author: str
    author_is_bot: bool
    draft: bool
    state: str
    labels: tuple[str, ...]
    base_ref: str
    base_sha: str
    head_sha: str
    changed_files: int
    changed_lines: int
    changed_at: datetime | None


def repository_fields(payload: Mapping[str, Any]) -> RepositoryFields:
    """Raises FieldMissing."""
    private, branch = (field(payload, f"repository.{name}", None) for name in ("private", "default_branch"))
    return RepositoryFields(
        github_id=number(payload, "repository.id"),
        full_name=text(payload, "repository.full_name", 255),
        private=private if isinstance(private, bool) else None,
        default_branch=clean_text(branch)[:255] if isinstance(branch, str) else None,
        archived=field(payload, "repository.archived", False) is True,
    )


def pull_request_fields(payload: Mapping[str, Any]) -> PullRequestFields:
    """Raises FieldMissing."""
    return PullRequestFields(
        number=number(payload, "pull_request.number", most=2**31 - 1),
        title=short(payload, "pull_request.title", 500),
        author=short(payload, "pull_request.user.login", 100),
        author_is_bot=field(payload, "pull_request.user.type", "") == "Bot",
        draft=field(payload, "pull_request.draft", False) is True,
        state=short(payload, "pull_request.state", 16) or "open",
        labels=label_names(field(payload, "pull_request.labels", [])),
        base_ref=short(payload, "pull_request.base.ref", 255),
        base_sha=text(payload, "pull_request.base.sha", 64),
        head_sha=text(payload, "pull_request.head.sha", 64),
        changed_files=min(number(payload, "pull_request.changed_files", 0), 2**31 - 1),
        changed_lines=min(
            number(payload, "pull_request.additions", 0) + number(payload, "pull_request.deletions", 0), 2**31 - 1
        ),
        changed_at=moment(payload, "pull_request.updated_at"),
    )


def field(payload: Mapping[str, Any], path: str, default: Any = _REQUIRED) -> Any:
    """What stands at a dotted path; null counts as nothing. Raises FieldMissing where there is no default."""
    value: Any = payload
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        if default is _REQUIRED:
            raise FieldMissing(f"the payload has no {path}")
        return default
    return value


def number(payload: Mapping[str, Any], path: str, default: Any = _REQUIRED, most: int = 2**63 - 1) -> int:
    """A whole number from 0. Raises FieldMissing."""
    value = field(payload, path, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise FieldMissing(f"{path} in the payload is not a number of its kind")
    return value


def text(payload: Mapping[str, Any], path: str, most: int) -> str:
    """Raises FieldMissing for what is no text of 1 to `most` characters."""
    value = field(payload, path)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise FieldMissing(f"{path} in the payload is not a text of 1 to {most} characters")
    return clean_text(value)


def short(payload: Mapping[str, Any], path: str, most: int) -> str:
    """A text that is cut at `most` characters; empty where there is none."""
    value = field(payload, path, "")
    return clean_text(value)[:most] if isinstance(value, str) else ""


def moment(payload: Mapping[str, Any], path: str) -> datetime | None:
    try:
        read = datetime.fromisoformat(short(payload, path, 40))
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def label_names(labels: Any) -> tuple[str, ...]:
    names = [label.get("name") for label in labels if isinstance(label, Mapping)] if isinstance(labels, list) else []
    return tuple(clean_text(name)[:255] for name in names[:MAX_LABELS] if isinstance(name, str) and name)
