"""What the views of tasks and reminders share: any person comes in, and the service says who may do what."""

from collections.abc import Callable
from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from jobs.api.problems import add_meaning
from jobs.api.rows import ListFilter, RowsView, RowView, idempotency_key
from jobs.operators import idempotency
from jobs.operators.actors import Actor
from jobs.operators.settings import SettingsRefused
from reminders import recurrence
from reminders.services.todos import TodoRefused

add_meaning(TodoRefused, 409, "task-refused")
add_meaning(recurrence.RuleRefused, 400, "invalid-request", "#/rrule")
add_meaning(SettingsRefused, 400, "invalid-request")


class IsPerson(BasePermission):
    """Any account that is open; the services decide what of all that concerns it."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.is_authenticated and request.user.is_active)


class PeopleRowsView(RowsView):
    permission_classes: Any = (IsPerson,)

    def made_once(self, request: Request, make: Callable[[], int]) -> tuple[int, bool]:
        """The number of what was made, and whether that was by an earlier request with the same Idempotency-Key."""
        key = idempotency_key(request)
        if key is None:
            return make(), False
        client = f"user:{request.user.pk}"
        named, replayed = idempotency.once_made(client, key, [request.path, request.data], lambda: str(make()))
        return int(named), replayed


class PeopleRowView(RowView):
    permission_classes: Any = (IsPerson,)


class ActorFilter(ListFilter):
    """Hands on who asks, too."""

    def filter_queryset(self, queryset: Any) -> Any:
        return type(self).listed(Actor.of_user(self.request.user, "api"), **self.asked())


def made_headers(location: str, replayed: bool) -> dict[str, str]:
    return {"Location": location, **({"Idempotent-Replayed": "true"} if replayed else {})}
