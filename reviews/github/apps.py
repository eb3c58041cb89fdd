"""Login as an App: JWTs that are signed with its key, and tokens of its installations, kept until they end.

Source: docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app.
"""

import time
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from cryptography.exceptions import UnsupportedAlgorithm
from django.db import connection, transaction
from django.db.models import DateTimeField, F, Func, QuerySet
from django.db.models.functions import Extract, Now

from jobs.secrets import Secret, SecretUnreadable
from reviews.github.errors import (
    AccessMissing,
    AppUnknown,
    ClockWrong,
    GitHubError,
    InstallationRemoved,
    InstallationSuspended,
    KeyRefused,
)
from reviews.models import GitHubAccess, Installation
from reviews.services import throttle

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from reviews.github.app_client import AppClient

# GitHub takes a JWT of at most ten minutes, and none from its future.
ISSUED_BEFORE_SECONDS = 60
JWT_SECONDS = 540
_CLOCK = Func(function="clock_timestamp", output_field=DateTimeField())
# A token that ends sooner is not used any more: some calls, and git, go on for minutes.
MARGIN_SECONDS = 300.0


class AppCredentials:
    """An App's JWTs, each made when it is needed."""

    kind = "Bearer"

    def __init__(self, access: GitHubAccess) -> None:
        self._access = access
        self.name = f"the App {access.name!r}"

    def token(self) -> str:
        return signed_jwt(self._access)

    def renew(self, refused: str) -> bool:
        return False


class InstallationCredentials:
    """An installation's token: kept with its row for all workers, and here for the next minutes."""

    kind = "token"

    def __init__(self, installation: Installation) -> None:
        self._id = installation.pk
        self._token, self._good_until = "", 0.0
        self.name = f"the App {installation.access.name!r} on {installation.account_login}"

    def token(self) -> str:
        if not self._token or time.monotonic() > self._good_until:
            self._token, left = installation_token(self._id)
            self._good_until = time.monotonic() + left - MARGIN_SECONDS
        return self._token

    def renew(self, refused: str) -> bool:
        self._token, left = installation_token(self._id, refused=refused)
        self._good_until = time.monotonic() + left - MARGIN_SECONDS
        return True


def app_client(access: GitHubAccess, *, counted: bool = True) -> "AppClient":
    """What GitHub answers to an App itself. counted: whether its calls keep to the limits. Raises AccessMissing."""
    from reviews.github.app_client import AppClient

    if not access.enabled:
        raise AccessMissing(f"the access {access.name!r} is switched off; switch it on, then retry")
    return AppClient(access.api_url, AppCredentials(access), limit_key=limit_key(access) if counted else "")


def limit_key(access: GitHubAccess) -> str:
    """Whose allowance an App's own calls, and those with a personal token, use."""
    return f"github:access:{access.pk}"


def signed_jwt(access: GitHubAccess) -> str:
    """Good for nine minutes. Raises AccessMissing, KeyRefused."""
    import jwt

    key = secret_of(access, "private_key").replace("\\n", "\n").strip()
    issuer = access.client_id or (str(access.app_id) if access.app_id else "")
    if not key or not issuer:
        raise AccessMissing(f"the access {access.name!r} needs a client id and a private key; enter both")
    now = int(_database_time())
    claims = {"iat": now - ISSUED_BEFORE_SECONDS, "exp": now + JWT_SECONDS, "iss": issuer}
    try:
        return jwt.encode(claims, _loaded_key(key), algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        raise KeyRefused(
            f"the private key of the access {access.name!r} is not an RSA key in PEM form; "
            "enter the whole file that GitHub made, with its first and last line"
        ) from None


@lru_cache(maxsize=8)  # a key is checked when it is read, which takes a hundred times as long as to sign
def _loaded_key(pem: str) -> "RSAPrivateKey":
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return cast("RSAPrivateKey", load_pem_private_key(pem.encode(), None))


def secret_of(access: GitHubAccess, field: str) -> str:
    """The text of a secret of an access. Raises AccessMissing for one that cannot be decrypted."""
    value = getattr(access, field)
    try:
        return value.reveal() if isinstance(value, Secret) else str(value)
    except SecretUnreadable as exc:
        raise AccessMissing(f"the access {access.name!r}: {exc}") from None


def _database_time() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        return float(cursor.fetchone()[0])


def installation_token(installation_id: int, *, refused: str = "") -> tuple[str, float]:
    """(token, seconds that are left of it). Asked for under the row's lock, so that one worker does it for all.

    refused: one that GitHub took no more; it is not given again. Raises GitHubError, Throttled.
    """
    kept = _kept(Installation.objects.filter(pk=installation_id), refused)
    if kept is not None:
        return kept
    access = GitHubAccess.objects.get(installations=installation_id)
    # Outside of the transaction, which would keep the limit's rows locked, and forget them if it failed.
    throttle.spend(limit_key(access))
    try:
        return _asked_under_lock(installation_id, refused)
    except GitHubError as exc:
        if exc.retry_after_seconds is None:
            raise
        throttle.close(limit_key(access), exc.retry_after_seconds, str(exc))
        raise throttle.Throttled(exc.retry_after_seconds, str(exc), limit_key(access)) from None


@transaction.atomic
def _asked_under_lock(installation_id: int, refused: str) -> tuple[str, float]:
    rows = Installation.objects.select_for_update(of=("self",)).filter(pk=installation_id)
    kept = _kept(rows, refused)  # another worker may have asked meanwhile
    return kept if kept is not None else _asked(rows.select_related("access").get())


def _kept(rows: "QuerySet[Installation]", refused: str) -> tuple[str, float] | None:
    left = Extract(F("token_expires_at") - _CLOCK, "epoch")
    row = rows.select_related("access").annotate(left=left).first()
    if row is None:
        raise InstallationRemoved("the installation is not stored any more; install the App anew")
    check_usable(row)
    try:
        token = row.token.reveal()
    except SecretUnreadable:
        return None  # it is asked for anew; nobody has to enter anything
    usable = token and token != refused and row.left is not None and row.left > MARGIN_SECONDS
    return (token, float(row.left)) if usable else None


def check_usable(installation: Installation) -> None:
    """Raises what keeps an installation from being used, as far as it is known without asking GitHub."""
    where = f"the App {installation.access.name!r} on {installation.account_login}"
    if not installation.access.enabled:
        raise AccessMissing(f"the access {installation.access.name!r} is switched off; switch it on, then retry")
    if installation.removed_at is not None:
        raise InstallationRemoved(f"{where} was uninstalled; install it there again")
    if installation.suspended_at is not None:
        raise InstallationSuspended(f"{where} is suspended; {installation.account_login} has to unsuspend it")


def _asked(installation: Installation) -> tuple[str, float]:
    try:
        granted = app_client(installation.access, counted=False).create_token(installation.github_id)
    except GitHubError as exc:
        raise explain(installation.access, exc, installation) from None
    Installation.objects.filter(pk=installation.pk).update(
        token=granted.token,
        token_expires_at=Now() + timedelta(seconds=granted.lasts_seconds),
        permissions=granted.permissions or installation.permissions,
    )
    return granted.token, granted.lasts_seconds


def explain(access: GitHubAccess, exc: GitHubError, installation: Installation | None = None) -> GitHubError:
    """GitHub's refusal of an App under its own name, with a remedy; any other error as it is."""
    said, app = exc.said.lower(), f"the App {access.name!r}"
    if exc.retry_after_seconds is not None or not exc.status:
        return exc
    if "'iat'" in said or "'exp'" in said:
        return ClockWrong(f"GitHub takes the time of {app}'s JWT for wrong: {_clocks(exc)}", exc.status)
    if exc.status == 401:
        advice = "make a new private key for it at GitHub, and enter that"
        return KeyRefused(f"GitHub does not take the private key of {app} ({exc.said}); {advice}", exc.status)
    if "integration not found" in said:
        advice = f"enter the client id that its page at GitHub shows; now it is {access.client_id!r}"
        return AppUnknown(f"GitHub has no App for {app}; {advice}", exc.status)
    if installation is not None and exc.status == 404:
        where = f"{app} is not installed on {installation.account_login} any more"
        return InstallationRemoved(f"{where}; install it there again", exc.status)
    if installation is not None and exc.status == 403 and "suspended" in said:
        advice = f"{installation.account_login} has to unsuspend it"
        return InstallationSuspended(f"{app} is suspended on {installation.account_login}; {advice}", exc.status)
    return exc


def _clocks(exc: GitHubError) -> str:
    if exc.answered_at is None:
        return f"{exc.said}; set the database server's clock right (NTP)"
    ahead = _database_time() - exc.answered_at.timestamp()
    relation = "ahead of" if ahead > 0 else "behind"
    return f"the database server's clock is {abs(ahead):.0f} s {relation} GitHub's; set it right (NTP)"
