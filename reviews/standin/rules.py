"""What every part of the stand-in GitHub uses: its registry of operations, requests, refusals, and accounts as JSON.

Add an operation in a module of your own and import it where it is needed:

    @route("GET", r"labels")                     # below /repos/owner/name/; a leading slash: the whole path
    def labels(standin: Standin, request: Request) -> Answer:
        return 200, page(..., request.query)
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from reviews.standin.server import Standin

Answer = tuple[int, Any]
Handler = Callable[..., Answer]

WHEN = "2026-01-02T03:04:05Z"
SOMEWHERE = "https://github.example/x"
MAX_BODY_CHARACTERS = 65_536

_USER_URLS = (
    "avatar_url", "url", "html_url", "followers_url", "following_url", "gists_url", "starred_url", "subscriptions_url",
    "organizations_url", "repos_url", "events_url", "received_events_url",
)  # fmt: skip


class Refused(Exception):
    """Answered with an error, as GitHub words it."""

    def __init__(self, status: int, message: str, *errors: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body: dict[str, Any] = {"message": message, "documentation_url": "https://docs.github.com/rest"}
        if errors:
            self.body["errors"] = list(errors)


@dataclass(frozen=True)
class Caller:
    """Who asks. login: whose name stands at what they write. app: GitHub's id of the App, for a JWT or a token of an
    installation; jwt: it is a JWT. permissions: of the installation's token; None: a personal token, which may all.
    """

    login: str
    app: int | None = None
    installation: int | None = None
    jwt: bool = False
    permissions: dict[str, str] | None = None

    @property
    def is_bot(self) -> bool:
        return self.app is not None


@dataclass(frozen=True)
class Request:
    """verb: of HTTP. query: the first value of each parameter. body: the JSON that was sent, None without."""

    verb: str
    path: str
    query: dict[str, str]
    body: Any
    caller: Caller

    def need(self, permission: str, level: str = "read") -> None:
        """Refuse a token of an installation that lacks a permission."""
        held = self.caller.permissions
        if held is None:
            return
        if held.get(permission) not in (("read", "write", "admin") if level == "read" else ("write", "admin")):
            raise Refused(403, "Resource not accessible by integration")


@dataclass
class Fault:
    """What happens to requests that match. cut: "before" or "after" the request is worked on."""

    pattern: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "Server Error"
    cut: str = ""
    times: int = 1


@dataclass(frozen=True)
class Route:
    verb: str
    pattern: "re.Pattern[str]"
    handler: Handler


ROUTES: list[Route] = []


def route(verb: str, pattern: str) -> Callable[[Handler], Handler]:
    """Register `handler(standin, request, *groups of the pattern)`; the newest that matches answers."""

    def register(handler: Handler) -> Handler:
        ROUTES.insert(0, Route(verb, re.compile(pattern), handler))
        return handler

    return register


def dispatch(standin: "Standin", request: Request) -> Answer:
    prefix = f"/repos/{standin.full_name}"
    ours = request.path == prefix or request.path.startswith(prefix + "/")
    for found in ROUTES:
        absolute = found.pattern.pattern.startswith("/")
        path = request.path if absolute else request.path.removeprefix(prefix).lstrip("/")
        match = found.pattern.fullmatch(path)
        if found.verb == request.verb and match and (absolute or ours):
            if not absolute:
                standin.check_reach(request.caller)
            return found.handler(standin, request, *(unquote(part) for part in match.groups()))
    raise Refused(404, "Not Found")


def page(entries: list[Any], query: dict[str, str]) -> list[Any]:
    size, number = min(int(query.get("per_page", "30")), 100), int(query.get("page", "1"))
    return entries[(number - 1) * size : number * size]


def user(login: str, *, bot: bool = False) -> dict[str, Any]:
    """An account as GitHub shows it."""
    return {
        "login": login, "id": sum(login.encode()), "node_id": "n", "gravatar_id": "", "site_admin": False,
        "type": "Bot" if bot or login.endswith("[bot]") else "User", **dict.fromkeys(_USER_URLS, SOMEWHERE),
    }  # fmt: skip


def check_text(body: Any, name: str = "body") -> str:
    """A text that GitHub takes: not blank, and not too long."""
    if not isinstance(body, str) or not body.strip():
        raise Refused(422, "Validation Failed", {"code": "missing_field", "field": name})
    if len(body) > MAX_BODY_CHARACTERS:
        problem = f"{name} is too long (maximum is {MAX_BODY_CHARACTERS} characters)"
        raise Refused(422, "Validation Failed", {"code": "custom", "field": name, "message": problem})
    return body
