"""Deliveries, and mails that ask to confirm, whose job ended without a word, as by crashes or because somebody
cancelled it: what became of them.
"""

from typing import Any

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Collate

from jobs.models import Effect, EffectState, Job
from jobs.models.job import FINISHED
from reminders import moment
from reminders.models import ConfirmationMail, DeliveryState, ReminderDelivery
from reminders.services import confirming, sending

BATCH = 1_000
LONGEST_ERROR = 1_000


def settle_lost() -> dict[str, int]:
    """Returns how many deliveries were found to be sent, how many may have been, and how many failed; and how many
    mails that ask to confirm were settled.
    """
    counts = {DeliveryState.SENT: 0, DeliveryState.UNCERTAIN: 0, DeliveryState.FAILED: 0}
    for row in _lost(ReminderDelivery.objects.filter(state=DeliveryState.PENDING)):
        counts[_settle(row, row.job_state, row.job_error)] += 1
    confirmations = 0
    for row in _lost(ConfirmationMail.objects.filter(sent_at=None, error="")):
        _settle_mail(row)
        confirmations += 1
    return {**{str(state): count for state, count in counts.items()}, "confirmations": confirmations}


def _lost(rows: "QuerySet[Any]") -> "QuerySet[Any]":
    """Those whose job has ended, with its state and error."""
    # The key of jobs has a collation of its own, which a comparison of two columns must name.
    ended = Job.objects.filter(pk=Collate(OuterRef("job_id"), "C"), state__in=FINISHED)
    lost = rows.exclude(job_id="")
    lost = lost.annotate(job_state=Subquery(ended.values("state")[:1]), job_error=Subquery(ended.values("error")[:1]))
    return lost.filter(job_state__isnull=False).order_by("pk")[:BATCH]


def _settle_mail(row: Any) -> None:
    known = Effect.objects.defer("request").filter(key=confirming.key_of(row.pk), state=EffectState.DONE).first()
    values: dict[str, Any] = {"error": _why(row.job_state, row.job_error)}
    if known is not None:
        values = {"sent_at": known.done_at or moment.now()}
    ConfirmationMail.objects.filter(pk=row.pk, sent_at=None, error="").update(**values)


def _why(job_state: str, job_error: str) -> str:
    return (f"its job ended as {job_state}" + (f": {job_error}" if job_error else ""))[:LONGEST_ERROR]


def _settle(row: ReminderDelivery, job_state: str, job_error: str) -> DeliveryState:
    known = sending.effect_of(row.pk)
    values: dict[str, Any] = {"state": DeliveryState.FAILED, "error": _why(job_state, job_error)}
    if known is not None and known.state == EffectState.DONE:
        values = {"state": DeliveryState.SENT, "error": "", "sent_at": known.done_at or moment.now()}
        values["message_id"] = known.identity if known.kind == "mail" else ""
    elif known is not None and known.state in (EffectState.TRIED, EffectState.UNCERTAIN):
        values["state"] = DeliveryState.UNCERTAIN
    with transaction.atomic():
        # Unless it has been given another job by now.
        ReminderDelivery.objects.filter(pk=row.pk, state=DeliveryState.PENDING, job_id=row.job_id).update(**values)
    return DeliveryState(str(values["state"]))
