"""Who has a part in a task: whoever made it, is assigned to it, watches it, or is a member of its project.

Whoever has none does not see it, is not reminded of it, and is told nothing of what became of it.
"""

from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from reminders.models import Project, Todo

#: Why a reminder is not sent.
NO_PART = "its recipient has no part in the task any more"


def todos_of(user_id: int) -> "QuerySet[Any, Any]":
    """The ids of a person's tasks. As a union, each part of which has an index; joined by OR they would scan."""
    assigned = Todo.assignees.through.objects.filter(user_id=user_id).values("todo_id")
    watched = Todo.watchers.through.objects.filter(user_id=user_id).values("todo_id")
    created = Todo.objects.filter(creator=user_id).values("pk")
    together = Todo.objects.filter(project__in=projects_of(user_id)).values("pk")
    return created.union(assigned, watched, together, all=True)


def projects_of(user_id: int) -> "QuerySet[Any, Any]":
    return Project.members.through.objects.filter(user_id=user_id).values("project_id")


def has_part(user_id: int, todo_id: int) -> bool:
    """Whether a task concerns somebody, whatever their permissions are."""
    return Todo.objects.filter(pk=todo_id).filter(pk__in=todos_of(user_id)).exists()


def concerns(person: str | int) -> Q:
    """Of rows with a `todo`, those whose person has a part in it: each is looked up by indexes.

    person: the column in which that person's id is, or the id itself.
    """
    them: Any = OuterRef(person) if isinstance(person, str) else person

    def linked(model: Any, **to: str) -> Exists:
        return Exists(model._default_manager.filter(user_id=them, **{name: OuterRef(at) for name, at in to.items()}))

    return (
        Q(todo__creator=F(person) if isinstance(person, str) else person)
        | Q(linked(Todo.assignees.through, todo_id="todo_id"))
        | Q(linked(Todo.watchers.through, todo_id="todo_id"))
        | Q(linked(Project.members.through, project_id="todo__project_id"))
    )


def without(rows: "QuerySet[Any]", person: str) -> "QuerySet[Any]":
    """Of rows with a `todo`, those whose person has no part in it. person: the column in which their id is."""
    # Not `exclude(concerns(…))`: of a task that nobody made, that would be unknown, and not true.
    return rows.exclude(pk__in=rows.filter(concerns(person)).values("pk"))
