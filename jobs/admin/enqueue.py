"""The page that makes a job: choose a task, fill in a field for each of its parameters."""

import inspect
import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from jobs import strict_json
from jobs.admin import show
from jobs.admin.base import actor_of
from jobs.admin.job_actions import JsonText
from jobs.admin.unique_fields import folded_text, unique_fields
from jobs.lanes import QUEUES
from jobs.ledger.errors import JobRefused
from jobs.operators.jobs import enqueue_job
from jobs.operators.timetables import EARLIEST_YEAR, LATEST_YEAR
from jobs.registry import ArgumentsDoNotFit, TaskInfo, UnknownTask, describe, find_task, registered_tasks
from jobs.unique_options import NAMES as KEY_OPTIONS

if TYPE_CHECKING:
    from jobs.admin.base import BaseAdmin

PREFIX = "parameter_"
PLAIN_OPTIONS = ("queue", "priority", "run_at", "unique_key")
OPTIONS = (*PLAIN_OPTIONS, *KEY_OPTIONS)
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class AnyJson(forms.CharField):
    """Any JSON value, as typed."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return strict_json.loads(text)
        except strict_json.NotJson as exc:
            raise forms.ValidationError(
                f'This is not JSON: {exc}. Put text in double quotes; lists look like [1, 2], objects like {{"a": 1}}.'
            ) from None


class _TimeControl(UnfoldAdminTextInputWidget):
    #: A browser takes no more than thousandths, shows a finer time as none, and would send that back.
    supports_microseconds = False


class LocalTime(forms.DateTimeField):
    """A time as a browser's time field sends it, in the site's zone."""

    widget = _TimeControl(attrs={"type": "datetime-local", "step": "1"})
    input_formats = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"]

    def to_python(self, value: Any) -> Any:
        moment = super().to_python(value)
        # At the ends of the calendar, another time zone's year is one that Python does not have.
        if moment is not None and not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
            raise forms.ValidationError(f"Choose a year from {EARLIEST_YEAR} to {LATEST_YEAR}.")
        return moment


class EnqueueForm(forms.Form):
    """One field for each parameter of the task, then what the ledger takes besides."""

    def __init__(self, task: TaskInfo, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task = task
        self.kinds = {p.name: p.kind for p in inspect.signature(find_task(task.name).run).parameters.values()}
        for parameter in task.parameters:
            self.fields[PREFIX + parameter["name"]] = self._field(parameter)
        zone = timezone.get_current_timezone_name()
        self.fields["queue"] = forms.ChoiceField(
            label="Queue",
            required=False,
            choices=[
                ("", f"the task's own ({task.queue})"),
                *((name, f"{name}: {q.purpose}") for name, q in QUEUES.items()),
            ],
            widget=UnfoldAdminSelectWidget,
        )
        self.fields["priority"] = forms.IntegerField(
            label="Priority",
            required=False,
            widget=UnfoldAdminIntegerFieldWidget(attrs={"min": 0, "max": 9}),
            help_text="0 to 9; 9 is taken first. Empty: the queue's own.",
        )
        self.fields["run_at"] = LocalTime(label="Run at", required=False, help_text=f"In {zone}. Empty: at once.")
        self.fields["unique_key"] = forms.CharField(
            label="Unique key",
            required=False,
            max_length=255,
            widget=UnfoldAdminTextInputWidget,
            help_text="While an unfinished job holds this key, another is not made. Empty: the task's own rule.",
        )
        self.fields.update(unique_fields())

    def _field(self, parameter: dict[str, Any]) -> forms.Field:
        """A field for one parameter, by its annotation; JSON for whatever is more elaborate."""
        name, kind = parameter["name"], self.kinds.get(parameter["name"])
        if kind in VARIADIC:
            wanted = list if kind is inspect.Parameter.VAR_POSITIONAL else dict
            return JsonText(
                wanted, label=name, help_text=f"Further arguments, a JSON {'list' if wanted is list else 'object'}."
            )
        type_name = str(parameter["type"])
        default = "" if parameter["required"] else f", {json.dumps(parameter['default'], default=str)} if left empty"
        common = {"label": name, "required": parameter["required"], "help_text": f"{type_name}{default}"}
        plain = type_name.removesuffix(" | None")
        if plain == "int":
            return forms.IntegerField(widget=UnfoldAdminIntegerFieldWidget, **common)
        if plain == "float":
            return forms.FloatField(widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}), **common)
        if plain == "str":
            return forms.CharField(widget=UnfoldAdminTextInputWidget, strip=False, **common)
        if plain == "bool":
            choices = [("", "choose" if parameter["required"] else "default"), ("true", "true"), ("false", "false")]
            return forms.ChoiceField(choices=choices, widget=UnfoldAdminSelectWidget, **common)
        common["help_text"] = f"JSON ({common['help_text']}). Text goes in double quotes."
        return AnyJson(widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "class": "sy-json"}), **common)

    def parameter_fields(self) -> list[forms.BoundField]:
        return [self[PREFIX + parameter["name"]] for parameter in self.task.parameters]

    def option_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in PLAIN_OPTIONS]

    def key_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in KEY_OPTIONS]

    def has_key_options(self) -> bool:
        return any(self[name].value() or self[name].errors for name in KEY_OPTIONS)

    def call(self) -> tuple[list[Any], dict[str, Any]]:
        """The typed arguments; a parameter left empty is left out, so that its default holds."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self.task.parameters:
            name, key = parameter["name"], PREFIX + parameter["name"]
            value, kind = self.cleaned_data.get(key), self.kinds.get(name)
            if kind is inspect.Parameter.VAR_POSITIONAL:
                args.extend(value or [])
            elif kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(value or {})
            elif not str(self.data.get(key, "")).strip() and not (parameter["required"] and value):
                continue
            else:
                value = value == "true" if isinstance(self.fields[key], forms.ChoiceField) else value
                kwargs[name] = value
        if args:  # what stands before *args can be passed by position alone
            before = [n for n, k in self.kinds.items() if k is inspect.Parameter.POSITIONAL_OR_KEYWORD and n in kwargs]
            args = [kwargs.pop(name) for name in before] + args
        return args, kwargs

    def blame(self, error: Exception) -> None:
        """Show a refusal at the field that it names."""
        text = str(error)
        for parameter in self.task.parameters:
            if f": {parameter['name']} must be" in text:
                return self.add_error(PREFIX + parameter["name"], text)
        if text.startswith("unknown queue"):
            return self.add_error("queue", text)
        field = next((name for name in OPTIONS if text.startswith(name)), None)
        return self.add_error(field, text)


def enqueue_page(model_admin: "BaseAdmin", request: HttpRequest) -> HttpResponse:
    name = request.POST.get("task") or request.GET.get("task") or ""
    task, error = None, ""
    if name:
        try:
            task = describe(name)
        except UnknownTask:
            error = f"There is no task {show.one_line(name)!r}."
    form = None
    if task is not None:
        form = EnqueueForm(task, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            sent = _send(request, form)
            if sent is not None:
                return sent
    return model_admin.page(
        request,
        "jobs/enqueue.html",
        title="Enqueue a job",
        tasks=list(registered_tasks()),
        task=task,
        form=form,
        error=error,
        back=model_admin.url_of("changelist"),
    )


def _send(request: HttpRequest, form: EnqueueForm) -> HttpResponse | None:
    """Enqueue what was typed. Returns None, with the form telling why, if it was refused."""
    args, kwargs = form.call()
    options = {name: form.cleaned_data[name] for name in OPTIONS if form.cleaned_data.get(name) not in (None, "")}
    try:
        sent = enqueue_job(actor_of(request), form.task.name, args, kwargs, **options)
    except (ArgumentsDoNotFit, JobRefused, UnknownTask) as exc:
        form.blame(exc)
        return None
    if sent.folded:
        messages.warning(
            request,
            format_html("No new job: this one holds the key {}, and {}.", sent.job.unique_key, folded_text(sent.job)),
        )
    else:
        messages.success(request, "1 job enqueued.")
    return HttpResponseRedirect(show.job_url(sent.job.pk))
