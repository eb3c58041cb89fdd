"""How we are known at GitHub: Apps and tokens are entered, changed and checked; their secrets are never told again."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction
from django.db.models import Count, Q, QuerySet

from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere, find
from jobs.operators.search import is_storable
from jobs.operators.settings import Settings, SettingsRefused, apply, shown
from reviews.models import AccessKind, GitHubAccess, Installation, Repository
from reviews.models.access import server_of
from reviews.services import access_checks
from reviews.services.access_checks import Checked

SECRETS = ("private_key", "token", "webhook_secret")
#: What a kind of access cannot do without.
_NEEDED = {AccessKind.APP: ("client_id", "private_key"), AccessKind.TOKEN: ("token",)}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def accesses() -> "QuerySet[GitHubAccess]":
    """All, with how many repositories use each (`used_by`)."""
    return GitHubAccess.objects.annotate(used_by=Count("repositories", filter=Q(repositories__removed_at=None)))


def find_access(access_id: int) -> GitHubAccess:
    """Raises NotHere."""
    return find(accesses(), access_id, "GitHub access")


def access_named(name: str) -> GitHubAccess:
    """Raises NotHere."""
    found = accesses().filter(name=name).first() if is_storable(name) else None
    if found is None:
        known = ", ".join(GitHubAccess.objects.order_by("name").values_list("name", flat=True)[:20])
        raise NotHere(f"unknown GitHub access {shown(name)}; choose from: {known or 'none is entered'}")
    return found


def create_access(actor: Actor, given: Mapping[str, Any]) -> GitHubAccess:
    """Enter an App (client_id, private_key) or a token. Raises PermissionDenied (reviews.add_githubaccess),
    SettingsRefused.
    """
    actor.require("reviews.add_githubaccess")
    row = GitHubAccess()
    values = SETTINGS.read(given)
    if "name" not in values:
        raise SettingsRefused({"name": "is missing; it takes a text"})
    changed = apply(row, values)
    _check(row)
    with transaction.atomic():
        _save(row)
        actor.record("access.create", row.name, **changed)
    return find_access(row.pk)


def change_access(actor: Actor, access_id: int, given: Mapping[str, Any]) -> GitHubAccess:
    """Change what is named; an empty secret takes it away. Raises PermissionDenied (reviews.change_githubaccess),
    NotHere, SettingsRefused.
    """
    actor.require("reviews.change_githubaccess")
    values = SETTINGS.read(given)
    with transaction.atomic():
        row = find(GitHubAccess.objects.select_for_update(), access_id, "GitHub access")
        had = {name for name in SECRETS if getattr(row, name)}
        changed = apply(row, values)
        _check_moved(row, changed, had, set(values))
        _check(row)
        if {"client_id", "token", "api_url"} & changed.keys():
            row.app_id, row.app_slug, row.account_login = None, "", ""  # GitHub tells who that is
        if changed:
            _save(row)
            if "api_url" in changed:  # another server has other ids
                moved = Repository.objects.filter(access=row).exclude(api_url=server_of(row))
                moved.update(github_id=None, api_url="")
            actor.record("access.change", row.name, **changed)
    return find_access(access_id)


def delete_access(actor: Actor, access_id: int) -> None:
    """Raises PermissionDenied (reviews.delete_githubaccess), NotHere, SettingsRefused while repositories use it."""
    actor.require("reviews.delete_githubaccess")
    with transaction.atomic():
        row = find(GitHubAccess.objects.select_for_update(), access_id, "GitHub access")
        users = Repository.objects.filter(access=row, removed_at=None).order_by("full_name")
        names = list(users.values_list("full_name", flat=True)[:5])
        if names:
            raise SettingsRefused({"name": f"{', '.join(names)} use it; choose another access there first"})
        actor.record("access.delete", row.name)
        row.delete()


def check_access(actor: Actor, access_id: int | None) -> Checked:
    """Ask GitHub whether an access works; None: the token of the environment. Raises PermissionDenied, NotHere."""
    return access_checks.check(actor, find_access(access_id) if access_id is not None else None)


def installations(*, access: str = "", account: str = "", removed: bool | None = None) -> "QuerySet[Installation]":
    """Where Apps are installed, with how many repositories each has (`used_by`). Tokens are left out."""
    found = Installation.objects.select_related("access").defer("token")
    if not is_storable(access + account):
        return found.none()
    conditions = Q()
    if access:
        conditions &= Q(access__name=access)
    if account:
        conditions &= Q(account_login__iexact=account)
    if removed is not None:
        conditions &= Q(removed_at__isnull=not removed)
    return found.filter(conditions).annotate(used_by=Count("repositories", filter=Q(repositories__removed_at=None)))


def find_installation(installation_id: int) -> Installation:
    """Raises NotHere."""
    return find(installations(), installation_id, "installation")


def _save(row: GitHubAccess) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        if GitHubAccess.objects.filter(name=row.name).exclude(pk=row.pk).exists():
            raise SettingsRefused({"name": f"{row.name} is taken; choose another name"}) from None
        raise SettingsRefused({"client_id": f"the App {row.client_id} is entered already; change that"}) from None


def _check_moved(row: GitHubAccess, changed: Mapping[str, Any], had: set[str], given: set[str]) -> None:
    """Whoever may change the address must not learn by it what was entered for the former one."""
    if "kind" in changed:
        raise SettingsRefused({"kind": f"it is {changed['kind'][0]}, which stays; enter another access"})
    if "api_url" in changed:
        missing = (had & {"private_key", "token"}) - given
        if missing:
            raise SettingsRefused(dict.fromkeys(missing, "enter it again: it was given to the former address"))
    moved = next((name for name in ("api_url", "client_id") if name in changed), None)
    if moved and Installation.objects.filter(access=row, removed_at=None).exists():
        raise SettingsRefused({moved: "the App is installed by its present one; enter another access"})


def _check(row: GitHubAccess) -> None:
    """Whether it is whole. Raises SettingsRefused."""
    needed = _NEEDED[AccessKind(row.kind)]
    errors = {name: f"is empty; an access of the kind {row.kind} needs it" for name in needed if not getattr(row, name)}
    foreign = "private_key" if row.kind == AccessKind.TOKEN else "token"
    if not errors and getattr(row, foreign):
        errors[foreign] = f"an access of the kind {row.kind} has none; leave it out"
    if errors:
        raise SettingsRefused(errors)


def _url_rule(value: str) -> str:
    parts = urlsplit(value)
    is_open = parts.scheme == "http" and parts.hostname not in _LOOPBACK
    if is_open or "@" in parts.netloc or parts.query or parts.fragment:
        return f"is {shown(value)}; write https://api.github.com, or https://HOST/api/v3 of GitHub Enterprise"
    return ""


def _key_rule(value: Any) -> str:
    """Whether it is an RSA key, so that a wrong file is told now and not by the first delivery."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = value.reveal().replace("\\n", "\n").strip()
    if not text:
        return ""
    with suppress(Exception):  # the library raises many kinds
        if isinstance(load_pem_private_key(text.encode(), None), RSAPrivateKey):
            return ""
    return "is not an RSA key in PEM form; enter the whole file that GitHub made, with its first and last line"


SETTINGS = Settings(
    GitHubAccess,
    ("name", "kind", "api_url", "client_id", "private_key", "token", "webhook_secret", "enabled"),
    {"api_url": _url_rule, "private_key": _key_rule},
)
