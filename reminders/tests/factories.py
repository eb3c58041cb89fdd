"""People and tasks as tests need them."""

import itertools
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model

from reminders.models import Preferences, ReminderRule, Todo
from reminders.services import todos

_numbers = itertools.count(1)


def person(name: str = "", **preferences: Any) -> Any:
    """An account with a mail address; with preferences, if any are given."""
    name = name or f"person{next(_numbers)}"
    user = get_user_model()._default_manager.create_user(name, f"{name}@example.org", "secret-of-a-person")
    if preferences:
        Preferences.objects.create(user=user, **preferences)
    return user


def todo(creator: Any, *rules: ReminderRule, assignees: Any = (), watchers: Any = (), **fields: Any) -> Todo:
    return todos.create(
        {"title": "Water the plants", "time_zone": "UTC", **fields},
        creator=creator,
        assignees=[user.pk for user in assignees],
        watchers=[user.pk for user in watchers],
        rules=rules,
    )


def at(text: str) -> datetime:
    """An instant from "2026-03-01 09:00", in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
