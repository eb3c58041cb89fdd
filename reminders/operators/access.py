"""Who sees and changes which tasks and projects. Each service that people or operators reach asks here.

A person has a part in a task that they made, that is assigned to them, that they watch, or that belongs to a project of
theirs: such tasks they see and change, and what they made they delete. An operator's permissions reach all.
"""

from typing import Any, Literal

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Case, F, Q, QuerySet, Value, When

from jobs.operators.actors import Actor
from jobs.operators.lookups import NotHere, find
from jobs.operators.search import is_storable
from jobs.operators.settings import SettingsRefused, shown
from reminders.models import Project, Todo
from reminders.services.parts import concerns, has_part, projects_of, todos_of

Need = Literal["view", "change", "delete"]
MOST_PEOPLE = 100
_TITLE = "title_of_todo"


def visible_todos(actor: Actor) -> "QuerySet[Todo]":
    """The tasks that the actor may see, in no order, without their search vectors."""
    rows = Todo.objects.defer("search")
    if sees_all_todos(actor):
        return rows
    return rows.filter(pk__in=todos_of(actor.user.pk)) if is_person(actor) else rows.none()


def require_todo(actor: Actor, todo_id: int, need: Need) -> Todo:
    """A task, with its project and creator. Raises NotHere for one that the actor may not see, PermissionDenied."""
    todo = find(visible_todos(actor).select_related("project", "creator"), todo_id, "task")
    if not may_do(actor, todo, need):
        remedy = "ask its creator" if need == "delete" and todo.creator_id else f"it takes reminders.{need}_todo"
        raise PermissionDenied(f"{actor.name} may not {need} task {todo.pk}; {remedy}")
    return todo


def may_do(actor: Actor, todo: Todo, need: Need) -> bool:
    """Whether the actor may do this to a task that they see."""
    if need == "view" or actor.may(f"reminders.{need}_todo"):
        return True
    if not is_person(actor):
        return False
    if need == "delete":
        return bool(todo.creator_id == actor.user.pk)
    return has_part(actor.user.pk, todo.pk)


def sees_all_todos(actor: Actor) -> bool:
    return actor.may("reminders.view_todo") or actor.may("reminders.change_todo")


def titled(actor: Actor, rows: "QuerySet[Any]") -> "QuerySet[Any]":
    """Of rows with a `todo`, each with the `title_of` its task."""
    title: Any = F("todo__title")
    if not sees_all_todos(actor):
        sees = concerns(actor.user.pk) if is_person(actor) else Q(pk__in=[])
        title = Case(When(sees, then=title), default=Value(""))
    return rows.annotate(**{_TITLE: title})


def title_of(row: Any) -> str:
    """Of its task, as it is now, of one of the rows of `titled`; empty if the actor may not see the task."""
    return str(getattr(row, _TITLE))


# --- Projects ---------------------------------------------------------------------------------------------------------


def visible_projects(actor: Actor) -> "QuerySet[Project]":
    """Those that the actor is a member of; all, for operators."""
    rows = Project.objects.all()
    if actor.may("reminders.view_project") or actor.may("reminders.change_project"):
        return rows
    return rows.filter(pk__in=projects_of(actor.user.pk)) if is_person(actor) else rows.none()


def require_project(actor: Actor, project_id: int, need: Need) -> Project:
    """Raises NotHere for one that the actor may not see, PermissionDenied. Members change, operators alone delete."""
    project = find(visible_projects(actor), project_id, "project")
    if need == "view" or actor.may(f"reminders.{need}_project"):
        return project
    if need == "change" and is_person(actor) and project.members.filter(pk=actor.user.pk).exists():
        return project
    raise PermissionDenied(f"{actor.name} may not {need} project {project.pk}; it takes reminders.{need}_project")


# --- People -----------------------------------------------------------------------------------------------------------


def is_person(actor: Actor) -> bool:
    """Whether it is an account that is open; a command has none."""
    return bool(actor.user is not None and actor.user.is_authenticated and actor.user.is_active)


def require_operator(actor: Actor, permission: str) -> None:
    """permission: such as "send_reminder", of this app. Raises PermissionDenied."""
    actor.require(f"reminders.{permission}")


def require_self_or(actor: Actor, username: str, permission: str) -> Any:
    """The account that is meant: without a name the actor's own, another one's with the permission of this app.

    Raises PermissionDenied, NotHere.
    """
    if is_person(actor) and username in ("", actor.user.get_username()):
        return actor.user
    if not username:
        raise NotHere("say whose: name an account")
    require_operator(actor, permission)
    return person_named(username)


def person_named(username: str) -> Any:
    """An open account. Raises NotHere."""
    people = get_user_model()._default_manager.filter(is_active=True)
    found = people.filter(username=username).first() if len(username) <= 150 and is_storable(username) else None
    if found is None:
        raise NotHere(f"there is no open account {shown(username)}")
    return found


def people_named(given: Any, setting: str, on_list: "QuerySet[Any] | None" = None) -> list[int]:
    """Of a list of names, the accounts' ids, in its order. Raises SettingsRefused, naming the setting.

    on_list: accounts that are on the list already; of those closed ones are taken, too.
    """
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise SettingsRefused({setting: f'is {shown(given)}; it takes a list of account names, such as ["anna"]'})
    if len(given) > MOST_PEOPLE:
        raise SettingsRefused({setting: f"has {len(given):,} names; it takes up to {MOST_PEOPLE}"})
    names = [name for name in dict.fromkeys(given) if is_storable(name)]
    open_ones = get_user_model()._default_manager.filter(is_active=True)
    known: dict[str, int] = {}
    for people in [open_ones] if on_list is None else [open_ones, on_list]:
        known |= dict(people.filter(username__in=names).values_list("username", "pk"))
    unknown = [name for name in dict.fromkeys(given) if name not in known]
    if unknown:
        raise SettingsRefused({setting: f"there is no open account {', '.join(map(shown, unknown[:5]))}"})
    return [known[name] for name in names]
