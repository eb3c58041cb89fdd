"""Projects: any person makes one and is its first member; members change it, operators delete it."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from jobs.edit_forms import ListEdit
from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere
from jobs.operators.search import is_storable
from jobs.operators.settings import Settings, SettingsRefused, apply, shown
from reminders import moment
from reminders.models import Project, Todo
from reminders.operators import access


def projects(actor: Actor, *, search: str = "", member: str = "", archived: bool | None = None) -> "QuerySet[Project]":
    """Those that the actor may see, with how many open tasks each has (`open_todos`). search: a part of the name."""
    found = access.visible_projects(actor).prefetch_related("members")
    if not is_storable(search + member):
        return found.none()
    conditions = Q(name__icontains=search) if search else Q()
    if member:
        conditions &= Q(members__username=member)
    if archived is not None:
        conditions &= Q(archived_at__isnull=not archived)
    return found.filter(conditions).annotate(open_todos=_OPEN)


def find_project(actor: Actor, project_id: int) -> Project:
    """Raises NotHere."""
    access.require_project(actor, project_id, "view")
    return projects(actor).get(pk=project_id)


def project_named(actor: Actor, name: str) -> Project:
    """Raises NotHere."""
    found = projects(actor).filter(name=name).first() if is_storable(name) else None
    if found is None:
        raise NotHere(f"there is no project {shown(name)}; see the list of projects")
    return found


def create_project(actor: Actor, given: Mapping[str, Any]) -> Project:
    """given: name, members, archived. Its maker is a member. Raises PermissionDenied, SettingsRefused."""
    if not access.is_person(actor):
        access.require_operator(actor, "add_project")
    values, members = _read(given)
    if "name" not in values:
        raise SettingsRefused({"name": "is missing; it takes a text"})
    row = Project()
    changed = apply(row, values)
    own = [actor.user.pk] if access.is_person(actor) else []
    with transaction.atomic():
        _save(row)
        row.members.set([*own, *(members or ())])
        actor.record("project.create", row.pk, **changed)
    return find_project(actor, row.pk)


def change_project(actor: Actor, project_id: int, given: Mapping[str, Any]) -> Project:
    """Change what is named; whoever takes themselves off it sees the last of it. members may be a `ListEdit`.

    Raises NotHere, PermissionDenied, SettingsRefused.
    """
    access.require_project(actor, project_id, "change")
    with transaction.atomic():
        row = Project.objects.select_for_update().get(pk=project_id)
        values, members = _read(given, row)
        changed = apply(row, values)
        _save(row)
        if members is not None:
            before = dict(row.members.values_list("username", "pk"))
            row.members.set(members)
            after = dict(row.members.values_list("username", "pk"))
            if before != after:
                changed["members"] = [sorted(before), sorted(after)]
                _replan(set(before.values()) ^ set(after.values()))
        if changed:
            actor.record("project.change", project_id, **changed)
    return Project.objects.prefetch_related("members").annotate(open_todos=_OPEN).get(pk=project_id)


def delete_project(actor: Actor, project_id: int) -> None:
    """Its tasks stay, without a project. Raises NotHere, PermissionDenied (reminders.delete_project)."""
    row = access.require_project(actor, project_id, "delete")
    with transaction.atomic():
        actor.record("project.delete", row.pk, name=row.name)
        members = list(row.members.values_list("pk", flat=True))
        row.delete()
        _replan(members)


def _replan(people: Iterable[int]) -> None:
    """Whoever comes to a project or leaves it: what is planned for them of its tasks follows."""
    from reminders.tasks import replan_person

    for user_id in sorted(people):
        replan_person.delay(user_id)


def _read(given: Mapping[str, Any], row: Project | None = None) -> tuple[dict[str, Any], list[int] | None]:
    plain = {str(name): value for name, value in given.items()}
    on_list = row.members.all() if row is not None else None
    if isinstance(plain.get("members"), ListEdit):
        now = [] if on_list is None else list(on_list.values_list("username", flat=True))
        plain["members"] = plain["members"].after(now)
    members = access.people_named(plain.pop("members"), "members", on_list) if "members" in plain else None
    archived = plain.pop("archived", None)
    if archived is not None and not isinstance(archived, bool):
        raise SettingsRefused({"archived": f"is {shown(archived)}; it takes true or false"})
    try:
        values = _SETTINGS.read(plain)
    except SettingsRefused as exc:
        known = "choose from: name, members, archived"
        told = {name: f"unknown setting; {known}" if "unknown" in text else text for name, text in exc.errors.items()}
        raise SettingsRefused(told) from None
    was = row.archived_at if row is not None else None
    if archived is not None and archived is not (was is not None):
        values["archived_at"] = moment.now() if archived else None
    return values, members


def _save(row: Project) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise SettingsRefused({"name": f"{shown(row.name)} is taken; choose another name"}) from None


def _name_rule(value: str) -> str:
    return "" if value.isprintable() else "has characters that are not seen; write it on one line"


# A subquery: a join with members would count each task once for each of them.
_OPEN = Coalesce(
    Subquery(
        Todo.objects.filter(project=OuterRef("pk"), done_at=None)
        .order_by()
        .values("project")
        .annotate(count=Count("pk"))
        .values("count")
    ),
    0,
)
_SETTINGS = Settings(Project, ("name",), {"name": _name_rule})
