"""Runs: how far each is, how fast, and what it could not embed."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from embeddings import errors
from embeddings.admin.run_page import (
    progress_cell,
    run_pill,
    run_url,
    show_run,
    speed_text,
    status_of,
)
from embeddings.models import EmbeddingRun, RunKind, RunState
from embeddings.models.run import OPEN_RUNS
from embeddings.services import collections, run_lists
from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required
from jobs.admin.filters import FixedFilter

UNDER_WAY = "under way"
#: What services say to a person instead of doing it.
NOT_DONE = (collections.UnknownCollection, errors.RunRefused, errors.RunNotChanged)


class RunStateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(UNDER_WAY, UNDER_WAY), *((state.value, state.value) for state in RunState)]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(state__in=OPEN_RUNS) if value == UNDER_WAY else queryset.filter(state=value)


class RunKindFilter(FixedFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, kind.value.replace("_", " ")) for kind in RunKind]


class CollectionFilter(FixedFilter):
    title = "collection"
    parameter_name = "collection"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        given = request.GET.get("collection")
        names = run_lists.collection_names(request.user)
        return [(name, name) for name in dict.fromkeys([*names, *([given] if given else [])])]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(collection__name=value)


@admin.register(EmbeddingRun)
class EmbeddingRunAdmin(ReadOnlyAdmin):
    sidebar_icon = "play_circle"
    list_display = ("state_cell", "run_cell", "progress", "speed_cell", "left_cell", "created_cell")
    list_display_links = None
    list_filter = (RunStateFilter, CollectionFilter, RunKindFilter)
    ordering = ("-created_at", "-id")
    list_before_template = "embeddings/run_start.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[EmbeddingRun]:
        return run_lists.runs(request.user).order_by(*self.ordering)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> EmbeddingRun | None:
        try:
            return run_lists.find_run(int(object_id), request.user)
        except (ValueError, EmbeddingRun.DoesNotExist):
            return None

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.user.has_perm(run_lists.MAY_START):
            request.may_start = run_lists.collection_names(request.user)  # type: ignore[attr-defined]
        return super().changelist_view(request, extra_context)

    # --- cells ---

    @display(description="State")
    def state_cell(self, run: EmbeddingRun) -> SafeString:
        return run_pill(run)

    @display(description="Run")
    def run_cell(self, run: EmbeddingRun) -> SafeString:
        error = format_html('<span class="sy-error" title="{0}">{0}</span>', show.one_line(run.error, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong>{} · {}</strong>'
            '<span class="sy-note" title="{}">{}, {}</span></a>{}</div>',
            run_url(run),
            run.collection.name,
            run.pk,
            run.encoder,
            run.short_encoder,
            run.kind.replace("_", " "),
            error if run.error else "",
        )

    @display(description="Chunks")
    def progress(self, run: EmbeddingRun) -> SafeString | str:
        return progress_cell(run)

    @display(description="Speed")
    def speed_cell(self, run: EmbeddingRun) -> str:
        return speed_text(run)[0]

    @display(description="Time")
    def left_cell(self, run: EmbeddingRun) -> str:
        return speed_text(run)[1]

    @display(description="Begun")
    def created_cell(self, run: EmbeddingRun) -> SafeString | str:
        return show.ago(run.created_at)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [
            self.own_path("start/", self.start_view, "start"),
            self.own_path("<path:object_id>/cancel/", self.cancel_view, "cancel"),
            self.own_path("<path:object_id>/status/", self.status_view, "status"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        run = self.object_or_none(request, object_id)
        return self._unknown(request, object_id) if run is None else show_run(self, request, run)

    @permission_required("embeddings.view_embeddingrun")
    def status_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self.object_or_none(request, object_id)
        if run is None:
            return JsonResponse({"error": "no such run"}, status=404)
        return JsonResponse(status_of(run))

    @permission_required(run_lists.MAY_START)
    def start_view(self, request: HttpRequest) -> HttpResponse:
        from embeddings.services import runs

        if request.method != "POST":
            return self.to_list(request)
        try:
            collection = collections.find(request.POST.get("collection", ""), request.user)
            run = runs.start(actor_of(request), collection, encoder=request.POST.get("encoder", ""))
        except NOT_DONE as exc:
            return self.to_list(request, f"{exc}.")
        return HttpResponseRedirect(run_url(run) if self.has_view_permission(request) else reverse("admin:index"))

    @permission_required(run_lists.MAY_START)
    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask first; act when the answer comes back."""
        from embeddings.services import runs

        run = self.object_or_none(request, object_id)
        if run is None:
            return self._unknown(request, object_id)
        if request.method != "POST":
            return self.page(
                request,
                "embeddings/run_cancel.html",
                title=f"Cancel run {run.pk} of {run.collection.name}?",
                run=run,
                back=run_url(run),
            )
        try:
            runs.cancel(actor_of(request), run.pk)
            messages.success(request, f"Run {run.pk} is cancelled; what it has embedded stays.")
        except errors.RunNotChanged as exc:
            messages.error(request, f"{exc}.")
        return HttpResponseRedirect(run_url(run))

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(self.url_of("change", object_id))

    def _unknown(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.to_list(request, f"There is no run {object_id!r}; it may have been pruned.")
