"""Alerts: their states, whom they tell, and what became of that."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required
from jobs.edit_forms import EditForm, list_after
from jobs.lanes import QUEUES
from jobs.models import Alert, AlertEvent, AlertEventKind, AlertKind, DeliveryState
from jobs.operators import alerts as operators
from jobs.registry import registered_tasks
from jobs.watch.alerts import seconds_text
from jobs.watch.channels import shown_url

PILLS = {"firing": "bad", "pending": "queued", "ok": "good", "disabled": "quiet"}
EVENT_PILLS = {
    AlertEventKind.FIRED: "bad",
    AlertEventKind.RECOVERED: "good",
    AlertEventKind.CLOSED: "quiet",
    AlertEventKind.TESTED: "running",
}
DELIVERY_PILLS = {DeliveryState.WAITING: "queued", DeliveryState.SENT: "good", DeliveryState.FAILED: "bad"}


def _number(label: str, name: str, help_text: str) -> forms.IntegerField:
    least, most = operators.NUMBERS[name]
    return forms.IntegerField(
        label=label, min_value=least, max_value=most, widget=UnfoldAdminIntegerFieldWidget, help_text=help_text
    )


class AlertForm(EditForm):
    name = forms.CharField(label="Name", max_length=100, widget=UnfoldAdminTextInputWidget)
    kind = forms.ChoiceField(label="Watches", choices=AlertKind.choices, widget=UnfoldAdminSelectWidget)
    queue = forms.ChoiceField(
        label="Queue",
        required=False,
        choices=[("", "all queues"), *((name, name) for name in QUEUES)],
        widget=UnfoldAdminSelectWidget,
    )
    task = forms.ChoiceField(
        label="Task",
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="Of failed jobs, or whose last success is watched.",
    )
    threshold = _number("Threshold", "threshold", "Reached at this many jobs, or seconds.")
    window_seconds = _number("Window, in seconds", "window_seconds", "How far back failed jobs count.")
    for_seconds = _number("For, in seconds", "for_seconds", "How long it must be reached before the alert fires.")
    cooldown_seconds = _number("Cool-down, in seconds", "cooldown_seconds", "The alert fires again no sooner.")
    mail_to = forms.CharField(
        label="Mail to",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Addresses, with commas or line ends between.",
    )
    webhook_url = forms.CharField(
        label="Webhook",
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    no_webhook = forms.BooleanField(label="Take the webhook away", required=False, widget=UnfoldBooleanSwitchWidget)
    enabled = forms.BooleanField(label="Enabled", required=False, widget=UnfoldBooleanSwitchWidget)

    def __init__(self, alert: Alert, data: Any) -> None:
        self.alert = alert
        values = {name: getattr(alert, name) for name in operators.FIELDS if name != "webhook_url"}
        super().__init__(data, initial=values | {"mail_to": "\n".join(alert.mail_to)})
        names = [task.name for task in registered_tasks()]
        if alert.task and alert.task not in names:
            names.append(alert.task)
        task: Any = self.fields["task"]
        task.choices = [("", "all tasks"), *((name, name) for name in names)]
        if alert.webhook_url:
            self.fields["webhook_url"].help_text = f"Now {shown_url(alert.webhook_url)} Leave it empty to keep it."
        else:
            self.fields["webhook_url"].help_text = "An https URL; messages are signed as in Standard Webhooks."
            del self.fields["no_webhook"]

    def values(self) -> dict[str, Any]:
        """What the service takes: of a new alert all, else what was changed in the form."""
        given, is_new = dict(self.cleaned_data), self.alert._state.adding
        url, is_taken_away = given.pop("webhook_url"), given.pop("no_webhook", False)
        shown, wanted = _addresses(str(self.shown_before["mail_to"])), _addresses(given["mail_to"])
        given["mail_to"] = wanted if is_new else list_after(self.alert.mail_to, shown, wanted)
        given = {name: value for name, value in given.items() if is_new or name in self.changed_data}
        if url or is_taken_away:
            given["webhook_url"] = "" if is_taken_away else url.strip()
        return given


def _addresses(text: str) -> list[str]:
    return text.replace(",", " ").replace(";", " ").split()


def alert_pill(alert: Alert) -> SafeString:
    return show.pill(alert.state, PILLS[alert.state])


def alert_url(alert: Alert) -> str:
    return reverse("admin:jobs_alert_change", args=[alert.pk])


def value_text(alert: Alert) -> str:
    """As last measured, against its threshold."""
    if alert.kind in (AlertKind.OLDEST, AlertKind.AGE):
        return f"{'–' if alert.value is None else seconds_text(alert.value)} of {seconds_text(alert.threshold)}"
    return f"{'–' if alert.value is None else f'{alert.value:,.0f}'} of {alert.threshold:,}"


def firing_alerts() -> list[dict[str, Any]]:
    """What the control room shows of those that fire."""
    now = timezone.now()
    return [
        {
            "alert": alert,
            "url": alert_url(alert),
            "text": _watched(alert),
            "since": show.duration_text(now - (alert.firing_since or now)),
        }
        for alert in operators.firing()
    ]


def _watched(alert: Alert) -> str:
    parts = [AlertKind(alert.kind).label, alert.queue and f"queue {alert.queue}", alert.task]
    return f"{', '.join(part for part in parts if part)}: {value_text(alert)}"


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("state_cell", "name_cell", "value_cell", "told_cell", "looked_cell")
    list_display_links = None
    list_filter_submit = False
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return operators.with_failures(operators.alerts())

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.add_alert")

    # --- cells ---

    @display(description="State")
    def state_cell(self, alert: Alert) -> SafeString:
        return alert_pill(alert)

    @display(description="Alert")
    def name_cell(self, alert: Alert) -> SafeString:
        parts = [AlertKind(alert.kind).label, alert.queue and f"queue {alert.queue}", alert.task]
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            '<span class="sy-about">{}</span></a>',
            alert_url(alert),
            show.one_line(alert.name, 60),
            ", ".join(part for part in parts if part),
        )

    @display(description="Value")
    def value_cell(self, alert: Alert) -> str:
        return value_text(alert)

    @display(description="Tells")
    def told_cell(self, alert: Alert) -> SafeString | str:
        told = [*alert.mail_to[:2], *(["…"] if len(alert.mail_to) > 2 else []), shown_url(alert.webhook_url)]
        text = ", ".join(part for part in told if part)
        warning = show.pill("failing", "bad") if getattr(alert, "failures", 0) else ""
        return format_html('<span class="sy-break">{}</span> {}', text or "nobody", warning)

    @display(description="Looked at")
    def looked_cell(self, alert: Alert) -> SafeString | str:
        return show.ago(alert.looked_at)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("<int:alert_id>/edit/", self.edit_view, "edit"),
            self.own_path("<int:alert_id>/do/", self.do_view, "do"),
            self.own_path("<int:alert_id>/remove/", self.remove_view, "remove"),
        ]
        return [*own, *super().get_urls()]

    @permission_required("jobs.add_alert")
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return self._form(request, Alert(), "New alert", self.url_of("changelist"))

    @permission_required("jobs.change_alert")
    def edit_view(self, request: HttpRequest, alert_id: int) -> HttpResponse:
        alert = self._find(alert_id)
        if alert is None:
            return self.to_list(request, f"There is no alert {alert_id}.")
        return self._form(request, alert, f"Edit {show.one_line(alert.name, 60)}", alert_url(alert))

    def _form(self, request: HttpRequest, alert: Alert, title: str, back: str) -> HttpResponse:
        form = AlertForm(alert, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                saved = _save(request, alert, form)
            except operators.AlertRefused as exc:
                form.add_error(exc.field if exc.field in form.fields else None, str(exc))
            else:
                messages.success(request, f"{saved.name} is saved.")
                may_view = self.has_view_permission(request)
                return HttpResponseRedirect(alert_url(saved) if may_view else reverse("admin:index"))
        return self.page(request, "jobs/alert_form.html", title=title, form=form, back=back)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """An alert's page."""
        self.require_view(request)
        return self._page(request, object_id)

    def _page(self, request: HttpRequest, object_id: str | int, **more: Any) -> HttpResponse:
        alert = self._find(object_id)
        if alert is None:
            return self.to_list(request, f"There is no alert {str(object_id)[:60]!r}.")
        return self.page(
            request,
            "jobs/alert.html",
            title=show.one_line(alert.name, 80),
            alert=alert,
            pill=alert_pill(alert),
            facts=_facts(alert),
            events=[_event(event) for event in operators.newest_events(alert)],
            may_change=request.user.has_perm("jobs.change_alert"),
            may_delete=request.user.has_perm("jobs.delete_alert"),
            edit_url=self.url_of("edit", alert.pk),
            do_url=self.url_of("do", alert.pk),
            remove_url=self.url_of("remove", alert.pk),
            **more,
        )

    @permission_required("jobs.change_alert")
    def do_view(self, request: HttpRequest, alert_id: int) -> HttpResponse:
        """Test, switch, or show the secret; on POST alone."""
        alert, action = self._find(alert_id), request.POST.get("action", "")
        if request.method != "POST" or alert is None:
            return self.to_list(request, "" if alert else f"There is no alert {alert_id}.")
        actor = actor_of(request)
        if action in ("secret", "rotate"):
            secret = operators.webhook_secret(actor, alert.pk, rotate=action == "rotate")
            response = self._page(request, alert.pk, secret=secret)
            response["Cache-Control"] = "no-store"
            return response
        try:
            if action == "test":
                operators.try_alert(actor, alert.pk)
                messages.success(request, "A test is being sent; what became of it stands below in a few seconds.")
            elif action in ("enable", "disable"):
                operators.enable_alert(actor, alert.pk, action == "enable")
                messages.success(request, f"{alert.name} is {action}d.")
        except operators.AlertRefused as exc:
            messages.error(request, f"{exc}.")
        return HttpResponseRedirect(alert_url(alert))

    @permission_required("jobs.delete_alert")
    def remove_view(self, request: HttpRequest, alert_id: int) -> HttpResponse:
        """Ask first; delete when the answer comes back."""
        alert = self._find(alert_id)
        if alert is None:
            return self.to_list(request, f"There is no alert {alert_id}.")
        if request.method != "POST":
            return self.page(
                request, "jobs/alert_remove.html", title="Delete this alert?", alert=alert, back=alert_url(alert)
            )
        operators.delete_alert(actor_of(request), alert.pk)
        messages.success(request, f"{alert.name} is deleted.")
        return HttpResponseRedirect(self.url_of("changelist"))

    def _find(self, alert_id: int | str) -> Alert | None:
        try:
            return operators.find_alert(int(str(alert_id)[:25]))
        except (ValueError, Alert.DoesNotExist):
            return None


def _save(request: HttpRequest, alert: Alert, form: AlertForm) -> Alert:
    if alert._state.adding:
        return operators.create_alert(actor_of(request), form.values())
    return operators.change_alert(actor_of(request), alert.pk, form.values())


def _facts(alert: Alert) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [
        ("Watches", AlertKind(alert.kind).label),
        ("Queue", alert.queue or "all queues"),
        ("Value", value_text(alert)),
        ("Looked at", show.ago(alert.looked_at)),
        ("Fires", f"after {seconds_text(alert.for_seconds)}" if alert.for_seconds else "at once"),
        ("Cool-down", seconds_text(alert.cooldown_seconds)),
        ("Fired last", show.ago(alert.fired_at)),
        ("Mail to", ", ".join(alert.mail_to) or show.DASH),
        ("Webhook", shown_url(alert.webhook_url) or show.DASH),
    ]
    if alert.kind == AlertKind.FAILED:
        facts[2:2] = [("Task", alert.task or "all tasks"), ("Window", seconds_text(alert.window_seconds))]
    if alert.kind == AlertKind.AGE:
        facts[1] = ("Task", alert.task)
    if alert.changed_by:
        facts.append(("Changed", format_html("{} by {}", show.ago(alert.changed_at), alert.changed_by)))
    return facts


def _event(event: AlertEvent) -> dict[str, Any]:
    kind = AlertEventKind(event.kind)
    return {
        "event": event,
        "pill": show.pill(kind.value, EVENT_PILLS[kind]),
        "ago": show.ago(event.at),
        "deliveries": [
            {
                "delivery": delivery,
                "pill": show.pill(
                    f"{delivery.channel} {delivery.state}", DELIVERY_PILLS[DeliveryState(delivery.state)]
                ),
                "tries": f"{delivery.attempts} tries" if delivery.attempts > 1 else "",
            }
            for delivery in event.deliveries.all()
        ],
    }
