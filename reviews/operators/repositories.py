"""Repositories: listed, entered by name, and how each is to be reviewed."""

from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from jobs.operators.actors import Actor
from jobs.operators.lookups import find
from jobs.operators.search import is_storable
from jobs.operators.settings import MAX_ENTRIES, Settings, SettingsRefused, apply, shown
from reviews.llm import accounts
from reviews.models import GitHubAccess, Repository
from reviews.models.access import server_of
from reviews.operators.lookups import FULL_NAME
from reviews.paths import BadPattern, PathPatterns
from reviews.policy import OFFLINE

MAX_INSTRUCTIONS = 4000
LARGEST_BUDGET = 50


def repositories(
    *, search: str = "", enabled: bool | None = None, provider: str = "", removed: bool | None = None
) -> "QuerySet[Repository]":
    """Those that fit all that is given. search: a part of owner/name. removed: gone from GitHub, or we from it."""
    found = Repository.objects.select_related("access", "installation")
    if not is_storable(search + provider):
        return found.none()
    conditions = Q()
    if search:
        conditions &= Q(full_name__icontains=search)
    if enabled is not None:
        conditions &= Q(enabled=enabled)
    if provider:
        conditions &= Q(provider=provider)
    if removed is not None:
        conditions &= Q(removed_at__isnull=not removed)
    return found.filter(conditions)


def find_repository(repository_id: int) -> Repository:
    """Raises NotHere."""
    return find(Repository.objects.select_related("access", "installation"), repository_id, "repository")


def create_repository(actor: Actor, full_name: str, given: Mapping[str, Any] | None = None) -> Repository:
    """Enter a repository by its name, before GitHub tells of it. given: settings.

    Raises PermissionDenied (reviews.add_repository), SettingsRefused.
    """
    actor.require("reviews.add_repository")
    if not isinstance(full_name, str) or not FULL_NAME.fullmatch(full_name):
        raise SettingsRefused({"full_name": f"is {shown(full_name)}; it takes owner/name"})
    values = read_settings(given or {})
    with transaction.atomic():
        with connection.cursor() as cursor:  # no constraint keeps two from making it at once
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 7))", [full_name.lower()])
        known = Repository.objects.filter(full_name__iexact=full_name, removed_at=None).first()
        if known is not None:
            raise SettingsRefused({"full_name": f"{known} is entered already, as repository {known.pk}; change that"})
        row = Repository(full_name=full_name)
        apply(row, values)
        row.save()
        actor.record("repository.create", row.full_name, **{name: str(value) for name, value in (given or {}).items()})
    return find_repository(row.pk)


def change_repository(actor: Actor, repository_id: int, given: Mapping[str, Any]) -> Repository:
    """Change settings; those that are not named stay. Raises PermissionDenied (reviews.change_repository), NotHere,
    SettingsRefused.
    """
    actor.require("reviews.change_repository")
    values = read_settings(given)
    with transaction.atomic():
        row = find(Repository.objects.select_for_update(of=("self",)), repository_id, "repository")
        changed = apply(row, values)
        if changed:
            row.save(update_fields=[*changed, *_moved(row)])
            actor.record("repository.change", row.full_name, **changed)
    return find_repository(repository_id)


def _moved(row: Repository) -> tuple[str, ...]:
    """Forget its id where it is looked for at another server from now on; that one's next event tells it."""
    if not row.api_url or server_of(row.access) == row.api_url:
        return ()
    row.github_id, row.api_url, row.installation = None, "", None
    return "github_id", "api_url", "installation"


def delete_repository(actor: Actor, repository_id: int) -> None:
    """Forget a repository with its pull requests, reviews and issues; a job removes its mirror and index.

    Raises PermissionDenied (reviews.delete_repository), NotHere.
    """
    from reviews.tasks import forget_repository  # tasks call services

    actor.require("reviews.delete_repository")
    with transaction.atomic():
        row = find(Repository.objects.select_for_update(of=("self",)), repository_id, "repository")
        forget_repository.apply_async(kwargs={"repository_id": row.pk})
        actor.record("repository.delete", row.full_name, id=row.pk)
        row.delete()


def read_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values as columns hold them; an access by its name or number. Raises SettingsRefused."""
    values = SETTINGS.read(given)
    if values.get("access") is not None:
        values["access"] = _access(values["access"])
    return values


def provider_names() -> list[str]:
    """Who may review: the embedded reviewer, and the language models that are entered or set in the environment."""
    from reviews.providers import PROVIDERS

    return list(dict.fromkeys([*PROVIDERS, *accounts.names()]))


def _access(value: Any) -> GitHubAccess | None:
    if isinstance(value, GitHubAccess):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return GitHubAccess.objects.filter(pk=value).first() if 0 < value < 2**63 else None
    if isinstance(value, str) and is_storable(value):
        return GitHubAccess.objects.filter(name=value).first()
    return None


def _access_rule(value: Any) -> str:
    if value is None or _access(value) is not None:
        return ""
    names = ", ".join(GitHubAccess.objects.order_by("name").values_list("name", flat=True)[:20])
    return f"{shown(value)} is unknown; choose from: {names or 'none is entered'}; null: the environment's token"


def _provider_rule(value: Any) -> str:
    return _choice(value, provider_names())


def _issue_provider_rule(value: Any) -> str:
    return _choice(value, list(dict.fromkeys([OFFLINE, *accounts.names()])))


def _choice(value: Any, names: list[str]) -> str:
    remedy = accounts.remedy(value) if isinstance(value, str) else ""
    return "" if value in names else f"{shown(value)} is unknown; {remedy}choose from: {', '.join(names)}"


def _providers_rule(value: list[str]) -> str:
    return next((problem for name in value if (problem := _provider_rule(name))), "")


def _patterns_rule(value: list[str]) -> str:
    for pattern in value:
        try:
            PathPatterns.of([pattern])
        except BadPattern as exc:
            return f"{shown(pattern)} is no pattern as in .gitignore: {exc}"
    return ""


def _budget_rule(value: int) -> str:
    return "" if 1 <= value <= LARGEST_BUDGET else f"is {shown(value)}; it takes 1 to {LARGEST_BUDGET}"


def _path_instructions_rule(value: Any) -> str:
    if not isinstance(value, list) or len(value) > MAX_ENTRIES:
        return f'it takes a list of up to {MAX_ENTRIES}, such as [{{"path": "api/**", "instructions": "…"}}]'
    for number, entry in enumerate(value, 1):
        if not isinstance(entry, dict) or set(entry) != {"path", "instructions"}:
            return f'entry {number} is {shown(entry)}; it takes {{"path": "api/**", "instructions": "…"}}'
        path, text = entry["path"], entry["instructions"]
        if not all(isinstance(part, str) and part.strip() and is_storable(part) for part in (path, text)):
            return f"entry {number}: path and instructions take a text each"
        if len(path) > 255 or len(text) > MAX_INSTRUCTIONS:
            return f"entry {number}: path takes up to 255 characters, instructions up to {MAX_INSTRUCTIONS:,}"
        if problem := _patterns_rule([path]):
            return f"entry {number}: {problem}"
    return ""


SETTINGS = Settings(
    Repository,
    (
        *("enabled", "access", "provider", "providers_allowed", "large_files", "large_lines", "severity_floor"),
        *("finding_budget", "review_drafts", "review_bots", "excluded_labels", "excluded_titles", "excluded_authors"),
        *("excluded_paths", "path_instructions", "instructions", "language", "daily_cap_usd", "change_cap_usd"),
        *("index_enabled", "issues_enabled", "issue_provider", "issue_labels", "apply_labels"),
    ),
    {
        "access": _access_rule,
        "provider": _provider_rule,
        "providers_allowed": _providers_rule,
        "issue_provider": _issue_provider_rule,
        "excluded_paths": _patterns_rule,
        "finding_budget": _budget_rule,
        "path_instructions": _path_instructions_rule,
    },
)
