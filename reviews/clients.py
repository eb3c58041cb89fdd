"""GitHub's REST API, as far as reviews need it.

Source: https://docs.github.com/rest (pulls, git/blobs, repos/contents, repos/compare), version 2022-11-28.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from github import Auth, Github, GithubException

from reviews.changes import ContentUnavailable

TIMEOUT_SECONDS = 20
PAGE_SIZE = 100
# GitHub lists no more files of a pull request, and stops there without a word.
MAX_LISTED_FILES = 3000
MAX_PAGES = 100
SECONDARY_LIMIT_SECONDS = 60.0
MAX_WAIT_SECONDS = 3600.0

_FULL_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


class GitHubError(Exception):
    """GitHub did not do it. Holds no secret. retry_after_seconds: the wait that GitHub asked for."""

    def __init__(self, message: str, status: int = 0, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class GitHubRefused(GitHubError):
    """Asked again, GitHub would answer the same until somebody changes something: a token, a name, a permission."""


@dataclass(frozen=True)
class PullRequest:
    number: int
    title: str
    state: str
    base_sha: str
    head_sha: str
    changed_files: int


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
class PostedReview:
    """A review at GitHub. state: PENDING (only its author sees it), COMMENTED, …"""

    id: int
    state: str
    body: str


class GitHubClient:
    """One account's view of GitHub. Waits and retries are the caller's: nothing is sent twice here."""

    def __init__(self, api_url: str, token: str) -> None:
        self._requester = Github(
            base_url=api_url.rstrip("/"),
            auth=Auth.Token(token),
            timeout=TIMEOUT_SECONDS,
            per_page=PAGE_SIZE,
            retry=None,
            seconds_between_requests=None,
            user_agent="Switchyard",
        ).requester

    def pull(self, full_name: str, number: int) -> PullRequest:
        answer = self._call("GET", _repo(full_name, f"pulls/{number:d}"))
        try:
            return PullRequest(
                number=number,
                title=str(answer["title"]),
                state=str(answer["state"]),
                base_sha=str(answer["base"]["sha"]),
                head_sha=str(answer["head"]["sha"]),
                changed_files=int(answer.get("changed_files") or 0),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise _not_understood("a pull request", exc) from None

    def files(self, full_name: str, number: int) -> Iterator[ListedFile]:
        for entry in self._pages(_repo(full_name, f"pulls/{number:d}/files")):
            try:
                yield ListedFile(
                    path=entry["filename"],
                    old_path=entry.get("previous_filename"),
                    status=entry["status"],
                    sha=entry.get("sha"),
                    patch=entry.get("patch"),
                    changes=int(entry.get("changes") or 0),
                )
            except (KeyError, TypeError, ValueError) as exc:
                raise _not_understood("a list of files", exc) from None

    def blob(self, full_name: str, sha: str) -> bytes:
        """A blob's content by its id; up to 100 MB at GitHub. Raises ContentUnavailable."""
        answer = self._content(_repo(full_name, f"git/blobs/{quote(sha, safe='')}"))
        return _decoded(answer)

    def file_at(self, full_name: str, path: str, ref: str) -> bytes:
        """A file's content at a commit. Raises ContentUnavailable."""
        if ".." in path.split("/"):
            raise ContentUnavailable("its path leads out of the repository")
        answer = self._content(_repo(full_name, f"contents/{quote(path)}"), {"ref": ref})
        if answer.get("type", "file") != "file":
            raise ContentUnavailable(f"at base it is a {answer.get('type')}")
        # Above 1 MB, contents are left out here, and the blob has to be asked for.
        if answer.get("encoding") != "base64" and answer.get("sha"):
            return self.blob(full_name, str(answer["sha"]))
        return _decoded(answer)

    def merge_base(self, full_name: str, base: str, head: str) -> str:
        # The files of a comparison, which are not needed, stand on its first page.
        path = _repo(full_name, f"compare/{quote(base, safe='')}...{quote(head, safe='')}")
        answer = self._call("GET", path, {"per_page": 1, "page": 2})
        try:
            return str(answer["merge_base_commit"]["sha"])
        except (KeyError, TypeError) as exc:
            raise _not_understood("a comparison", exc) from None

    def reviews(self, full_name: str, number: int) -> Iterator[PostedReview]:
        for entry in self._pages(_repo(full_name, f"pulls/{number:d}/reviews")):
            try:
                yield PostedReview(id=int(entry["id"]), state=str(entry["state"]), body=str(entry.get("body") or ""))
            except (KeyError, TypeError, ValueError) as exc:
                raise _not_understood("a list of reviews", exc) from None

    def create_review(
        self, full_name: str, number: int, *, head_sha: str, body: str, comments: list[dict[str, Any]]
    ) -> int:
        """Post a review that neither approves nor blocks; its id."""
        review = {"commit_id": head_sha, "body": body, "event": "COMMENT", "comments": comments}
        return self._review_id(self._call("POST", _repo(full_name, f"pulls/{number:d}/reviews"), body=review))

    def submit_review(self, full_name: str, number: int, review_id: int) -> int:
        """Publish a review that is still pending; its id."""
        path = _repo(full_name, f"pulls/{number:d}/reviews/{review_id:d}/events")
        return self._review_id(self._call("POST", path, body={"event": "COMMENT"}))

    @staticmethod
    def _review_id(answer: Any) -> int:
        try:
            return int(answer["id"])
        except (KeyError, TypeError, ValueError) as exc:
            raise _not_understood("a review", exc) from None

    def _content(self, path: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._call("GET", path, parameters)
        except GitHubError as exc:
            if exc.status in (403, 404, 422) and exc.retry_after_seconds is None:
                raise ContentUnavailable(f"GitHub does not give its content ({exc.status})") from None
            raise
        if not isinstance(answer, dict):
            raise ContentUnavailable("GitHub gives no content for it")
        return answer

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        for page in range(1, MAX_PAGES + 1):
            entries = self._call("GET", path, {"per_page": PAGE_SIZE, "page": page})
            if not isinstance(entries, list):
                raise GitHubError(f"GitHub answered {path} with {type(entries).__name__}; a list was expected")
            yield from entries
            if len(entries) < PAGE_SIZE:
                return

    def _call(self, verb: str, path: str, parameters: dict[str, Any] | None = None, body: Any = None) -> Any:
        what = f"{verb} {path}"
        try:
            return self._requester.requestJsonAndCheck(verb, path, parameters=parameters, input=body)[1]
        except GithubException as exc:
            raise _explained(what, exc) from None
        except requests.Timeout:
            raise GitHubError(f"{what}: GitHub did not answer within {TIMEOUT_SECONDS} s") from None
        except requests.RequestException as exc:
            raise GitHubError(f"{what}: GitHub cannot be reached ({type(exc).__name__})") from None
        except (ValueError, TypeError, AttributeError, KeyError, AssertionError) as exc:
            # PyGithub takes for granted that what a proxy in between says is GitHub's JSON too.
            raise _not_understood(what, exc) from None


def _repo(full_name: str, rest: str) -> str:
    if not _FULL_NAME.fullmatch(full_name) or {".", ".."} & set(full_name.split("/")):
        raise GitHubRefused(f"{full_name!r} is not a repository's name; owner/name was expected")
    return f"/repos/{full_name}/{rest}"


def _decoded(answer: dict[str, Any]) -> bytes:
    try:
        if answer["encoding"] == "utf-8":
            return str(answer["content"]).encode("utf-8", "surrogatepass")
        return base64.b64decode(answer["content"])
    except (KeyError, TypeError, ValueError):
        raise ContentUnavailable("GitHub gives its content in a form that is not known") from None


def _not_understood(what: str, exc: Exception) -> GitHubError:
    return GitHubError(f"GitHub's answer about {what} is not as documented ({type(exc).__name__})")


_ADVICE = {
    401: "the token is refused; set GITHUB_TOKEN to one that is valid",
    403: "not allowed; the token needs read access to contents and write access to pull requests",
    404: "not found, or the token may not see it",
}
_LASTING = (401, 403, 404, 410, 451)


def _explained(what: str, exc: GithubException) -> GitHubError:
    headers = {name.lower(): str(value) for name, value in (exc.headers or {}).items()}
    data = exc.data if isinstance(exc.data, dict) else {}
    said = str(data.get("message") or "")[:200]
    errors = data.get("errors")
    if errors:
        said = f"{said}: {str(errors)[:300]}"
    wait = _wait_seconds(exc.status, headers, said)
    advice = "" if wait is not None else _ADVICE.get(exc.status, "")
    text = ": ".join(part for part in (what, f"GitHub answered {exc.status}", said, advice) if part)
    lasting = wait is None and exc.status in _LASTING
    return (GitHubRefused if lasting else GitHubError)(text, exc.status, wait)


def _wait_seconds(status: int, headers: dict[str, str], said: str) -> float | None:
    """How long GitHub wants to be left alone, None when it did not say so and no limit was met."""
    if status < 400:
        return None
    after = headers.get("retry-after", "")
    if after.isdigit():
        return min(float(after), MAX_WAIT_SECONDS)
    used_up = headers.get("x-ratelimit-remaining") == "0"
    limited = status == 429 or (status == 403 and (used_up or "rate limit" in said.lower()))
    if not limited:
        return None
    if used_up and headers.get("x-ratelimit-reset", "").isdigit():
        from time import time

        left = float(headers["x-ratelimit-reset"]) - time()
        return min(max(left, 1.0), MAX_WAIT_SECONDS)
    return SECONDARY_LIMIT_SECONDS
