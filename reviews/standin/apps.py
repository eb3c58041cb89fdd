"""Apps at the stand-in: JWTs that are verified, tokens of installations that end, deliveries that can be sent again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from reviews.standin.pulls import repository_json
from reviews.standin.rules import SOMEWHERE, WHEN, Answer, Caller, Refused, Request, page, route, user

if TYPE_CHECKING:
    from reviews.standin.server import Standin

TOKEN_SECONDS = 3600
PERMISSIONS = {
    "metadata": "read",
    "contents": "read",
    "pull_requests": "write",
    "issues": "write",
    "checks": "write",
}
EVENTS = [
    "pull_request", "pull_request_review_comment", "pull_request_review_thread", "issue_comment", "issues", "label",
    "check_run", "push", "repository",
]  # fmt: skip
HOOK = {"url": SOMEWHERE, "content_type": "json", "secret": "********", "insecure_ssl": "0"}


@cache
def private_key(name: str = "first") -> str:
    """A PEM file as GitHub makes it; the same for the same name."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode("ascii")


@dataclass
class StandinInstallation:
    """tokens: text → when it ends, in seconds since 1970."""

    id: int
    account: str
    repositories: list[str]
    permissions: dict[str, str] = field(default_factory=lambda: dict(PERMISSIONS))
    suspended: bool = False
    tokens: dict[str, float] = field(default_factory=dict)


@dataclass
class StandinApp:
    """deliveries: newest first. deliver: sends (event, guid, payload) to us, and tells the status of our answer."""

    app_id: int
    client_id: str
    slug: str
    private_key: str
    permissions: dict[str, str] = field(default_factory=lambda: dict(PERMISSIONS))
    events: list[str] = field(default_factory=lambda: list(EVENTS))
    installations: dict[int, StandinInstallation] = field(default_factory=dict)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    deliver: Callable[[str, str, Any], int] | None = None
    hook: dict[str, str] = field(default_factory=lambda: dict(HOOK))

    def install(self, github_id: int, *repositories: str, account: str = "acme") -> StandinInstallation:
        made = StandinInstallation(github_id, account, list(repositories), dict(self.permissions))
        self.installations[github_id] = made
        return made

    def add_delivery(self, delivery_id: int, guid: str, *, status_code: int = 200, **fields: Any) -> dict[str, Any]:
        """What GitHub remembers of an attempt. fields: of the list of deliveries, and `payload`."""
        delivery = {
            "id": delivery_id, "guid": guid, "delivered_at": WHEN, "redelivery": False, "duration": 0.1,
            "status": "OK" if status_code < 400 else "Invalid HTTP Response", "status_code": status_code,
            "event": "pull_request", "action": "opened", "installation_id": None, "repository_id": None,
            "throttled_at": None, **fields,
        }  # fmt: skip
        self.deliveries.insert(0, delivery)
        return delivery


def caller_of(standin: "Standin", authorization: str) -> Caller:
    """Who has these credentials. Raises Refused."""
    kind, _, text = authorization.partition(" ")
    if kind.lower() == "bearer" and text.count(".") == 2:
        return _app_of_jwt(standin, text)
    if text in standin.tokens:
        return Caller(standin.tokens[text])
    for app in standin.apps.values():
        for installation in app.installations.values():
            ends = installation.tokens.get(text)
            if ends is not None and ends > standin.now() and not installation.suspended:
                held = installation.permissions
                return Caller(f"{app.slug}[bot]", app=app.app_id, installation=installation.id, permissions=held)
    raise Refused(401, "Bad credentials")


def _app_of_jwt(standin: "Standin", text: str) -> Caller:
    try:
        claims = jwt.decode(text, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise Refused(401, "A JSON web token could not be decoded") from None
    issuer = str(claims.get("iss"))
    app = next((app for app in standin.apps.values() if issuer in (app.client_id, str(app.app_id))), None)
    if app is None:
        raise Refused(404, "Integration not found")
    try:
        jwt.decode(text, _public_key(app.private_key), ["RS256"], options={"verify_exp": False, "verify_iat": False})
    except jwt.InvalidTokenError:
        raise Refused(401, "A JSON web token could not be decoded") from None
    _check_times(claims.get("iat"), claims.get("exp"), standin.now())
    return Caller(f"{app.slug}[bot]", app=app.app_id, jwt=True, permissions={})


@cache
def _public_key(pem: str) -> rsa.RSAPublicKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.public_key()


def _check_times(issued: Any, ends: Any, now: float) -> None:
    if not isinstance(ends, int) or ends <= now:
        problem = "must be a numeric value representing the future time at which the assertion expires"
        raise Refused(401, f"'Expiration time' claim ('exp') {problem}")
    if ends > now + 600:
        raise Refused(401, "'Expiration time' claim ('exp') is too far in the future")
    if not isinstance(issued, int) or issued > now:
        problem = "must be an Integer representing the time that the assertion was issued"
        raise Refused(401, f"'Issued at' claim ('iat') {problem}")


def _app(standin: "Standin", request: Request) -> StandinApp:
    if not request.caller.jwt:
        raise Refused(401, "A JSON web token could not be decoded")
    return next(app for app in standin.apps.values() if app.app_id == request.caller.app)


@route("GET", r"/app")
def get_app(standin: "Standin", request: Request) -> Answer:
    app = _app(standin, request)
    return 200, {
        "id": app.app_id, "slug": app.slug, "client_id": app.client_id, "node_id": "n", "owner": user("acme"),
        "name": app.slug, "description": None, "external_url": SOMEWHERE, "html_url": SOMEWHERE,
        "created_at": WHEN, "updated_at": WHEN, "permissions": app.permissions, "events": app.events,
    }  # fmt: skip


@route("GET", r"/app/hook/config")
def hook_config(standin: "Standin", request: Request) -> Answer:
    app = _app(standin, request)
    return 200, app.hook


@route("GET", r"installation")
def installation_of(standin: "Standin", request: Request) -> Answer:
    app = _app(standin, request)
    for installation in app.installations.values():
        if standin.full_name in installation.repositories:
            return 200, installation_json(app, installation)
    raise Refused(404, "Not Found")


@route("GET", r"/app/installations")
def list_installations(standin: "Standin", request: Request) -> Answer:
    app = _app(standin, request)
    found = [installation_json(app, installation) for installation in app.installations.values()]
    return 200, page(found, request.query)


@route("POST", r"/app/installations/(\d+)/access_tokens")
def create_token(standin: "Standin", request: Request, installation_id: str) -> Answer:
    installation = _app(standin, request).installations.get(int(installation_id))
    if installation is None:
        raise Refused(404, "Not Found")
    if installation.suspended:
        raise Refused(403, "This installation has been suspended")
    # Longer than the 40 characters that they once had, and different each time.
    text = f"ghs_{installation.id}_{standin.new_id()}_" + "t" * 90
    ends = standin.now() + TOKEN_SECONDS
    installation.tokens[text] = ends
    shown = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return 201, {"token": text, "expires_at": shown, "permissions": installation.permissions}


@route("GET", r"/installation/repositories")
def list_repositories(standin: "Standin", request: Request) -> Answer:
    installation = standin.installation(request.caller)
    found = [
        {**repository_json(standin), "full_name": name, "id": standin.repository_id + number}
        for number, name in enumerate(installation.repositories)
    ]
    return 200, {"total_count": len(found), "repositories": page(found, request.query)}


@route("GET", r"/app/hook/deliveries")
def list_deliveries(standin: "Standin", request: Request) -> Answer:
    found = _app(standin, request).deliveries
    if status := request.query.get("status"):
        found = [entry for entry in found if (entry["status_code"] >= 400) == (status == "failure")]
    first = next((at for at, entry in enumerate(found) if f"v1_{entry['id']}" == request.query.get("cursor")), 0)
    size = min(int(request.query.get("per_page", "30")), 100)
    if len(found) > first + size:
        link = f"{standin.url}/app/hook/deliveries?per_page={size}&cursor=v1_{found[first + size]['id']}"
        standin.next_headers = {"Link": f'<{link}>; rel="next"'}
    return 200, [
        {name: value for name, value in entry.items() if name != "payload"} for entry in found[first : first + size]
    ]


@route("POST", r"/app/hook/deliveries/(\d+)/attempts")
def redeliver(standin: "Standin", request: Request, delivery_id: str) -> Answer:
    app = _app(standin, request)
    found = next((entry for entry in app.deliveries if entry["id"] == int(delivery_id)), None)
    if found is None:
        raise Refused(404, "Not Found")
    status = app.deliver(found["event"], found["guid"], found.get("payload", {})) if app.deliver else 202
    again = {**found, "id": standin.new_id(), "redelivery": True, "status_code": status}
    again["status"] = "OK" if status < 400 else "Invalid HTTP Response"
    app.deliveries.insert(0, again)
    return 202, {}


@route("GET", r"/user")
def get_user(standin: "Standin", request: Request) -> Answer:
    if request.caller.is_bot:
        raise Refused(403, "Resource not accessible by integration")
    blank = dict.fromkeys(("bio", "blog", "company", "email", "hireable", "location", "name"))
    zero = ("followers", "following", "public_gists", "public_repos")
    standin.next_headers = {} if standin.scopes is None else {"X-OAuth-Scopes": standin.scopes}
    shown = {**user(request.caller.login), **blank, **dict.fromkeys(zero, 0), "user_view_type": "public"}
    return 200, {**shown, "created_at": WHEN, "updated_at": WHEN}


def installation_json(app: StandinApp, installation: StandinInstallation) -> dict[str, Any]:
    """An installation as GitHub shows it, in answers and in deliveries."""
    return {
        "id": installation.id,
        "account": user(installation.account),
        "repository_selection": "selected",
        **dict.fromkeys(("access_tokens_url", "repositories_url", "html_url"), SOMEWHERE),
        "app_id": app.app_id,
        "app_slug": app.slug,
        "client_id": app.client_id,
        "target_id": 1,
        "target_type": "Organization",
        "permissions": installation.permissions,
        "events": app.events,
        "created_at": WHEN,
        "updated_at": WHEN,
        "single_file_name": None,
        "suspended_by": user("ada") if installation.suspended else None,
        "suspended_at": WHEN if installation.suspended else None,
    }
