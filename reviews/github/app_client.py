"""What an App may ask GitHub for by itself, with a JWT: its installations, their tokens, its deliveries."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from reviews.github.refusals import answered_at
from reviews.github.shapes import HookDelivery, read, text
from reviews.github.transport import PAGE_SIZE, Credentials, Part, Transport, repo_path

# While a token is asked for, a row is locked.
TIMEOUT_SECONDS = 10
TOKEN_SECONDS = 3600.0

_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


@dataclass(frozen=True)
class AppInfo:
    """permissions: as the App asks for them, such as {"contents": "read"}."""

    app_id: int
    slug: str
    permissions: dict[str, str]
    events: tuple[str, ...]


@dataclass(frozen=True)
class InstallationInfo:
    """permissions: as the account has granted them."""

    github_id: int
    account_login: str
    account_type: str
    permissions: dict[str, str]
    suspended: bool


@dataclass(frozen=True)
class HookInfo:
    """The App's webhook. content_type: json or form."""

    url: str
    content_type: str
    has_secret: bool


@dataclass(frozen=True)
class GrantedToken:
    """lasts_seconds: by GitHub's clock."""

    token: str
    lasts_seconds: float
    permissions: dict[str, str]


@dataclass(frozen=True)
class DeliveryPage:
    """next_cursor: where older deliveries begin; empty: there are none."""

    deliveries: tuple[HookDelivery, ...]
    next_cursor: str


class AppClient(Part):
    """An App's own view of GitHub. Its errors are as GitHub words them; `apps.explain` names them."""

    def __init__(self, api_url: str, credentials: Credentials, *, limit_key: str = "") -> None:
        super().__init__(Transport(api_url, credentials, limit_key=limit_key, timeout_seconds=TIMEOUT_SECONDS))

    def app(self) -> AppInfo:
        return read("an App", _app, self._transport.get("/app"))

    def installations(self) -> Iterator[InstallationInfo]:
        for entry in self._transport.pages("/app/installations"):
            yield read("a list of installations", installation_info, entry)

    def installation_of(self, full_name: str) -> InstallationInfo:
        """The one that has a repository."""
        return read("an installation", installation_info, self._transport.get(repo_path(full_name, "installation")))

    def create_token(self, installation_id: int) -> GrantedToken:
        answer = self._transport.request("POST", f"/app/installations/{installation_id:d}/access_tokens")
        return read("a token", lambda body: _granted(body, answer.headers), answer.body)

    def hook(self) -> HookInfo:
        return read("a webhook", _hook, self._transport.get("/app/hook/config"))

    def deliveries(self, cursor: str = "") -> DeliveryPage:
        """The newest first."""
        parameters = {"per_page": PAGE_SIZE, **({"cursor": cursor} if cursor else {})}
        answer = self._transport.request("GET", "/app/hook/deliveries", parameters)
        found = read("a list of deliveries", lambda body: tuple(_delivery(entry) for entry in body), answer.body)
        link = _NEXT.search(answer.headers.get("link", ""))
        cursors = parse_qs(urlsplit(link[1]).query).get("cursor", [""]) if link else [""]
        return DeliveryPage(found, cursors[0])

    def redeliver(self, delivery_id: int) -> None:
        """Have GitHub send a delivery again; it does so soon after."""
        self._transport.post(f"/app/hook/deliveries/{delivery_id:d}/attempts")


def installation_info(entry: Any) -> InstallationInfo:
    """From an answer, or from the field `installation` of a delivery."""
    account = entry.get("account") or {}
    return InstallationInfo(
        github_id=int(entry["id"]),
        account_login=text(account.get("login") or account.get("slug"))[:100],
        account_type=text(entry.get("target_type"))[:32],
        permissions=_permissions(entry.get("permissions")),
        suspended=bool(entry.get("suspended_at")),
    )


def _app(answer: Any) -> AppInfo:
    return AppInfo(
        app_id=int(answer["id"]),
        slug=text(answer.get("slug")),
        permissions=_permissions(answer.get("permissions")),
        events=tuple(str(event) for event in answer.get("events") or ()),
    )


def _hook(answer: Any) -> HookInfo:
    return HookInfo(text(answer.get("url")), text(answer.get("content_type")), bool(answer.get("secret")))


def _permissions(found: Any) -> dict[str, str]:
    return {str(name): str(level) for name, level in (found or {}).items()}


def _granted(body: Any, headers: dict[str, str]) -> GrantedToken:
    ends, now = datetime.fromisoformat(str(body["expires_at"])), answered_at(headers)
    lasts = (ends - now).total_seconds() if now is not None else TOKEN_SECONDS
    return GrantedToken(str(body["token"]), min(lasts, TOKEN_SECONDS), _permissions(body.get("permissions")))


def _delivery(entry: Any) -> HookDelivery:
    return HookDelivery(
        id=int(entry["id"]),
        guid=str(entry["guid"]),
        event=str(entry["event"]),
        action=text(entry.get("action")),
        status=text(entry.get("status")),
        status_code=int(entry.get("status_code") or 0),
        redelivery=bool(entry.get("redelivery")),
        delivered_at=text(entry.get("delivered_at")),
    )
