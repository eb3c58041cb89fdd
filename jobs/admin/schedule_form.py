"""The form of a schedule: one kind at a time, and what it needs typed in the same place."""

from typing import Any

from django import forms
from django.utils import timezone
from django_celery_beat.models import SOLAR_SCHEDULES, PeriodicTask
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
from jobs.edit_forms import EditForm
from jobs.lanes import QUEUES
from jobs.models import CatchUp, SchedulePolicy
from jobs.models.schedule import MAX_CATCH_UP
from jobs.operators.schedule_edits import FIELDS, POLICY, apply_changes
from jobs.operators.timetables import CRON_PARTS, ScheduleRefused, parse_cron
from jobs.registry import registered_tasks

KINDS = {
    "interval": ("every so often", ("every", "period")),
    "crontab": ("at times of the clock (crontab)", ("cron", "cron_zone")),
    "clocked": ("once, at a time", ("clocked_at",)),
    "solar": ("by the sun", ("event", "latitude", "longitude")),
}
#: The field that shows what the service says of a part.
FIELD_OF = {
    "interval": "every",
    "interval.period": "period",
    "crontab": "cron",
    "crontab.timezone": "cron_zone",
    "clocked": "clocked_at",
    "solar": "event",
    "solar.latitude": "latitude",
    "solar.longitude": "longitude",
}


class ScheduleForm(forms.ModelForm, EditForm):  # type: ignore[type-arg]
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
        help_text="Minute, hour, day of the month, month, day of the week (0, 7: Sunday); * for any, */15 for steps.",
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
    catch_up = forms.ChoiceField(
        label="Missed runs",
        required=False,
        choices=CatchUp.choices,
        widget=UnfoldAdminSelectWidget,
        help_text="What becomes of runs that came while no beat was running. Each of them is listed, run or not.",
    )
    catch_up_limit = forms.IntegerField(
        label="At most",
        required=False,
        min_value=1,
        max_value=MAX_CATCH_UP,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="How many missed runs are made up for, where each is to run; the latest count.",
    )
    grace_seconds = forms.IntegerField(
        label="Grace, in seconds",
        required=False,
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="A run that is later than this is left out. Empty: no matter how late; a minute where missed runs "
        "are skipped.",
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

    def clean_queue(self) -> str | None:
        return self.cleaned_data["queue"] or None

    def clean(self) -> dict[str, Any]:
        super().clean()
        kind = self.cleaned_data.get("kind")
        for name in KINDS[kind][1] if kind else ():
            if self.cleaned_data.get(name) in (None, "") and name not in self.errors:
                self.add_error(name, "This kind of schedule needs it.")
        return self.cleaned_data

    def _post_clean(self) -> None:
        """Ask the service what it would refuse, and say so at the field. It stores too, so the row stays as it is."""
        if self.errors:
            return
        try:
            # On a copy of the row.
            stored = PeriodicTask.objects.filter(pk=self.instance.pk).first() or PeriodicTask()
            apply_changes(stored, self.spec())
        except ScheduleRefused as exc:
            for name, text in exc.errors.items():
                field = name if name in self.fields else FIELD_OF.get(name, FIELD_OF.get(name.partition(".")[0]))
                part = name.removeprefix("crontab.").replace("_", " ")
                self.add_error(field, f"{part}: {text}" if field == "cron" and "." in name else text)

    def spec(self) -> dict[str, Any]:
        """What the services take: for a new schedule all, else what was changed."""
        data, is_new = self.cleaned_data, self.instance.pk is None
        changed = set(self.fields if is_new else self.changed_data)
        spec = {name: data[name] for name in FIELDS if name in changed}
        # Left empty, they stay as they are.
        spec = {name: value for name, value in spec.items() if value or name not in ("catch_up", "catch_up_limit")}
        kind = data["kind"]
        if changed & {"kind", *KINDS[kind][1]}:
            spec[kind] = self._timetable(kind)
            if kind != "clocked" and "kind" in changed:
                # A time alone runs once; what was chosen here counts in the place of that.
                spec["one_off"] = data["one_off"]
        if kind == "clocked":
            spec.pop("one_off", None)
        return spec

    def _timetable(self, kind: str) -> dict[str, Any]:
        if kind == "crontab":
            return parse_cron(self.cleaned_data["cron"], self.cleaned_data["cron_zone"])
        given = {name: self.cleaned_data[name] for name in KINDS[kind][1]}
        return {"at": given["clocked_at"]} if kind == "clocked" else given


def _initial(task: PeriodicTask | None) -> dict[str, Any]:
    """What the fields of the schedule's kind show."""
    initial: dict[str, Any] = {"kind": "interval", "cron_zone": timezone.get_default_timezone_name()}
    policy = (SchedulePolicy.objects.filter(pk=task.pk).first() if task and task.pk else None) or SchedulePolicy()
    initial |= {name: getattr(policy, name) for name in POLICY}
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
