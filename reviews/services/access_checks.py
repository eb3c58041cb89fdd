"""Asks GitHub who we are there, and what we may not do that we would need."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db.models.functions import Now

from jobs.operators.actors import Actor
from reviews.github import access as accesses
from reviews.github import apps
from reviews.github.app_client import AppClient
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError
from reviews.models import AccessKind, GitHubAccess, Installation
from reviews.services import installations
from reviews.services.payloads import clean_text
from reviews.services.throttle import Throttled

#: What an App has to be granted, and what for.
NEEDED = {
    "metadata": ("read", "every call"),
    "contents": ("read", "the files of a change, and .switchyard.yml"),
    "pull_requests": ("write", "reviews and replies"),
    "issues": ("write", "comments and labels"),
    "checks": ("write", "the check run with its Re-run button"),
}
NEEDED_EVENTS = (
    "pull_request",
    "pull_request_review_comment",
    "pull_request_review_thread",
    "issue_comment",
    "issues",
    "label",
    "check_run",
    "push",
    "repository",
)
# Of a personal token of the classic kind; of a fine-grained one, GitHub tells nothing.
_CLASSIC_SCOPES = ("repo", "public_repo")
_LEVELS = {"read": 1, "write": 2, "admin": 3}


@dataclass(frozen=True)
class Checked:
    """login: who we are. problems: each with a remedy; none: all is well. installations: of an App, how many."""

    login: str
    problems: tuple[str, ...]
    installations: int = 0

    @property
    def is_well(self) -> bool:
        return not self.problems


def check(actor: Actor, access: GitHubAccess | None) -> Checked:
    """Ask GitHub, and keep what it tells. access: None for the token of the environment.

    A refusal is among the problems. Raises PermissionDenied (reviews.change_githubaccess).
    """
    actor.require("reviews.change_githubaccess")
    try:
        checked = _check(access)
    except (GitHubError, Throttled) as exc:
        told = apps.explain(access, exc) if access is not None and isinstance(exc, GitHubError) else exc
        checked = Checked(access.account_login if access is not None else "", (str(told),))
    if access is not None:
        access.error = clean_text("; ".join(checked.problems))
        GitHubAccess.objects.filter(pk=access.pk).update(checked_at=Now(), error=access.error)
        access.refresh_from_db()
    actor.record("access.check", access or "environment", problems=len(checked.problems))
    return checked


def _check(access: GitHubAccess | None) -> Checked:
    if access is None:
        return _check_token(accesses.environment_client())
    if access.kind == AccessKind.APP:
        return _check_app(access)
    checked = _check_token(accesses.token_client(access))
    access.account_login = checked.login
    access.save(update_fields=["account_login"])
    return checked


def _check_token(client: GitHubClient) -> Checked:
    account = client.account()
    if account.scopes is None or set(_CLASSIC_SCOPES) & set(account.scopes):
        return Checked(account.login, ())
    has = ", ".join(account.scopes) or "none"
    return Checked(account.login, (f"the token's scopes are {has}; give it `repo`, or `public_repo`",))


def _check_app(access: GitHubAccess) -> Checked:
    client = apps.app_client(access)
    app = client.app()
    login = f"{app.slug}[bot]"
    access.app_id, access.app_slug, access.account_login = app.app_id, app.slug, login
    access.save(update_fields=["app_id", "app_slug", "account_login"])
    problems = [f"{what}; set it on the App's page at GitHub" for what in _missing(app.permissions)]
    if events := [event for event in NEEDED_EVENTS if event not in app.events]:
        problems.append(f"GitHub does not send {', '.join(events)}; subscribe the App to them on its page at GitHub")
    problems += _hook_problems(access, client)
    count, found = _follow_installations(access, client, app.permissions)
    return Checked(login, (*problems, *found), count)


def _missing(held: Mapping[str, str]) -> list[str]:
    return [
        f"the permission {name}: {level} is missing, needed for {why}"
        for name, (level, why) in NEEDED.items()
        if _LEVELS.get(held.get(name, ""), 0) < _LEVELS[level]
    ]


def _hook_problems(access: GitHubAccess, client: AppClient) -> list[str]:
    hook = client.hook()
    problems = []
    if not hook.has_secret or not access.webhook_secret:
        problems.append("the webhook has no secret; enter the same one at GitHub and here")
    if hook.content_type != "json":
        problems.append(f"the webhook's content type is {hook.content_type or 'not set'}; application/json is faster")
    ours = f"{settings.PUBLIC_URL.rstrip('/')}/webhooks/github/" if settings.PUBLIC_URL else ""
    if ours and hook.url != ours:
        problems.append(f"the webhook's address at GitHub is {hook.url or 'not set'}; ours is {ours}")
    return problems


def _follow_installations(access: GitHubAccess, client: AppClient, wanted: Mapping[str, str]) -> tuple[int, list[str]]:
    """Take over where the App is installed; (how many there are, what keeps some from being used)."""
    problems, present = [], []
    # One that is installed while the list is read is not in it, and yet not gone.
    known = list(Installation.objects.filter(access=access, removed_at=None).values_list("pk", flat=True))
    for told in client.installations():
        installation = installations.remember(access, told)
        Installation.objects.filter(pk=installation.pk).update(removed_at=None)
        present.append(installation.pk)
        if told.suspended:
            problems.append(f"{told.account_login} has suspended the App; it has to unsuspend it")
        elif missing := [name for name in NEEDED if name in wanted and name not in told.permissions]:
            names = ", ".join(missing)
            problems.append(f"{told.account_login} has not granted {names}; it has to accept the new permissions")
    for gone in Installation.objects.filter(pk__in=known, removed_at=None).exclude(pk__in=present):
        installations.mark_removed(gone)
    return len(present), problems
