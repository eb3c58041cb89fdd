"""Who did what: read only, for everybody."""

import json
from typing import get_args

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin
from jobs.admin.filters import AuditTimeFilter, FixedFilter, note
from jobs.models import AuditEntry
from jobs.operators.actors import Via
from jobs.operators.search import NEWEST, is_storable

ACTIONS = (
    *("job.enqueue", "job.retry", "job.cancel", "job.discard"),
    *("schedule.create", "schedule.change", "schedule.delete", "schedule.enable", "schedule.disable", "schedule.run"),
    *("token.create", "token.revoke", "user.create", "user.change", "user.delete"),
    *("group.create", "group.change", "group.delete"),
)


def newest(request: HttpRequest, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
    """Only the newest 100,000, which an index finds: none serves the other columns."""
    times = AuditEntry.objects.order_by("-at").values_list("at", flat=True)
    oldest = next(iter(times[NEWEST : NEWEST + 1]), None)
    note(request, f"Looked at the newest {NEWEST:,} entries.")
    return entries if oldest is None else entries.filter(at__gt=oldest)


class ActionFilter(FixedFilter):
    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [(action, action) for action in ACTIONS]

    def narrow(self, request: HttpRequest, queryset: QuerySet[AuditEntry], value: str) -> QuerySet[AuditEntry]:
        return newest(request, queryset).filter(action=value)


class ViaFilter(FixedFilter):
    title = "way"
    parameter_name = "via"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [(way, way) for way in get_args(Via)]

    def narrow(self, request: HttpRequest, queryset: QuerySet[AuditEntry], value: str) -> QuerySet[AuditEntry]:
        return newest(request, queryset).filter(via=value)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("time_cell", "actor_cell", "action", "target_cell", "detail_cell")
    list_display_links = None
    list_filter = (ActionFilter, ViaFilter, AuditTimeFilter)
    search_fields = ("target",)
    search_help_text = "Id of a job, or name of a user"
    ordering = ("-at", "-id")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        term = search_term.strip()
        if not term or not is_storable(term):
            return (queryset.none() if term else queryset), False
        by_target = queryset.filter(target=term)
        if by_target[:1].exists():
            return by_target, False
        return newest(request, queryset).filter(actor=term), False

    def change_view(self, request: HttpRequest, object_id: str, *args: object, **kwargs: object) -> HttpResponse:
        self.require_view(request)
        return self.to_list(request)

    @display(description="Time")
    def time_cell(self, entry: AuditEntry) -> SafeString:
        return show.time_element(entry.at)

    @display(description="Who")
    def actor_cell(self, entry: AuditEntry) -> str:
        return f"{entry.actor} ({entry.via})"

    @display(description="Target")
    def target_cell(self, entry: AuditEntry) -> SafeString:
        if entry.action.startswith("job."):
            return show.job_link(entry.target)
        if entry.action.startswith("schedule.") and entry.target.isdigit() and entry.action != "schedule.delete":
            url = reverse("admin:django_celery_beat_periodictask_change", args=[entry.target])
            return format_html('<a class="sy-link" href="{}">{}</a>', url, entry.detail.get("name", entry.target))
        return format_html("{}", entry.detail.get("name") or entry.target)

    @display(description="Detail")
    def detail_cell(self, entry: AuditEntry) -> SafeString:
        text = ", ".join(
            f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for key, value in entry.detail.items()
        )
        return format_html(
            '<span class="sy-arguments" title="{}">{}</span>', show.one_line(text, 500), show.one_line(text, 160)
        )
