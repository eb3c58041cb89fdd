"""What an operator can do to one job: a question on GET, the deed on POST, an answer that says what changed."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextareaWidget

from jobs import strict_json
from jobs.admin import show
from jobs.admin.base import actor_of
from jobs.ledger.errors import JobRefused
from jobs.models import Job, State
from jobs.operators.jobs import JobNotChanged, cancel_job, discard_job, each, retry_job
from jobs.registry import ArgumentsDoNotFit, UnknownTask

if TYPE_CHECKING:
    from jobs.admin.base import BaseAdmin


@dataclass(frozen=True)
class JobAction:
    """states: those in which a button for it makes sense; the service decides."""

    name: str
    label: str
    done: str
    permission: str
    service: Callable[..., Job]
    states: frozenset[str]
    explanation: str
    takes_reason: bool = False
    takes_force: bool = False

    def options(self, posted: QueryDict) -> dict[str, Any]:
        """What the form says beside yes."""
        options: dict[str, Any] = {}
        if self.takes_reason:
            options["reason"] = posted.get("reason", "")
        if self.takes_force:
            options["force"] = "force" in posted
        return options


ACTIONS: dict[str, JobAction] = {
    action.name: action
    for action in (
        JobAction(
            "retry",
            "Retry",
            "retried",
            "jobs.retry_job",
            retry_job,
            frozenset({State.FAILED, State.CANCELLED}),
            "Failed and cancelled jobs are queued again, with the same arguments and a full set of attempts. "
            "Their history stays.",
        ),
        JobAction(
            "cancel",
            "Cancel",
            "cancelled or asked to stop",
            "jobs.cancel_job",
            cancel_job,
            frozenset({State.SCHEDULED, State.QUEUED, State.RUNNING}),
            "Waiting jobs are cancelled at once. Running jobs are asked to stop, which they do at their next "
            "progress report; one that does not is stopped by its soft limit, and then by killing its process.",
            takes_force=True,
        ),
        JobAction(
            "discard",
            "Discard",
            "discarded",
            "jobs.discard_job",
            discard_job,
            frozenset({State.SCHEDULED, State.QUEUED, State.FAILED, State.CANCELLED}),
            "Waiting, failed and cancelled jobs are put away for good: a discarded job cannot be retried.",
            takes_reason=True,
        ),
    )
}


def offered(request: HttpRequest, job: Job) -> list[dict[str, str]]:
    """The buttons on a job's page: what its state and the user's permissions allow."""
    buttons = []
    for action in ACTIONS.values():
        if job.state in action.states and request.user.has_perm(action.permission):
            buttons.append({"name": action.name, "label": action.label})
            if action.name == "retry" and request.user.has_perm("jobs.edit_job_arguments"):
                buttons.append({"name": "edit", "label": "Retry with edited arguments"})
    return buttons


def single_page(model_admin: "BaseAdmin", request: HttpRequest, object_id: str, action: JobAction) -> HttpResponse:
    job = model_admin.object_or_none(request, object_id)
    if job is None:
        return model_admin.to_list(request, f"There is no job {object_id!r}; it may have been pruned.")
    if request.method != "POST":
        return model_admin.page(
            request,
            "jobs/confirm.html",
            title=f"{action.label} this job?",
            action=action,
            jobs=[job],
            ids=[],
            back=show.job_url(job.pk),
        )
    tally = each(action.service, actor_of(request), [job.pk], **action.options(request.POST))
    messages.add_message(
        request, messages.SUCCESS if tally.changed else messages.WARNING, f"{tally.sentence(action.done)}."
    )
    # Who may act on a job need not be allowed to see it.
    return HttpResponseRedirect(
        show.job_url(job.pk) if model_admin.has_view_permission(request) else reverse("admin:index")
    )


class JsonText(forms.CharField):
    """JSON of one kind, as typed. The value stays text until it is asked for, so that a mistake keeps the input."""

    def __init__(self, kind: type, rows: int = 3, **options: Any) -> None:
        self.kind = kind
        widget = UnfoldAdminTextareaWidget(attrs={"rows": rows, "class": "sy-json", "spellcheck": "false"})
        super().__init__(widget=widget, required=False, **options)

    def clean(self, value: Any) -> Any:
        text = super().clean(value) or ("[]" if self.kind is list else "{}")
        try:
            parsed = strict_json.loads(text)
        except strict_json.NotJson as exc:
            raise forms.ValidationError(f"This is not JSON: {exc}.") from None
        if not isinstance(parsed, self.kind):
            wanted = 'a list, such as [1, "two"]' if self.kind is list else 'an object, such as {"name": 1}'
            raise forms.ValidationError(f"Expected {wanted}, not {type(parsed).__name__}.")
        return parsed


class ArgumentsForm(forms.Form):
    args = JsonText(list, rows=8, label="Positional arguments", help_text="A JSON list.")
    kwargs = JsonText(dict, rows=8, label="Named arguments", help_text="A JSON object.")


def edit_page(model_admin: "BaseAdmin", request: HttpRequest, object_id: str) -> HttpResponse:
    """Retry with other arguments."""
    actor = actor_of(request)
    actor.require("jobs.retry_job")
    job = model_admin.object_or_none(request, object_id)
    if job is None:
        return model_admin.to_list(request, f"There is no job {object_id!r}; it may have been pruned.")
    if request.method != "POST":
        form = ArgumentsForm(
            initial={name: json.dumps(getattr(job, name), indent=2, ensure_ascii=False) for name in ("args", "kwargs")}
        )
    else:
        form = ArgumentsForm(request.POST)
        if form.is_valid():
            try:
                retry_job(actor, job.pk, args=form.cleaned_data["args"], kwargs=form.cleaned_data["kwargs"])
            except (ArgumentsDoNotFit, UnknownTask, JobRefused) as exc:
                form.add_error(None, str(exc))
            except JobNotChanged as exc:
                messages.warning(request, f"0 jobs retried: {exc}.")
                return HttpResponseRedirect(show.job_url(job.pk))
            else:
                messages.success(request, "1 job retried with edited arguments.")
                return HttpResponseRedirect(show.job_url(job.pk))
    return model_admin.page(
        request, "jobs/edit.html", title="Retry with edited arguments", form=form, job=job, back=show.job_url(job.pk)
    )
