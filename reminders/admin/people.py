"""Suppressed addresses and preferences of people."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.service_pages import Question, line, link
from jobs.operators.settings import SettingsRefused
from reminders.admin.common import Entry, RemindersAdmin, TextForm, UserFilter, page_url, todo_link
from reminders.models import Preferences, Suppression
from reminders.operators import people
from reminders.operators import reminders as operators
from reminders.operators.times import clock_text
from reminders.services import channels

_LIFT = Question("Mail this address again?", "If it still refuses, it is suppressed again.", "Mail it again")


@admin.register(Suppression)
class SuppressionAdmin(RemindersAdmin):
    noun = "suppressed address"
    sidebar_icon = "unsubscribe"
    list_display = ("address", "reason_cell", "created_cell", "lift_cell")
    list_display_links = None
    ordering = ("-created_at", "-id")
    search_fields = ("address",)
    search_help_text = "The beginning of an address"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Suppression]:
        return operators.suppressions(actor_of(request)).order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Suppression], search_term: str
    ) -> tuple[QuerySet[Suppression], bool]:
        return operators.suppressions(actor_of(request), search=search_term).order_by(*self.ordering), False

    @display(description="Answer")
    def reason_cell(self, row: Suppression) -> str:
        return line(row.reason, 120)

    @display(description="Since")
    def created_cell(self, row: Suppression) -> SafeString | str:
        return show.ago(row.created_at)

    @display(description="")
    def lift_cell(self, row: Suppression) -> SafeString:
        return link(page_url("suppression", row.pk, "lift"), "Mail it again")

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("<int:suppression_id>/lift/", self.lift_view, "lift"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        return self.to_list(request)

    @permission_required("reminders.delete_suppression")
    def lift_view(self, request: HttpRequest, suppression_id: int) -> HttpResponse:
        row = self.found(lambda number: operators.suppressions(actor_of(request)).get(pk=number), suppression_id)
        if row is None:
            return self.missing(request, suppression_id)
        back = self.url_of("changelist")
        if request.method != "POST":
            return self.ask(request, _LIFT, row.address, back)
        if self.do(request, lambda: channels.lift_suppression(actor_of(request), row.pk)) is not None:
            messages.success(request, f"{row.address} is mailed again.")
        return self.back_to(request, back)


_FIELDS = {
    "Clock": {
        "time_zone": Entry("Time zone", "Such as Europe/Berlin."),
        "anchor_time": Entry("Hour for days", "When they are reminded of what is due on a day, at no time of it."),
    },
    "Quiet": {
        "quiet_from": Entry("Quiet from", "Such as 22:00; empty: never quiet."),
        "quiet_until": Entry("Quiet until", "Such as 07:00."),
        "urgent_bypasses_quiet": Entry("Urgent tasks pass", "", "switch"),
        "paused_until": Entry("Paused until", "P7D, a day, or a time; empty: not paused."),
    },
    "Digest": {"digest_from": Entry("Digest from", "So many within ten minutes become one; 0: never.")},
}


@admin.register(Preferences)
class PreferencesAdmin(RemindersAdmin):
    noun = "preferences"
    sidebar_icon = "manage_accounts"
    list_display = ("user_cell", "time_zone", "anchor_cell", "quiet_cell", "paused_cell")
    list_display_links = None
    list_filter = (UserFilter,)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Preferences]:
        return Preferences.objects.select_related("user").order_by(*self.ordering)

    @display(description="User")
    def user_cell(self, row: Preferences) -> SafeString:
        return link(page_url("preferences", row.pk), row.user.get_username())

    @display(description="Hour for days")
    def anchor_cell(self, row: Preferences) -> str:
        return clock_text(row.anchor_time)

    @display(description="Quiet")
    def quiet_cell(self, row: Preferences) -> str:
        return (
            f"{clock_text(row.quiet_from)} to {clock_text(row.quiet_until)}"
            if row.quiet_from and row.quiet_until
            else show.DASH
        )

    @display(description="Paused until")
    def paused_cell(self, row: Preferences) -> SafeString | str:
        return show.ago(row.paused_until)

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("<int:preferences_id>/edit/", self.edit_view, "edit"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Somebody's clock and hours, and what comes to them next."""
        self.require_view(request)
        row = self.found(lambda number: self.get_queryset(request).get(pk=number), object_id)
        if row is None:
            return self.missing(request, object_id)
        name = row.user.get_username()
        facts = [
            ("Time zone", row.time_zone),
            ("Hour for days", clock_text(row.anchor_time)),
            ("Quiet", self.quiet_cell(row)),
            ("Urgent tasks pass", "yes" if row.urgent_bypasses_quiet else "no"),
            ("Digest from", str(row.digest_from) if row.digest_from else "never"),
            ("Paused until", show.exact(row.paused_until)),
        ]
        sees_plan = request.user.has_perms(["reminders.view_todo", "reminders.view_preferences"])
        ahead = people.upcoming(actor_of(request), name, 20) if sees_plan else []
        may_change = request.user.has_perm("reminders.change_preferences")
        buttons = [("Edit", page_url("preferences", row.pk, "edit"))] if may_change else []
        return self.page(
            request,
            "reminders/admin/row.html",
            title=f"Preferences of {name}",
            facts=facts,
            buttons=[*buttons, *_elsewhere(request, name)],
            ahead=[(one.local, todo_link(one.planned.todo), one.what, one.why) for one in ahead],
            shows_ahead=sees_plan,
        )

    @permission_required("reminders.change_preferences")
    def edit_view(self, request: HttpRequest, preferences_id: int) -> HttpResponse:
        row = self.found(lambda number: self.get_queryset(request).get(pk=number), preferences_id)
        if row is None:
            return self.missing(request, preferences_id)
        clocks = {name: getattr(row, name) for name in ("anchor_time", "quiet_from", "quiet_until")}
        stored = {name: getattr(row, name) for fields in _FIELDS.values() for name in fields}
        stored |= {name: clock_text(value) if value else "" for name, value in clocks.items()}
        stored["paused_until"] = row.paused_until.isoformat(timespec="minutes") if row.paused_until else ""
        form = TextForm(_FIELDS, stored, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            given = form.given()
            if isinstance(given.get("digest_from"), str) and given["digest_from"].isdecimal():
                given["digest_from"] = int(given["digest_from"][:9])
            try:
                people.change_preferences(actor_of(request), given, row.user.get_username())
            except SettingsRefused as exc:
                form.refuse(exc)
            else:
                messages.success(
                    request, "They are saved; the tasks are planned anew." if given else "Nothing was changed."
                )
                return self.back_to(request, page_url("preferences", row.pk))
        title = f"Preferences of {row.user.get_username()}"
        return self.form_page(request, title, form, page_url("preferences", row.pk))


def _elsewhere(request: HttpRequest, name: str) -> list[tuple[str, str]]:
    """What else is set of a person, where the user may see it."""
    lists = (
        ("Default rules", "defaultrule", "person", ("view_reminderrule", "change_preferences")),
        ("Channels", "channel", "user", ("view_channel", "change_channel")),
    )
    return [
        (label, f"{reverse(f'admin:reminders_{model}_changelist')}?{urlencode({parameter: name})}")
        for label, model, parameter, permissions in lists
        if any(request.user.has_perm(f"reminders.{permission}") for permission in permissions)
    ]
