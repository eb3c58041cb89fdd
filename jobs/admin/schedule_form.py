"""The form of a schedule: one kind at a time, and what it needs typed in the same place."""

import json
from typing import Any

from django import forms
from django.utils import timezone
from django_celery_beat.models import (
    SOLAR_SCHEDULES,
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from timezone_field import TimeZoneFormField  # type: ignore[import-untyped]
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from jobs.admin.enqueue import LocalTime
from jobs.admin.job_actions import JsonText
from jobs.lanes import QUEUES
from jobs.registry import ArgumentsDoNotFit, UnknownTask, check_arguments, find_task, registered_tasks

KINDS = {
    "interval": ("every so often", ("every", "period")),
    "crontab": ("at times of the clock (crontab)", ("cron", "cron_zone")),
    "clocked": ("once, at a time", ("clocked_at",)),
    "solar": ("by the sun", ("event", "latitude", "longitude")),
}
CRON_PARTS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    task = forms.ChoiceField(label="Task", widget=UnfoldAdminSelectWidget)
    args = JsonText(list, label="Positional arguments", help_text="A JSON list.")
    kwargs = JsonText(dict, label="Named arguments", help_text="A JSON object.")
    kind = forms.ChoiceField(
        label="Runs", choices=[(k, text) for k, (text, _) in KINDS.items()], widget=UnfoldAdminSelectWidget
    )
    every = forms.IntegerField(
        label="Every", min_value=1, max_value=100_000, required=False, widget=UnfoldAdminIntegerFieldWidget
    )
    period = forms.ChoiceField(
        label="Unit",
        required=False,
        choices=[(unit, unit) for unit in ("minutes", "seconds", "hours", "days")],
        widget=UnfoldAdminSelectWidget,
    )
    cron = forms.CharField(
        label="Crontab",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "30 8 * * 1-5", "spellcheck": "false"}),
        help_text="Minute, hour, day of the month, month, day of the week (0 is Sunday); * for any, */15 for steps.",
    )
    cron_zone = TimeZoneFormField(label="Time zone", required=False, use_pytz=False, widget=UnfoldAdminSelectWidget)
    clocked_at = LocalTime(label="Time", required=False)
    event = forms.ChoiceField(label="Event", required=False, choices=SOLAR_SCHEDULES, widget=UnfoldAdminSelectWidget)
    latitude = forms.DecimalField(
        label="Latitude", required=False, min_value=-90, max_value=90, widget=UnfoldAdminDecimalFieldWidget
    )
    longitude = forms.DecimalField(
        label="Longitude", required=False, min_value=-180, max_value=180, widget=UnfoldAdminDecimalFieldWidget
    )
    queue = forms.ChoiceField(
        label="Queue",
        required=False,
        choices=[("", "the task's own"), *((name, f"{name}: {q.purpose}") for name, q in QUEUES.items())],
        widget=UnfoldAdminSelectWidget,
    )
    priority = forms.IntegerField(
        label="Priority",
        required=False,
        min_value=0,
        max_value=9,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="0 to 9; 9 is taken first. Empty: the queue's own.",
    )
    start_time = LocalTime(label="Not before", required=False)
    expires = LocalTime(label="Not after", required=False)

    class Meta:
        model = PeriodicTask
        fields = (
            *("name", "task", "args", "kwargs", "queue", "priority"),
            *("start_time", "expires", "one_off", "enabled", "description"),
        )
        help_texts = {
            "name": "It is shown as the origin of its jobs.",
            "one_off": "Runs a single time, then no more.",
            "description": "",
            "enabled": "",
        }
        widgets = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        instance = kwargs.get("instance")
        kwargs["initial"] = {**_initial(instance), **(kwargs.get("initial") or {})}
        super().__init__(*args, **kwargs)
        names = [task.name for task in registered_tasks()]
        if instance is not None and instance.task and instance.task not in names:
            names.append(instance.task)
        self.fields["task"].choices = [("", "choose"), *((name, name) for name in names)]  # type: ignore[attr-defined]
        zone = timezone.get_default_timezone_name()
        for name in ("clocked_at", "start_time", "expires"):
            self.fields[name].help_text = f"In {zone}."

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"]).strip()
        if not name:
            raise forms.ValidationError("A schedule needs a name.")
        return name

    def clean_queue(self) -> str | None:
        return self.cleaned_data["queue"] or None

    def clean(self) -> dict[str, Any]:
        super().clean()
        self._check_call()
        if self.cleaned_data.get("expires") and self.instance.expire_seconds is not None:
            self.add_error("expires", f"Its jobs expire after {self.instance.expire_seconds} s; both cannot be set.")
        kind = self.cleaned_data.get("kind")
        if kind:
            self._take_kind(kind)
        return self.cleaned_data

    def _check_call(self) -> None:
        """The arguments must fit the task; then they are stored as text, as beat wants them."""
        data = self.cleaned_data
        args, kwargs = data.get("args"), data.get("kwargs")
        if args is None or kwargs is None:
            return
        if data.get("task"):
            try:
                check_arguments(find_task(data["task"]), args, kwargs)
            except UnknownTask:
                self.add_error("task", f"No task {data['task']!r} is registered; choose another.")
            except ArgumentsDoNotFit as exc:
                self.add_error("kwargs" if kwargs or not args else "args", str(exc))
        data["args"], data["kwargs"] = json.dumps(args), json.dumps(kwargs)

    def _take_kind(self, kind: str) -> None:
        """Point the schedule at one timetable of the chosen kind, new or found, and at no other."""
        timetable = getattr(self, f"_make_{kind}")()
        for other in KINDS:
            setattr(self.instance, other, timetable if other == kind else None)
        if kind == "clocked":
            self.cleaned_data["one_off"] = True

    def _given(self, *names: str) -> list[Any] | None:
        """The values of fields that the chosen kind needs, or None, with an error at each that is missing."""
        values = [self.cleaned_data.get(name) for name in names]
        for name, value in zip(names, values, strict=True):
            if value in (None, "") and name not in self.errors:
                self.add_error(name, "This kind of schedule needs it.")
        return None if any(name in self.errors for name in names) else values

    def _make_interval(self) -> IntervalSchedule | None:
        given = self._given("every", "period")
        return given and _found_or_new(IntervalSchedule, every=given[0], period=given[1])

    def _make_clocked(self) -> ClockedSchedule | None:
        given = self._given("clocked_at")
        return given and _found_or_new(ClockedSchedule, clocked_time=given[0])

    def _make_solar(self) -> SolarSchedule | None:
        given = self._given("event", "latitude", "longitude")
        return given and _found_or_new(SolarSchedule, event=given[0], latitude=given[1], longitude=given[2])

    def _make_crontab(self) -> CrontabSchedule | None:
        given = self._given("cron", "cron_zone")
        if not given:
            return None
        parts = given[0].split()
        if len(parts) != len(CRON_PARTS):
            self.add_error("cron", f"Expected five parts, as in 30 8 * * 1-5, but {len(parts)} came.")
            return None
        timetable = _found_or_new(CrontabSchedule, **dict(zip(CRON_PARTS, parts, strict=True)), timezone=given[1])
        try:
            timetable.full_clean(exclude=["id"], validate_unique=False)
        except forms.ValidationError as exc:
            for field, problems in exc.message_dict.items():
                self.add_error("cron", f"{field.replace('_', ' ')}: {' '.join(problems)}")
            return None
        return timetable

    def _post_clean(self) -> None:
        if not self.errors:  # beat's own check would else only say that a kind is missing
            super()._post_clean()  # type: ignore[misc]

    def save_timetable(self) -> None:
        """Store the timetable that the schedule points at, if it is new."""
        kind = self.cleaned_data["kind"]
        timetable = getattr(self.instance, kind)
        if timetable.pk is None:
            timetable.save()
        setattr(self.instance, kind, timetable)


def _found_or_new(model: Any, **values: Any) -> Any:
    return model.objects.filter(**values).first() or model(**values)


def _initial(task: PeriodicTask | None) -> dict[str, Any]:
    """What the fields of the schedule's kind show."""
    initial: dict[str, Any] = {"kind": "interval", "cron_zone": timezone.get_default_timezone_name()}
    if task is None or task.pk is None:
        return initial | {"args": "[]", "kwargs": "{}"}
    if task.interval:
        initial |= {"kind": "interval", "every": task.interval.every, "period": task.interval.period}
    elif task.crontab:
        cron = " ".join(str(getattr(task.crontab, part)) for part in CRON_PARTS)
        initial |= {"kind": "crontab", "cron": cron, "cron_zone": str(task.crontab.timezone)}
    elif task.clocked:
        initial |= {"kind": "clocked", "clocked_at": task.clocked.clocked_time}
    elif task.solar:
        solar = task.solar
        initial |= {"kind": "solar", "event": solar.event, "latitude": solar.latitude, "longitude": solar.longitude}
    return initial
