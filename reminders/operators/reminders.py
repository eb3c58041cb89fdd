"""Reminders that fired and what became of them: of a person, or of all for operators. And the scan, on demand."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Prefetch, Q, QuerySet

from jobs.operators.actors import Actor
from jobs.operators.lookups import find
from jobs.operators.search import is_storable
from reminders import clocks, moment
from reminders.models import (
    Channel,
    DeliveredReminder,
    DeliveryState,
    Reminder,
    ReminderDelivery,
    ReminderState,
    ScanRecord,
    Suppression,
    Todo,
)
from reminders.operators import access
from reminders.services import channels, confirming, planning, scanning
from reminders.services.addresses import suppressed_as

#: The scan is each minute; older than this, something is wrong.
SCAN_TOO_OLD = timedelta(minutes=5)
#: Counts stop here; nobody reads more exactly.
CAP = 10_000


@dataclass(frozen=True)
class Figures:
    """due_today: open tasks, by the installation's clock. failed: of a day. scanned_at: when a scan last succeeded."""

    due_today: int
    overdue: int
    held: int
    failed: int
    uncertain: int
    scanned_at: datetime | None

    @property
    def scan_is_old(self) -> bool:
        return self.scanned_at is None or moment.now() - self.scanned_at > SCAN_TOO_OLD


def reminders(
    actor: Actor,
    *,
    recipient: str = "",
    todo: int | None = None,
    state: str = "",
    kind: str = "",
    fired_after: datetime | None = None,
    fired_before: datetime | None = None,
) -> "QuerySet[Reminder]":
    """What fired, in no order: one's own; of all with reminders.view_reminder. kind: its beginning, such as overdue.

    Each with `access.title_of` its task.
    """
    found = Reminder.objects.select_related("todo", "recipient", "rule", "rule__person").defer("todo__search")
    found = access.titled(actor, found)
    if not actor.may("reminders.view_reminder"):
        found = found.filter(recipient=actor.user) if access.is_person(actor) else found.none()
    if not is_storable(recipient + kind):
        return found.none()
    conditions: dict[str, Any] = {"recipient__username": recipient, "todo": todo, "state": state}
    conditions |= {"kind__startswith": kind, "fired_at__gte": fired_after, "fired_at__lt": fired_before}
    return found.filter(**{name: value for name, value in conditions.items() if value not in ("", None)})


def find_reminder(actor: Actor, reminder_id: int) -> Reminder:
    """Raises NotHere."""
    return find(reminders(actor), reminder_id, "reminder")


def deliveries(
    actor: Actor,
    *,
    recipient: str = "",
    todo: int | None = None,
    state: str = "",
    layout: str = "",
    kind: str = "",
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> "QuerySet[ReminderDelivery]":
    """What was to be sent, in no order, with its reminders: one's own; of all with reminders.view_reminderdelivery.

    kind: of the channel.
    """
    found = ReminderDelivery.objects.select_related("channel", "recipient")
    found = found.prefetch_related(Prefetch("items__reminder", access.titled(actor, Reminder.objects.all())))
    found = found.defer("channel__address", "channel__secret")
    if not actor.may("reminders.view_reminderdelivery"):
        found = found.filter(recipient=actor.user) if access.is_person(actor) else found.none()
    if not is_storable(recipient):
        return found.none()
    conditions: dict[str, Any] = {"recipient__username": recipient, "state": state, "layout": layout}
    conditions |= {"channel__kind": kind, "created_at__gte": created_after, "created_at__lt": created_before}
    if todo is not None:
        of_todo = DeliveredReminder.objects.filter(reminder__todo=todo)
        conditions["pk__in"] = of_todo.values("delivery_id")
    return found.filter(**{name: value for name, value in conditions.items() if value not in ("", None)})


def find_delivery(actor: Actor, delivery_id: int) -> ReminderDelivery:
    """Raises NotHere."""
    return find(deliveries(actor), delivery_id, "delivery")


def suppressions(actor: Actor, *, search: str = "") -> "QuerySet[Suppression]":
    """Addresses that take no mail: of a person their own. search: the beginning of an address, or a whole one."""
    found = channels.suppressions(actor)
    if not is_storable(search):
        return found.none()
    # Of a whole one the domain is found in letters of any script.
    return found.filter(address__startswith=suppressed_as(search)) if search.strip() else found


def ways(actor: Actor, *, user: str = "", kind: str = "", usable: bool | None = None) -> "QuerySet[Channel]":
    """The channels that the actor may see, in no order, with what `confirming.words` tells of them.

    usable: enabled, and neither unsubscribed, set aside nor waiting for confirmation.
    """
    found = channels.channels(actor)
    if not is_storable(user):
        return found.none()
    conditions = Q(user__username=user) if user else Q()
    if kind:
        conditions &= Q(kind=kind)
    if usable is not None:
        conditions &= Channel.USABLE if usable else ~Channel.USABLE
    return confirming.with_newest_mail(found.filter(conditions))


def scan_now(actor: Actor) -> str:
    """Have what is due found at once. Returns the job's id. Raises PermissionDenied (reminders.send_reminder)."""
    from reminders.tasks import send_due_soon

    access.require_operator(actor, "send_reminder")
    with transaction.atomic():
        job_id = str(send_due_soon.delay().id)
        actor.record("reminders.scan", job_id)
    return job_id


def scan_here(actor: Actor) -> dict[str, Any]:
    """The same in this process. Returns what the scan did. Raises PermissionDenied (reminders.send_reminder)."""
    access.require_operator(actor, "send_reminder")
    done = scanning.send_due_soon()
    actor.record("reminders.scan", "here", fired=done["fired"], deliveries=done["deliveries"])
    return done


def last_scan() -> ScanRecord | None:
    return ScanRecord.objects.filter(pk=1).first()


def figures() -> Figures:
    """For operators. Each count is over an index, and stops at ten thousand."""
    now = moment.now()
    zone = planning.default_preferences(None).time_zone
    ends = clocks.end_of_day(clocks.local(now, zone).date(), zone)
    open_ones = Todo.objects.filter(done_at=None)
    newest = ReminderDelivery.objects.filter(created_at__gte=now - timedelta(days=1))
    scan = last_scan()
    return Figures(
        due_today=_count(open_ones.filter(due_at__gt=now, due_at__lte=ends)),
        overdue=_count(open_ones.filter(due_at__lte=now)),
        held=_count(Reminder.objects.filter(state=ReminderState.HELD)),
        failed=_count(newest.filter(state=DeliveryState.FAILED)),
        uncertain=_count(ReminderDelivery.objects.filter(state=DeliveryState.UNCERTAIN)),
        scanned_at=scan.last_success_at if scan is not None else None,
    )


def _count(rows: "QuerySet[Any]") -> int:
    return rows[: CAP + 1].count()
