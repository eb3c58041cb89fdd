"""What GitHub's answers hold, as far as it is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from reviews.github.errors import GitHubError

T = TypeVar("T")

GHOST = "ghost"


@dataclass(frozen=True)
class Identity:
    """Who we are at GitHub. login: whose name stands at what we write; app_id, slug: of an App."""

    login: str
    app_id: int | None = None
    slug: str = ""


@dataclass(frozen=True)
class Account:
    """Of a personal token. scopes: what it may do; None where GitHub does not tell, as of a fine-grained one."""

    login: str
    scopes: tuple[str, ...] | None


@dataclass(frozen=True)
class RepositoryInfo:
    github_id: int
    full_name: str
    private: bool
    default_branch: str


@dataclass(frozen=True)
class RepositoryFile:
    """A file at a commit. sha: of its blob."""

    path: str
    sha: str
    content: bytes


@dataclass(frozen=True)
class PullRequest:
    """state: open or closed. labels: their names. changed_lines: added and deleted ones together.

    changed_at: when it was last changed at GitHub. repository_id, full_name: of its repository, as it is called now.
    """

    number: int
    title: str
    state: str
    base_sha: str
    head_sha: str
    changed_files: int
    body: str = ""
    author: str = ""
    author_is_bot: bool = False
    draft: bool = False
    labels: tuple[str, ...] = ()
    base_ref: str = ""
    head_ref: str = ""
    changed_lines: int = 0
    changed_at: datetime | None = None
    repository_id: int | None = None
    full_name: str = ""


@dataclass(frozen=True)
class ListedFile:
    """One entry of a pull request's files. sha: of the blob at head; patch: None for binary and huge files."""

    path: str
    old_path: str | None
    status: str
    sha: str | None
    patch: str | None
    changes: int


@dataclass(frozen=True)
class Comparison:
    """What leads from one commit to another. status: ahead where the second has all of the first. files: up to 300."""

    status: str
    files: tuple[ListedFile, ...]


@dataclass(frozen=True)
class PostedReview:
    """A review at GitHub. state: PENDING (only its author sees it), COMMENTED, …"""

    id: int
    state: str
    body: str
    author: str = ""
    commit_sha: str = ""


@dataclass(frozen=True)
class ReviewComment:
    """A comment on a line. thread_id: the first comment of its thread, itself where it is the first.

    line: in head, None where the line is gone since. hunk: the lines of the diff up to it. app_id: of the App that
    wrote it.
    """

    id: int
    thread_id: int
    review_id: int | None
    path: str
    line: int | None
    hunk: str
    author: str
    author_is_bot: bool
    association: str
    body: str
    commit_sha: str = ""
    app_id: int | None = None
    created_at: str = ""


@dataclass(frozen=True)
class IssueComment:
    """A comment on an issue, or on a pull request as a whole."""

    id: int
    author: str
    author_is_bot: bool
    association: str
    body: str
    app_id: int | None = None
    created_at: str = ""


@dataclass(frozen=True)
class CheckRun:
    id: int
    name: str
    head_sha: str
    status: str
    conclusion: str
    external_id: str
    app_id: int | None = None


@dataclass(frozen=True)
class Issue:
    """state: open or closed. is_pull_request: GitHub lists these among the issues."""

    github_id: int
    number: int
    title: str
    body: str
    author: str
    state: str
    url: str
    labels: tuple[str, ...]
    is_pull_request: bool
    created_at: str = ""
    updated_at: str = ""


@dataclass(frozen=True)
class Label:
    name: str
    description: str = ""


@dataclass(frozen=True)
class HookDelivery:
    """One attempt of GitHub to deliver an event. id: of the attempt; guid: of the event, the same when sent again."""

    id: int
    guid: str
    event: str
    action: str
    status: str
    status_code: int
    redelivery: bool
    delivered_at: str


@dataclass(frozen=True)
class GitRemote:
    """Where git fetches a repository from. environment: holds the credentials, for git's environment alone."""

    url: str
    environment: Mapping[str, str]


def read(what: str, shape: Callable[[Any], T], answer: Any) -> T:
    """What `shape` makes of an answer. Raises GitHubError for one that is not as documented."""
    try:
        return shape(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise not_understood(what, exc) from None


def not_understood(what: str, exc: Exception) -> GitHubError:
    return GitHubError(f"GitHub's answer about {what} is not as documented ({type(exc).__name__})")


def text(value: Any) -> str:
    return "" if value is None else str(value)


def moment(value: Any) -> datetime | None:
    """A time that GitHub tells; None where it is none."""
    try:
        read_ = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return read_ if read_.tzinfo else read_.replace(tzinfo=UTC)


def login(user: Any) -> str:
    """An account's name; GitHub gives none for accounts that were deleted."""
    return text(user.get("login")) if isinstance(user, dict) else GHOST


def is_bot(user: Any) -> bool:
    return isinstance(user, dict) and user.get("type") == "Bot"


def app_id(entry: Any) -> int | None:
    """Of the App by which something was written."""
    app = entry.get("performed_via_github_app") or entry.get("app")
    return int(app["id"]) if isinstance(app, dict) and app.get("id") is not None else None


def new_id(answer: Any) -> int:
    """Of what was made."""
    return int(answer["id"])


def names(labels: Any) -> tuple[str, ...]:
    found = (label.get("name") if isinstance(label, dict) else label for label in labels or ())
    return tuple(str(name) for name in found if name)
