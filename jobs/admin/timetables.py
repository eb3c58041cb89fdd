"""The intervals, crontabs, clocked times and solar events that schedules refer to: reachable, but plain.

A schedule's own form makes what it needs, so these are for tidying up.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from jobs.admin.base import AuditedAdmin
from jobs.operators.timetables import ScheduleRefused, check_crontab


class TimetableAdmin(AuditedAdmin):
    """One that a schedule uses cannot be deleted: the schedule would go with it, without a word."""

    list_display = ("__str__",)

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return {}  # not among the first page's and the sidebar's entries

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Other times change what its schedules send, as in a schedule's own form."""
        return super().has_change_permission(request, obj) and request.user.has_perm("jobs.enqueue_job")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is None:  # no deleting in bulk, past the check below
            return False
        in_use = PeriodicTask.objects.filter(**{self.opts.model_name.removesuffix("schedule"): obj}).exists()
        return not in_use and super().has_delete_permission(request, obj)


class CrontabForm(forms.ModelForm):  # type: ignore[type-arg]
    """Refuses what a schedule's own form refuses: what cannot be read, and dates that never come."""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if self.errors:
            return data
        try:
            checked = check_crontab(CrontabSchedule(**data))
        except ScheduleRefused as exc:
            for name, text in exc.errors.items():
                field = name.removeprefix("crontab.")
                self.add_error(field if field in self.fields else None, text)
            return data
        return data | {"day_of_week": checked.day_of_week}


class CrontabAdmin(TimetableAdmin):
    form = CrontabForm


for model in (IntervalSchedule, CrontabSchedule, ClockedSchedule, SolarSchedule):
    if admin.site.is_registered(model):
        admin.site.unregister(model)
    admin.site.register(model, CrontabAdmin if model is CrontabSchedule else TimetableAdmin)
