"""The daily clean-up: what fires soon is planned anew, what is no longer needed is removed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from jobs import job
from reminders import moment
from reminders.models import ConfirmationMail, DeliveryState, PlannedReminder, Reminder, ReminderDelivery, Todo
from reminders.services import planning

#: The tz database changes a few times a year; what fires within this is planned by the one that is installed now.
AHEAD = timedelta(days=3)
BATCH = 1_000
#: The rest is left to the next night.
MOST_WITHOUT_PLAN = 50_000


def tidy() -> dict[str, Any]:
    """Returns how many rows were planned anew, and how many old ones of each kind were deleted."""
    return {
        "replanned": planning.replan(_soon() | _without_plan()),
        "deliveries": _in_batches(_old_deliveries),
        "reminders": _in_batches(_old_reminders),
        "confirmations": _in_batches(_old_confirmations),
    }


def _soon() -> set[int]:
    """Tasks of which something fires soon, and those due around now that may have lost their plan: by an index each."""
    now = moment.now()
    planned = PlannedReminder.objects.filter(fire_at__lte=now + AHEAD).values_list("todo_id", flat=True)
    due = Todo.objects.filter(done_at=None, due_at__range=(now - AHEAD, now + AHEAD)).values_list("pk", flat=True)
    return {*planned, *due}


def _without_plan() -> set[int]:
    """Later ones of which somebody is to be reminded once they are overdue, and nothing is planned for them: an older
    version took closed accounts off the plan.
    """
    lacking = Todo.objects.filter(done_at=None, overdue_reminders=True, due_at__gt=moment.now() + AHEAD)
    alone = lacking.filter(_unplanned("pk", "creator"), assignees=None, creator__isnull=False)
    found = set(alone.values_list("pk", flat=True)[:MOST_WITHOUT_PLAN])
    for through in (Todo.assignees.through, Todo.watchers.through):
        links: QuerySet[Any] = through._default_manager.filter(_unplanned("todo", "user"), todo__in=lacking)
        found |= set(links.values_list("todo", flat=True)[:MOST_WITHOUT_PLAN])
    return found


def _unplanned(todo: str, person: str) -> Q:
    return ~Q(Exists(PlannedReminder.objects.filter(todo=OuterRef(todo), recipient=OuterRef(person))))


def _old_deliveries() -> "QuerySet[Any]":
    return ReminderDelivery.objects.filter(created_at__lt=_kept_since()).exclude(state=DeliveryState.PENDING)


def _old_reminders() -> "QuerySet[Any]":
    """Not those of an open task for its present date: they keep the same rule from firing again."""
    past = Q(superseded_at__isnull=False) | Q(todo__done_at__isnull=False)
    return Reminder.objects.filter(past, fired_at__lt=_kept_since())


def _old_confirmations() -> "QuerySet[Any]":
    return ConfirmationMail.objects.filter(created_at__lt=_kept_since())


def _kept_since() -> Any:
    return moment.now() - timedelta(days=settings.REMINDERS["KEEP_DAYS"])


def _in_batches(rows: Callable[[], "QuerySet[Any]"]) -> int:
    """Each batch in a transaction of its own, so that none holds locks for long."""
    deleted = 0
    while ids := list(rows().order_by("pk").values_list("pk", flat=True)[:BATCH]):
        rows().filter(pk__in=ids).delete()
        deleted += len(ids)
        job.check_cancelled()
    return deleted
