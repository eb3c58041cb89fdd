"""What could not be embedded, and why; it is tried again when somebody asks for it."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from embeddings.admin.run_page import aside_row, run_url
from embeddings.admin.runs import NOT_DONE, CollectionFilter
from embeddings.models import EmbeddingRun, SetAside
from embeddings.services import collections, run_lists
from jobs.admin import show
from jobs.admin.base import ReadOnlyAdmin, actor_of, permission_required


@admin.register(SetAside)
class SetAsideAdmin(ReadOnlyAdmin):
    sidebar_icon = "block"
    list_display = ("document_cell", "reason_cell", "model_cell", "since_cell")
    list_display_links = None
    list_filter = (CollectionFilter,)
    ordering = ("-created_at", "-id")
    actions = ("try_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[SetAside]:
        return run_lists.set_aside(request.user).order_by(*self.ordering)

    # --- cells ---

    @display(description="Document")
    def document_cell(self, one: SetAside) -> SafeString:
        return format_html(
            '<div class="sy-two"><span>{}</span><span class="sy-note">{}</span></div>',
            aside_row(one)["document"],
            one.collection.name,
        )

    @display(description="Reason")
    def reason_cell(self, one: SetAside) -> SafeString:
        return format_html('<span class="sy-break">{}</span>', show.one_line(one.reason, 300))

    @display(description="Encoder")
    def model_cell(self, one: SetAside) -> str:
        return one.model.spec

    @display(description="Since")
    def since_cell(self, one: SetAside) -> SafeString | str:
        return show.ago(one.created_at)

    # --- trying again ---

    def has_try_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(run_lists.MAY_START)

    @admin.action(description="Try again", permissions=["try"])
    def try_selected(self, request: HttpRequest, queryset: QuerySet[SetAside]) -> HttpResponse:
        chosen: dict[str, list[int]] = {}
        ids = [key for text in request.POST.getlist(ACTION_CHECKBOX_NAME) if (key := _key(text)) is not None]
        for pk, name in run_lists.set_aside(request.user).filter(pk__in=ids).values_list("pk", "collection__name"):
            chosen.setdefault(name, []).append(pk)
        for name, keys in chosen.items():
            self._try(request, name, keys)
        return HttpResponseRedirect(request.get_full_path())

    @permission_required(run_lists.MAY_START)
    def retry_view(self, request: HttpRequest) -> HttpResponse:
        """All of a collection, or one; from a run's page."""
        if request.method != "POST":
            return self.to_list(request)
        asked = request.POST.get("id")
        key = None if asked is None else (_key(asked) or 0)
        run = self._try(request, request.POST.get("collection", ""), None if key is None else [key])
        if run is None or not request.user.has_perm("embeddings.view_embeddingrun"):
            return self.to_list(request)
        return HttpResponseRedirect(run_url(run))

    def _try(self, request: HttpRequest, name: str, ids: list[int] | None) -> EmbeddingRun | None:
        from embeddings.services import runs

        try:
            tried = runs.try_again(actor_of(request), collections.find(name, request.user), ids)
        except NOT_DONE as exc:
            messages.error(request, f"{exc}.")
            return None
        text = f"{tried.count:,} of {name} {'is' if tried.count == 1 else 'are'} tried again"
        messages.add_message(request, messages.SUCCESS if tried.count else messages.WARNING, f"{text}.")
        return tried.run

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        return [self.own_path("retry/", self.retry_view, "retry"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        return self.to_list(request)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        return self.to_list(request)


def _key(text: str) -> int | None:
    """The number of a row, or None for what is none."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    return number if 0 < number <= run_lists.LARGEST_ID else None
