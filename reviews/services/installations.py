"""Where Apps are installed and what they see there, as GitHub's deliveries, or its own lists, tell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from reviews.github.app_client import InstallationInfo, installation_info
from reviews.models import AccessKind, GitHubAccess, Installation, Repository
from reviews.services import code_index, event_fields
from reviews.services.event_fields import FieldMissing, RepositoryFields
from reviews.services.events_outcome import Outcome, followed, noted
from reviews.services.payloads import MAX_DEPTH, clean

#: Of the repositories of one delivery, which is to be answered at once; others are with their first pull request.
INDEXED_AT_ONCE = 20


def from_event(event: str, action: str, payload: Mapping[str, Any], access: GitHubAccess | None) -> Outcome:
    """Follow an event `installation`, `installation_repositories` or `installation_target`.

    access: by whose secret it was signed; an App that shares the environment's secret is known by its ids. Without
    any call of GitHub, in the caller's transaction. Raises FieldMissing.
    """
    event_fields.number(payload, "installation.id")
    app = _app(payload, access)
    if app is None:
        return noted("the App is not entered here as an access")
    if event == "installation_target":
        return noted(_renamed(app, payload))
    if event == "installation" and action == "deleted":
        return _removed(app, payload)
    try:
        told = installation_info(clean(payload["installation"], MAX_DEPTH))
    except (TypeError, ValueError, AttributeError, KeyError):
        raise FieldMissing("installation in the payload is not of its kind") from None
    installation = remember(app, told, partial="account" not in payload["installation"])
    if event == "installation_repositories":
        return _repositories_changed(installation, payload)
    if action == "created":
        added = _add(installation, payload.get("repositories"))
        what = f"{app} was installed on {installation.account_login}, with {_count(added.number)}"
        return followed(what + added.words, added.job_ids)
    if action == "new_permissions_accepted":
        forget_token(installation)
    return noted(f"{app} on {installation.account_login}: {action or 'no action'}")


def remember(access: GitHubAccess, told: InstallationInfo, *, partial: bool = False) -> Installation:
    """The row of an installation, as GitHub tells of it. partial: it was told little beside the id."""
    row, created = Installation.objects.get_or_create(
        access=access,
        github_id=told.github_id,
        defaults={
            "account_login": told.account_login or "?",
            "account_type": told.account_type,
            "permissions": told.permissions,
            "suspended_at": Now() if told.suspended else None,
        },
    )
    if not created and not partial:
        Installation.objects.filter(pk=row.pk).update(
            account_login=told.account_login or F("account_login"),
            account_type=told.account_type,
            permissions=told.permissions,
            suspended_at=Coalesce("suspended_at", Now()) if told.suspended else None,
        )
    row.refresh_from_db()
    return row


def mark_removed(installation: Installation) -> list[str]:
    """The App is gone from there: its repositories are forgotten, each by a job, whose ids are returned."""
    Installation.objects.filter(pk=installation.pk, removed_at=None).update(removed_at=Now())
    forget_token(installation)
    return _forget(Repository.objects.filter(installation=installation, removed_at=None))


def forget_token(installation: Installation) -> None:
    """The next call asks for a new one."""
    Installation.objects.filter(pk=installation.pk).update(token="", token_expires_at=None)


def _app(payload: Mapping[str, Any], access: GitHubAccess | None) -> GitHubAccess | None:
    if access is not None and access.kind == AccessKind.APP:
        return access
    client_id = event_fields.short(payload, "installation.client_id", 64)
    app_id = event_fields.number(payload, "installation.app_id", 0)
    named = Q(client_id=client_id) if client_id else Q(pk__in=[])
    if app_id:
        named |= Q(app_id=app_id)
    return GitHubAccess.objects.filter(named, kind=AccessKind.APP).order_by("pk").first()


def _renamed(app: GitHubAccess, payload: Mapping[str, Any]) -> str:
    login = event_fields.short(payload, "account.login", 100)
    github_id = event_fields.number(payload, "installation.id")
    if login:
        Installation.objects.filter(access=app, github_id=github_id).update(account_login=login)
    return f"an account on which {app} is installed is now named {login or '?'}"


def _removed(app: GitHubAccess, payload: Mapping[str, Any]) -> Outcome:
    github_id = event_fields.number(payload, "installation.id")
    installation = Installation.objects.filter(access=app, github_id=github_id).first()
    if installation is None:
        return noted(f"{app} was uninstalled where it was not known to be")
    jobs = mark_removed(installation)
    is_are = "is" if len(jobs) == 1 else "are"
    what = f"{app} was uninstalled from {installation.account_login}; {_count(len(jobs))} {is_are} forgotten"
    return followed(what, jobs)


def _repositories_changed(installation: Installation, payload: Mapping[str, Any]) -> Outcome:
    added = _add(installation, payload.get("repositories_added"))
    gone = [told.github_id for told in _told(payload.get("repositories_removed"))]
    forgotten = _forget(Repository.objects.filter(installation=installation, github_id__in=gone, removed_at=None))
    removed = f"; the index of {len(forgotten)} is removed" if forgotten else ""
    what = f"{installation} has {_count(added.number)} more and {len(forgotten)} less"
    return followed(what + added.words + removed, [*added.job_ids, *forgotten])


def _count(number: int) -> str:
    return f"{number} {'repository' if number == 1 else 'repositories'}"


@dataclass(frozen=True)
class _Added:
    """number: of the repositories that were told. job_ids: of the jobs that index the code of some."""

    number: int
    job_ids: list[str]

    @property
    def words(self) -> str:
        return f"; the code of {len(self.job_ids)} is indexed" if self.job_ids else ""


def _add(installation: Installation, entries: Any) -> _Added:
    """Enter the repositories that an installation has."""
    from reviews.services import events_repositories  # it follows installations by this module

    told, jobs = _told(entries), []
    for place, fields in enumerate(told):
        row = events_repositories.remember(fields, {}, installation.access)
        row.access_id, row.installation, row.removed_at = installation.access_id, installation, None
        row.save(update_fields=["access", "installation", "removed_at"])
        if place < INDEXED_AT_ONCE and row.enabled:
            jobs.append(code_index.request_if_missing(row, also_failed=True))
    return _Added(len(told), [job_id for job_id in jobs if job_id])


def _told(entries: Any) -> list[RepositoryFields]:
    """What is well-formed of a list of repositories."""
    found = []
    for entry in entries if isinstance(entries, list) else ():
        try:
            found.append(event_fields.repository_fields({"repository": entry}))
        except FieldMissing:
            continue
    return found


@transaction.atomic
def _forget(repositories: QuerySet[Repository]) -> list[str]:
    """Returns the ids of the jobs that remove what is kept of them."""
    from reviews.tasks import forget_repository  # tasks call services

    gone = list(repositories.values_list("pk", flat=True))
    Repository.objects.filter(pk__in=gone).update(removed_at=Now())
    sent = [forget_repository.apply_async(kwargs={"repository_id": pk, "if_gone": True}) for pk in gone]
    return [str(one.id) for one in sent]
