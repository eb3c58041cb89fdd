"""Reminders that fired, and the deliveries that carry them, with the job and the effect behind each."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.filters import CreatedFilter, FixedFilter, note
from jobs.admin.service_pages import Question, counted, line, link
from jobs.models import Effect
from reminders.admin.common import (
    PersonFilter,
    RemindersAdmin,
    TodoFilter,
    delivery_pill,
    page_url,
    reminder_pill,
    todo_of,
)
from reminders.admin.todo_page import explain_url
from reminders.models import ChannelKind, DeliveryState, Layout, Reminder, ReminderDelivery, ReminderState
from reminders.operators import access
from reminders.operators import reminders as operators
from reminders.operators.times import preferences_of
from reminders.services import channels, outbox, sent_words
from reminders.wording import kind_words

SEND = "reminders.send_reminder"
_SCAN = Question("Look for what is due now?", "A job does at once what the schedule does each minute.", "Scan now")
_RETRY = Question(
    "Send it again?",
    "A new job sends it: what surely never went as a new message, else the same bytes under the same Message-ID.",
    "Send again",
)


class ReminderStateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"
    values = ReminderState.values


class RecipientFilter(PersonFilter):
    title = "recipient"
    parameter_name = "recipient"


class FiredFilter(CreatedFilter):
    title = "fired"
    field = "fired_at"
    parameter_name = "fired_after"
    until_name = "fired_before"


@admin.register(Reminder)
class ReminderAdmin(RemindersAdmin):
    noun = "reminder"
    sidebar_icon = "alarm"
    list_display = ("state_cell", "task_cell", "recipient_cell", "what_cell", "fire_cell")
    list_display_links = None
    list_filter = (ReminderStateFilter, RecipientFilter, TodoFilter, FiredFilter)
    ordering = ("-id",)
    change_list_template = "reminders/admin/reminder_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Reminder]:
        return operators.reminders(actor_of(request)).order_by(*self.ordering)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if request.method == "GET":
            scan = operators.last_scan()
            at = scan.last_success_at if scan is not None else None
            note(
                request,
                f"The last scan succeeded on {at:%Y-%m-%d %H:%M:%S} UTC." if at else "No scan has succeeded yet.",
            )
        may_scan = request.user.has_perm(SEND)
        return super().changelist_view(request, {**(extra_context or {}), "may_scan": may_scan})

    @display(description="State")
    def state_cell(self, reminder: Reminder) -> SafeString:
        return reminder_pill(reminder)

    @display(description="Task")
    def task_cell(self, reminder: Reminder) -> SafeString:
        reason = format_html('<span class="sy-about" title="{0}">{0}</span>', line(reminder.reason, 90))
        return format_html(
            '<div class="sy-cell"><a class="sy-link" href="{}"><strong class="sy-break">{}</strong></a>{}</div>',
            page_url("reminder", reminder.pk),
            line(_title(reminder), 80),
            reason if reminder.reason else "",
        )

    @display(description="Recipient")
    def recipient_cell(self, reminder: Reminder) -> str:
        return reminder.recipient.get_username()

    @display(description="Rule")
    def what_cell(self, reminder: Reminder) -> str:
        return kind_words(reminder.kind, reminder.rule)

    @display(description="Time")
    def fire_cell(self, reminder: Reminder) -> SafeString | str:
        return show.ago(reminder.fire_at)

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("scan/", self.scan_view, "scan"), *super().get_urls()]

    @permission_required(SEND)
    def scan_view(self, request: HttpRequest) -> HttpResponse:
        back = self.url_of("changelist")
        if request.method != "POST":
            return self.ask(request, _SCAN, "reminders.send_due_soon", back)
        job_id = self.do(request, lambda: operators.scan_now(actor_of(request)))
        if job_id is not None:
            messages.success(request, format_html("Scanned by the job {}.", show.job_link(job_id)))
        return self.back_to(request, back)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        row = self.found(lambda number: operators.find_reminder(actor_of(request), number), object_id)
        if row is None:
            return self.missing(request, object_id)
        zone, name = preferences_of(row.recipient).time_zone, row.recipient.get_username()
        sent = [
            format_html(
                "{} {}",
                delivery_pill(one),
                link(page_url("reminderdelivery", one.pk), f"{one.channel.kind}, delivery {one.pk}"),
            )
            for one in outbox.deliveries_of([row.pk]).get(row.pk, [])
        ]
        facts: list[tuple[str, Any]] = [
            ("Task", todo_of(row)),
            ("Recipient", name),
            ("Rule", kind_words(row.kind, row.rule)),
            ("Time", f"{sent_words.both_clocks(row.fire_at, zone)}"),
            ("Found", show.exact(row.fired_at)),
            ("Late", "found more than an hour late" if row.late else ""),
            ("Held until", show.exact(row.held_until) if row.held_until else ""),
            ("Reason", line(row.reason, 400)),
            ("Superseded", show.exact(row.superseded_at) if row.superseded_at else ""),
            *(("Delivery", one) for one in sent),
        ]
        return self.page(
            request,
            "reminders/admin/row.html",
            title=f"Reminder {row.pk}",
            pill=reminder_pill(row),
            facts=[(label, value) for label, value in facts if value],
            buttons=[("Why did or didn't they get it?", explain_url(row.todo_id, name))],
        )


def _title(row: Reminder) -> str:
    return access.title_of(row) or f"task {row.todo_id}"


# --- Deliveries -------------------------------------------------------------------------------------------------------


class DeliveryStateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"
    values = DeliveryState.values


class LayoutFilter(FixedFilter):
    title = "layout"
    parameter_name = "layout"
    values = Layout.values


class ChannelKindFilter(FixedFilter):
    title = "channel"
    parameter_name = "kind"
    column = "channel__kind"
    values = ChannelKind.values

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(**{self.column: value})


@admin.register(ReminderDelivery)
class DeliveryAdmin(RemindersAdmin):
    noun = "delivery"
    sidebar_icon = "outgoing_mail"
    list_display = ("state_cell", "what_cell", "recipient_cell", "job_cell", "created_cell")
    list_display_links = None
    list_filter = (DeliveryStateFilter, ChannelKindFilter, LayoutFilter, RecipientFilter, CreatedFilter)
    ordering = ("-id",)
    actions = ("retry_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReminderDelivery]:
        return operators.deliveries(actor_of(request)).order_by(*self.ordering)

    @display(description="State")
    def state_cell(self, row: ReminderDelivery) -> SafeString:
        return delivery_pill(row)

    @display(description="What")
    def what_cell(self, row: ReminderDelivery) -> SafeString:
        titles = [_title(item.reminder) for item in row.items.all()]
        error = format_html('<span class="sy-error" title="{0}">{0}</span>', line(row.error, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            '<span class="sy-about">{}, by {}</span></a>{}</div>',
            page_url("reminderdelivery", row.pk),
            line(", ".join(titles[:3]) + (" …" if len(titles) > 3 else ""), 80) or "nothing",
            counted(len(titles), "reminder"),
            row.channel.kind,
            error if row.error else "",
        )

    @display(description="Recipient")
    def recipient_cell(self, row: ReminderDelivery) -> str:
        return row.recipient.get_username()

    @display(description="Job")
    def job_cell(self, row: ReminderDelivery) -> SafeString | str:
        return show.job_link(row.job_id) if row.job_id else show.DASH

    @display(description="Written")
    def created_cell(self, row: ReminderDelivery) -> SafeString | str:
        return show.ago(row.created_at)

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(SEND)

    @admin.action(description="Send again", permissions=["send"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[ReminderDelivery]) -> None:
        sent, skipped = 0, []
        for delivery_id in self.ticked(request):
            try:
                channels.retry_delivery(actor_of(request), delivery_id)
            except self.refusals as exc:
                skipped.append(str(exc))
            else:
                sent += 1
        self.tell(request, f"{counted(sent, 'delivery', 'deliveries')} sent again", skipped)

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("<int:delivery_id>/retry/", self.retry_view, "retry"), *super().get_urls()]

    @permission_required(SEND)
    def retry_view(self, request: HttpRequest, delivery_id: int) -> HttpResponse:
        row = self.found(lambda number: operators.find_delivery(actor_of(request), number), delivery_id)
        if row is None:
            return self.missing(request, delivery_id)
        back = page_url("reminderdelivery", row.pk)
        if request.method != "POST":
            return self.ask(request, _RETRY, f"Delivery {row.pk} to {row.recipient}", back)
        if self.do(request, lambda: channels.retry_delivery(actor_of(request), row.pk)) is not None:
            messages.success(request, "It is sent again.")
        return self.back_to(request, back)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        row = self.found(lambda number: operators.find_delivery(actor_of(request), number), object_id)
        if row is None:
            return self.missing(request, object_id)
        may_retry = row.state in (DeliveryState.FAILED, DeliveryState.UNCERTAIN) and self.has_send_permission(request)
        return self.page(
            request,
            "reminders/admin/row.html",
            title=f"Delivery {row.pk}",
            pill=delivery_pill(row),
            error=line(row.error, 1000),
            facts=_facts(request, row),
            buttons=[("Send again", page_url("reminderdelivery", row.pk, "retry"))] if may_retry else [],
        )


def _facts(request: HttpRequest, row: ReminderDelivery) -> list[tuple[str, Any]]:
    effect = Effect.objects.filter(key=f"reminder:{row.pk}").only("pk", "state").first()
    shown: Any = ""
    if effect is not None:
        shown = effect.state
        if request.user.has_perm("jobs.view_effect"):
            shown = link(reverse("admin:jobs_effect_change", args=[effect.pk]), effect.state)
    items = [
        format_html(
            "{} ({})",
            link(page_url("reminder", item.reminder_id), line(_title(item.reminder), 80)),
            item.reminder.kind,
        )
        for item in list(row.items.all())[:50]
    ]
    facts: list[tuple[str, Any]] = [
        ("Recipient", row.recipient.get_username()),
        ("By", link(page_url("channel", row.channel_id), str(row.channel.kind))),
        ("Layout", row.layout),
        *(("Reminder", item) for item in items),
        ("Message-ID", format_html("<code>{}</code>", row.message_id) if row.message_id else ""),
        ("Tries", str(row.attempts)),
        ("Job", show.job_link(row.job_id) if row.job_id else ""),
        ("Effect", shown),
        ("Written", show.exact(row.created_at)),
        ("Sent", show.exact(row.sent_at) if row.sent_at else ""),
    ]
    return [(label, value) for label, value in facts if value]
