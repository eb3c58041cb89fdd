"""One call of GitHub's REST API after the other: sent once, its refusal explained, its limits kept to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import requests
from github import Auth, Github, GithubException

from jobs.unreachable import why_unreachable
from reviews.github.errors import GitHubError, GitHubRefused
from reviews.github.refusals import explained
from reviews.github.shapes import not_understood
from reviews.services import throttle

TIMEOUT_SECONDS = 20
PAGE_SIZE = 100
MAX_PAGES = 100
UNAUTHORIZED = 401
MOVED = 307
_MOVED = ("Moved Permanently", "Temporary Redirect")

_FULL_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


class Credentials(Protocol):
    """Gives the token of the moment. kind: as GitHub expects it before the token. name: of whom, in messages."""

    kind: str
    name: str

    def token(self) -> str:
        """Raises GitHubError."""
        ...

    def renew(self, refused: str) -> bool:
        """Whether there is another token than the one that was refused."""
        ...


class FixedToken:
    """One that stays as it is until somebody changes it. name: where it is entered."""

    kind = "token"

    def __init__(self, token: str, name: str = "GITHUB_TOKEN") -> None:
        self._token = token
        self.name = name

    def token(self) -> str:
        return self._token

    def renew(self, refused: str) -> bool:
        return False


class _CurrentToken(Auth.Auth):
    """Holds what is sent with a request; it is set before each."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.text = ""

    @property
    def token_type(self) -> str:
        return self._kind

    @property
    def token(self) -> str:
        return self.text

    @property
    def _masked_token(self) -> str:
        return "(token removed)"


@dataclass(frozen=True)
class Answer:
    """headers: with names in lower case."""

    headers: dict[str, str]
    body: Any


class Transport:
    """One account's way to GitHub. Waits and retries are the caller's: nothing is done twice here."""

    def __init__(
        self,
        api_url: str,
        token: "str | Credentials",
        *,
        limit_key: str = "",
        timeout_seconds: int = TIMEOUT_SECONDS,
    ) -> None:
        """limit_key: whose allowance is used, see `services/throttle.py`; empty: nobody keeps count.

        With one, a call raises Throttled where there is none left, or GitHub asks to be left alone.
        """
        self.api_url = api_url.rstrip("/")
        self._credentials = FixedToken(token) if isinstance(token, str) else token
        self._current = _CurrentToken(self._credentials.kind)
        self._limit_key = limit_key
        self._timeout_seconds = timeout_seconds
        self._requester = Github(
            base_url=self.api_url,
            auth=self._current,
            timeout=timeout_seconds,
            per_page=PAGE_SIZE,
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            user_agent="Switchyard",
        ).requester

    @property
    def graphql_url(self) -> str:
        """Beside REST: https://api.github.com/graphql, or https://HOST/api/graphql for https://HOST/api/v3."""
        return str(self._requester.graphql_url)

    def current_token(self) -> str:
        """Raises GitHubError."""
        return self._credentials.token()

    def get(self, path: str, parameters: dict[str, Any] | None = None) -> Any:
        return self.call("GET", path, parameters)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body=body)

    def pages(self, path: str, parameters: dict[str, Any] | None = None, within: str = "") -> Iterator[dict[str, Any]]:
        """All entries of a list, page by page. within: the field that holds the list, where the answer is no list."""
        for page in range(1, MAX_PAGES + 1):
            answer = self.get(path, {**(parameters or {}), "per_page": PAGE_SIZE, "page": page})
            entries = answer.get(within) if within and isinstance(answer, dict) else answer
            if not isinstance(entries, list):
                raise GitHubError(f"GitHub answered {path} with {type(entries).__name__}; a list was expected")
            yield from entries
            if len(entries) < PAGE_SIZE:
                return

    def call(self, verb: str, path: str, parameters: dict[str, Any] | None = None, body: Any = None) -> Any:
        return self.request(verb, path, parameters, body).body

    def request(self, verb: str, path: str, parameters: dict[str, Any] | None = None, body: Any = None) -> Answer:
        """The answer to one request. Raises GitHubError, GitHubRefused, Throttled."""
        if self._limit_key:
            throttle.spend(self._limit_key, write=verb != "GET")
        try:
            try:
                return self._send(verb, path, parameters, body)
            except GitHubError as exc:
                # A token may be withdrawn before its time; a request with it was not worked on, and may be repeated.
                if exc.status != UNAUTHORIZED or not self._credentials.renew(self._current.text):
                    raise
                return self._send(verb, path, parameters, body)
        except GitHubError as exc:
            if exc.retry_after_seconds is None or not self._limit_key:
                raise
            throttle.close(self._limit_key, exc.retry_after_seconds, str(exc))
            raise throttle.Throttled(exc.retry_after_seconds, str(exc), self._limit_key) from None

    def _send(self, verb: str, path: str, parameters: dict[str, Any] | None, body: Any) -> Answer:
        what = f"{verb} {path}"
        self._current.text = self._credentials.token()
        try:
            headers, answer = self._requester.requestJsonAndCheck(verb, path, parameters=parameters, input=body)
        except GithubException as exc:
            raise explained(what, exc, self._credentials.name) from None
        except requests.Timeout:
            raise GitHubError(f"{what}: GitHub did not answer within {self._timeout_seconds} s") from None
        except requests.RequestException as exc:
            raise GitHubError(f"{what}: GitHub cannot be reached ({why_unreachable(exc)})") from None
        except (ValueError, TypeError, AttributeError, KeyError, AssertionError) as exc:
            # PyGithub takes for granted that what a proxy in between says is GitHub's JSON too.
            raise not_understood(what, exc) from None
        except RuntimeError as exc:  # PyGithub follows no redirect to another host, or from HTTP to HTTPS
            said = str(exc).split(",")[0]
            raise GitHubRefused(f"{what}: {said}; correct the address of the API, {self.api_url}") from None
        if isinstance(answer, dict) and answer.get("message") in _MOVED:  # nor any redirect of a write
            raise GitHubError(f"{what}: GitHub answered that it has moved; its new name is learned from GitHub", MOVED)
        return Answer({name.lower(): str(value) for name, value in headers.items()}, answer)


class Part:
    """Some of GitHub's operations, over one transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


def repo_path(full_name: str, rest: str = "") -> str:
    """Where a repository's operations are. Raises GitHubRefused for what is no repository's name."""
    if not _FULL_NAME.fullmatch(full_name) or {".", ".."} & set(full_name.split("/")):
        raise GitHubRefused(f"{full_name!r} is not a repository's name; owner/name was expected")
    return f"/repos/{full_name}/{rest}" if rest else f"/repos/{full_name}"
