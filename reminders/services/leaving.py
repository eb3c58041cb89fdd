"""Accounts that are deleted, by whatever page or command: a scan that writes for them is waited for."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models.signals import pre_delete

from reminders.models import Channel, PlannedReminder, Reminder
from reminders.services import outbox_rows


def _take_along(sender: Any, instance: Any, **_: Any) -> None:
    # Django has collected by now what goes with an account, and would leave what a scan has written since.
    outbox_rows.alone()
    for model, column in ((PlannedReminder, "recipient"), (Channel, "user"), (Reminder, "recipient")):
        model._default_manager.filter(**{column: instance.pk}).delete()


def connect() -> None:
    pre_delete.connect(_take_along, sender=get_user_model(), dispatch_uid="reminders.leaving.take_along")
