"""Explains an error that GitHub answered with: what it said, what to do, and how long to wait."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from reviews.github.errors import GitHubError, GitHubRefused

if TYPE_CHECKING:
    from github import GithubException

SECONDARY_LIMIT_SECONDS = 60.0
MAX_WAIT_SECONDS = 3600.0
#: A limit on content, which is told as if the content were wrong.
_TOO_QUICKLY = "submitted too quickly"

_ADVICE = {
    401: "the token is refused; set {name} to one that is valid",
    403: "not allowed; {name} needs read access to contents and write access to pull requests and issues",
    404: "not found, or {name} may not see it",
}
_LASTING = (401, 403, 404, 410, 451)


def explained(what: str, exc: "GithubException", name: str) -> GitHubError:
    """what: the request. name: of the token or App that it was made with."""
    headers = {key.lower(): str(value) for key, value in (exc.headers or {}).items()}
    data = exc.data if isinstance(exc.data, dict) else {}
    said = str(data.get("message") or "")[:200]
    errors = data.get("errors")
    if errors:
        said = f"{said}: {str(errors)[:300]}"
    wait = _wait_seconds(exc.status, headers, said)
    advice = "" if wait is not None else _ADVICE.get(exc.status, "").format(name=name)
    text = ": ".join(part for part in (what, f"GitHub answered {exc.status}", said, advice) if part)
    lasting = wait is None and exc.status in _LASTING
    error = (GitHubRefused if lasting else GitHubError)(text, exc.status, wait)
    error.said, error.answered_at = said, answered_at(headers)
    return error


def answered_at(headers: Mapping[str, str]) -> datetime | None:
    """GitHub's clock when it answered; None where a proxy left it out."""
    try:
        return parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None


def _wait_seconds(status: int, headers: Mapping[str, str], said: str) -> float | None:
    """How long GitHub wants to be left alone, None when it did not say so and no limit was met."""
    if status < 400:
        return None
    after = headers.get("retry-after", "")
    if after.isdigit():
        return min(float(after), MAX_WAIT_SECONDS)
    used_up = headers.get("x-ratelimit-remaining") == "0"
    limited = status == 429 or (status == 403 and (used_up or "rate limit" in said.lower()))
    limited = limited or (status == 422 and _TOO_QUICKLY in said.lower())
    if not limited:
        return None
    reset, now = headers.get("x-ratelimit-reset", ""), answered_at(headers)
    if used_up and reset.isdigit() and now is not None:
        return min(max(float(reset) - now.timestamp(), 1.0), MAX_WAIT_SECONDS)
    return SECONDARY_LIMIT_SECONDS
