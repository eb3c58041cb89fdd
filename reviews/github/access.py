"""As whom we speak to GitHub about a repository, and which secrets its deliveries may be signed with.

An App's installation, a personal token that is entered in the admin, or, where a repository names neither, the token
of the environment.
"""

from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Q

from jobs.secrets import SecretUnreadable
from reviews.github import apps
from reviews.github.errors import AccessMissing, GitHubError, InstallationRemoved
from reviews.models import AccessKind, GitHubAccess, Installation, Repository

if TYPE_CHECKING:
    from reviews.github.client import GitHubClient

ENVIRONMENT_KEY = "github:environment"


def client_for(repository: Repository) -> "GitHubClient":
    """What speaks to GitHub about a repository. Raises GitHubRefused, with a remedy, where nothing can.

    Its calls raise Throttled where GitHub is to be left alone: let it through, and the job is postponed.
    """
    access = repository.access
    if access is None:
        return environment_client()
    if access.kind == AccessKind.TOKEN:
        return token_client(access)
    installation = repository.installation
    # It may be of another App, by which the repository was known before.
    if installation is None or installation.removed_at is not None or installation.access_id != access.pk:
        installation = _find_installation(access, repository)
    return installation_client(installation)


def environment_client() -> "GitHubClient":
    """By GITHUB_TOKEN and GITHUB_API_URL."""
    from reviews.github.client import GitHubClient

    token = settings.GITHUB["TOKEN"]
    if not token:
        raise AccessMissing(
            "no token for GitHub is set; set GITHUB_TOKEN, or enter an access and choose it for the repository, "
            "then retry the job"
        )
    return GitHubClient(settings.GITHUB["API_URL"], token, limit_key=ENVIRONMENT_KEY)


def token_client(access: GitHubAccess) -> "GitHubClient":
    """By a personal token. Raises AccessMissing."""
    from reviews.github.client import GitHubClient
    from reviews.github.shapes import Identity
    from reviews.github.transport import FixedToken

    if not access.enabled:
        raise AccessMissing(f"the access {access.name!r} is switched off; switch it on, then retry")
    token = apps.secret_of(access, "token")
    if not token:
        raise AccessMissing(f"the access {access.name!r} has no token; enter one")
    identity = Identity(access.account_login) if access.account_login else None
    credentials = FixedToken(token, f"the token of the access {access.name!r}")
    client = GitHubClient(access.api_url, credentials, limit_key=apps.limit_key(access), identity=identity)
    if identity is None:  # known from now on also where GitHub is not asked: our own comments and labels come back
        access.account_login = client.identity().login
        access.save(update_fields=["account_login"])
    return client


def installation_client(installation: Installation) -> "GitHubClient":
    """By an App on an account. Raises GitHubRefused."""
    from reviews.github.client import GitHubClient
    from reviews.github.shapes import Identity

    apps.check_usable(installation)
    access = installation.access
    if not access.app_slug:
        _learn_app(access)
    return GitHubClient(
        access.api_url,
        apps.InstallationCredentials(installation),
        limit_key=f"github:installation:{installation.pk}",
        identity=Identity(f"{access.app_slug}[bot]", access.app_id, access.app_slug),
    )


def _learn_app(access: GitHubAccess) -> None:
    """Ask GitHub for the App's number and name, once."""
    try:
        app = apps.app_client(access).app()
    except GitHubError as exc:
        raise apps.explain(access, exc) from None
    access.app_id, access.app_slug, access.account_login = app.app_id, app.slug, f"{app.slug}[bot]"
    access.save(update_fields=["app_id", "app_slug", "account_login"])


def _find_installation(access: GitHubAccess, repository: Repository) -> Installation:
    """Ask GitHub where the App is installed: its delivery that told so may have been missed."""
    from reviews.services import installations

    try:
        found = apps.app_client(access).installation_of(repository.full_name)
    except GitHubError as exc:
        if exc.status != 404 or "integration" in exc.said.lower():
            raise apps.explain(access, exc) from None
        raise InstallationRemoved(
            f"the App {access.name!r} is not installed on {repository.full_name}; install it there"
        ) from None
    installation = installations.remember(access, found)
    Installation.objects.filter(pk=installation.pk).update(removed_at=None)  # GitHub has just said that it is there
    installation.removed_at = None
    Repository.objects.filter(pk=repository.pk).update(installation=installation)
    repository.installation = installation
    return installation


def webhook_secrets() -> list[tuple[GitHubAccess | None, str]]:
    """Each secret that a delivery may be signed with, and whose it is; None: of the environment.

    One that cannot be decrypted is left out: its deliveries are refused, and the access' check tells why.
    """
    found: list[tuple[GitHubAccess | None, str]] = []
    if settings.GITHUB["WEBHOOK_SECRET"]:
        found.append((None, settings.GITHUB["WEBHOOK_SECRET"]))
    for access in GitHubAccess.objects.filter(enabled=True).exclude(webhook_secret="").order_by("pk"):
        try:
            found.append((access, access.webhook_secret.reveal()))
        except SecretUnreadable:
            continue
    return found


def ours(login: str = "", app_id: int | None = None) -> bool:
    """Whether an account, or an App, is one that we write as. The environment's token is not asked whose it is."""
    whose = Q(pk__in=[])
    if login:
        whose |= Q(account_login__iexact=login)
    if login.endswith("[bot]"):
        whose |= Q(kind=AccessKind.APP, app_slug__iexact=login.removesuffix("[bot]"))
    if app_id is not None:
        whose |= Q(kind=AccessKind.APP, app_id=app_id)
    return GitHubAccess.objects.filter(whose).exists()
