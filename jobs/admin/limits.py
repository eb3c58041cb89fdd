"""Queues with their limits and pauses; a page for each queue, task, and everything."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.http import urlencode
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required
from jobs.edit_forms import EditForm
from jobs.models import Limit, Scope
from jobs.operators import limits as operators
from jobs.operators.queues import QueueState, queue_states
from jobs.registry import registered_tasks

PERIODS = [(1, "a second"), (60, "a minute"), (3600, "an hour"), (86_400, "a day")]
PAUSES = [("", "until resumed"), ("5m", "for 5 minutes"), ("30m", "for 30 minutes"), ("2h", "for 2 hours")]
PAUSES += [("12h", "for 12 hours"), ("1d", "for a day")]


class LimitsForm(EditForm):
    concurrency = forms.IntegerField(
        label="Running at once",
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Over all workers. Empty: no limit.",
    )
    key_concurrency = forms.IntegerField(
        label="Running at once of a key",
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Of one limit key, such as a repository. Jobs without a key are not limited by it.",
    )
    rate = forms.IntegerField(
        label="Started in a period", required=False, widget=UnfoldAdminIntegerFieldWidget, help_text="Empty: no limit."
    )
    rate_seconds = forms.TypedChoiceField(label="Period", coerce=int, choices=PERIODS, widget=UnfoldAdminSelectWidget)

    def __init__(self, state: operators.LimitState, data: Any) -> None:
        super().__init__(data, initial=vars(state) | {"rate_seconds": state.rate_seconds or 60})
        if state.rate_seconds is not None and state.rate_seconds not in dict(PERIODS):
            period: Any = self.fields["rate_seconds"]
            period.choices = [*PERIODS, (state.rate_seconds, f"{state.rate_seconds:,} s")]

    def changed(self) -> dict[str, Any]:
        """What was changed in the form; a rate and its period are one."""
        names = set(self.changed_data)
        names |= {"rate", "rate_seconds"} if names & {"rate", "rate_seconds"} else set()
        return {name: value for name, value in self.cleaned_data.items() if name in names}


class PauseForm(forms.Form):
    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=operators.MAX_REASON,
        widget=UnfoldAdminTextInputWidget,
        help_text="Shown to all, and kept in the audit log.",
    )
    length = forms.ChoiceField(label="How long", required=False, choices=PAUSES, widget=UnfoldAdminSelectWidget)


def scope_url(scope: str, name: str = "") -> str:
    return f"{reverse('admin:jobs_limit_scope')}?{urlencode({'scope': scope, 'name': name})}"


@admin.register(Limit)
class LimitAdmin(ReadOnlyAdmin):
    """The list is of all queues, whether limited or not."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("jobs.view_job")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("scope/", self.scope_view, "scope"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        queues = {queue.name: queue for queue in queue_states()}
        rows = [_row(state, queues.get(state.name)) for state in operators.limit_states()]
        return self.page(
            request,
            "jobs/limits.html",
            title="Queues and limits",
            queues=[row for row in rows if row["scope"] != Scope.TASK],
            tasks=[row for row in rows if row["scope"] == Scope.TASK],
            choices=[task.name for task in registered_tasks()],
            task_url=reverse("admin:jobs_limit_scope"),
        )

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        self.require_view(request)
        return self.to_list(request)

    @permission_required("jobs.view_job")
    def scope_view(self, request: HttpRequest) -> HttpResponse:
        """One queue, one task, or everything: what holds it back, and what a person can do about that."""
        scope, name = request.GET.get("scope", ""), request.GET.get("name", "")
        if scope == Scope.EVERYTHING:
            name = ""
        try:
            if scope not in Scope.values:
                raise operators.UnknownScope(f"{scope[:40]!r} is none of {', '.join(Scope.values)}")
            state = operators.find_limit(scope, name)
        except operators.UnknownScope as exc:
            return self.to_list(request, f"{exc}.")
        asked = request.POST.get("action") if request.method == "POST" else None
        limits_form = LimitsForm(state, request.POST if asked == "limits" else None)
        pause_form = PauseForm(request.POST if asked == "pause" else None)
        if asked is not None and _do(request, asked, state, limits_form, pause_form):
            return HttpResponseRedirect(scope_url(scope, name))
        return self.page(
            request,
            "jobs/limit.html",
            title=state.title[:1].upper() + state.title[1:],
            row=_row(state, next((queue for queue in queue_states() if queue.name == name), None)),
            limits_form=limits_form,
            pause_form=pause_form,
            may_pause=request.user.has_perm("jobs.pause_queue"),
            may_limit=request.user.has_perm("jobs.manage_limits"),
            form=limits_form,
            back=self.url_of("changelist"),
        )


def _do(
    request: HttpRequest, action: str, state: operators.LimitState, limits_form: LimitsForm, pause_form: PauseForm
) -> bool:
    """Do what was asked for. Returns False, with the form's errors, if it cannot be done so."""
    actor, scope, name = actor_of(request), state.scope, state.name
    form: forms.Form = pause_form if action == "pause" else limits_form
    if action in ("pause", "limits") and not form.is_valid():
        return False
    try:
        if action == "pause":
            length = form.cleaned_data["length"]
            seconds = operators.parse_duration(length) if length else None
            operators.pause(actor, scope, name, reason=form.cleaned_data["reason"], for_seconds=seconds)
            messages.success(request, f"{state.title} is paused; what runs goes on.")
        elif action == "resume":
            operators.resume(actor, scope, name)
            messages.success(request, f"{state.title} is resumed.")
        elif action == "limits":
            changed = operators.set_limits(actor, scope, name, limits_form.changed())
            messages.success(request, f"{state.title}: {changed.text or 'no limits'}.")
    except operators.LimitRefused as exc:
        field = str(exc).partition(" ")[0]
        form.add_error(field if field in form.fields else None, str(exc))
        return False
    return True


def _row(state: operators.LimitState, queue: QueueState | None) -> dict[str, Any]:
    oldest = queue.oldest_waiting_seconds if queue is not None and state.scope == Scope.QUEUE else None
    return {
        "scope": state.scope,
        "state": state,
        "title": "Everything" if state.scope == Scope.EVERYTHING else state.name,
        "url": scope_url(state.scope, state.name),
        "queue": queue if state.scope == Scope.QUEUE else None,
        "oldest": show.DASH if oldest is None else show.duration_text(timedelta(seconds=oldest)),
        "pill": show.pill("paused", "bad") if state.paused else "",
        "changed": show.ago(state.changed_at) if state.changed_by else "",
    }
