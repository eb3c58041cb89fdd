"""The part of the enqueue form that says what a unique key means."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget, UnfoldBooleanSwitchWidget

from jobs.models import Job, State
from jobs.unique_options import MOST_SECONDS, QUEUED, UNFINISHED


def unique_fields() -> dict[str, forms.Field]:
    """A field for each of `jobs.unique_options.NAMES`; empty ones leave it to the task."""
    return {
        "unique_while": forms.ChoiceField(
            label="The key is held",
            required=False,
            choices=[
                ("", "as the task says"),
                (UNFINISHED, "until the job has finished"),
                (QUEUED, "until its run begins: one more may wait meanwhile"),
            ],
            widget=UnfoldAdminSelectWidget,
        ),
        "unique_for_seconds": _seconds("Held for, in seconds", "After it was enqueued, also when it has succeeded."),
        "debounce_seconds": _seconds(
            "Debounce, in seconds",
            "It waits so long; a newer one of the key brings new arguments and starts that anew.",
        ),
        "debounce_max_seconds": _seconds("Debounced at most, in seconds", "Empty: ten times as long."),
        "supersede": forms.BooleanField(
            label="Supersede",
            required=False,
            widget=UnfoldBooleanSwitchWidget,
            help_text="Discard a waiting job of the key and the same task, and ask a running one to stop.",
        ),
    }


def _seconds(label: str, help_text: str) -> forms.FloatField:
    return forms.FloatField(
        label=label,
        required=False,
        max_value=MOST_SECONDS,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"min": 0, "step": "any"}),
        help_text=help_text,
    )


def folded_text(job: Job) -> str:
    """Why no new job was made, for the person who asked for one."""
    if job.state == State.SUCCEEDED:
        return "it has succeeded, and holds the key for a while yet"
    if job.debounce_by is not None and job.state != State.RUNNING:
        return "it waits, and has taken the new arguments if it is of the same task"
    return "it is not finished"


def key_text(job: Job) -> Any:
    """A job's key as its page tells it."""
    if not job.unique_key or not job.key_released:
        return job.unique_key or ""
    return f"{job.unique_key} (given up: another job may have it)"
