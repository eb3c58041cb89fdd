"""Indexes of repositories' code: their state, what is in them, and what was left out and why."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.service_pages import Question, line, spelled
from reviews.admin.common import INDEX_PILLS, ReviewsAdmin, page_url, repository_link
from reviews.admin.filters import ChoiceFilter
from reviews.models import CodeIndex, IndexState
from reviews.operators import code_indexes

_QUESTIONS = {
    "update": Question(
        "Update this index now?",
        "A job fetches the newest commit of the default branch, and reads what has changed since the last time.",
        "Update now",
    ),
    "remove": Question(
        "Remove this index?",
        "A job removes the mirror, the symbols and the chunks. Reviews go on without them, and the next push to the "
        "default branch makes the index anew, unless indexing is switched off in the repository's settings.",
        "Remove",
    ),
}


def index_pill(index: CodeIndex) -> SafeString:
    return show.pill(index.state, INDEX_PILLS[IndexState(index.state)])


class IndexStateFilter(ChoiceFilter):
    title = "state"
    parameter_name = "state"
    choices_of = tuple((state.value, state.value) for state in IndexState)


@admin.register(CodeIndex)
class CodeIndexAdmin(ReviewsAdmin):
    noun = "code index"
    sidebar_icon = "account_tree"
    list_display = (
        "state_cell",
        "name_cell",
        "files_cell",
        "symbols_cell",
        "chunks_cell",
        "size_cell",
        "at_cell",
    )
    list_display_links = None
    list_filter = (IndexStateFilter,)
    search_fields = ("repository__full_name",)
    search_help_text = "A part of owner/name"
    ordering = ("repository__full_name", "pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet[CodeIndex]:
        return code_indexes.code_indexes().order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CodeIndex], search_term: str
    ) -> tuple[QuerySet[CodeIndex], bool]:
        term = search_term.strip().replace("\x00", "")
        return (queryset.filter(repository__full_name__icontains=term) if term else queryset), False

    # --- cells ---

    @display(description="State")
    def state_cell(self, index: CodeIndex) -> SafeString:
        return index_pill(index)

    @display(description="Repository")
    def name_cell(self, index: CodeIndex) -> SafeString:
        error = format_html('<span class="sy-error" title="{0}">{0}</span>', line(index.error, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            "<code>{}</code></a>{}</div>",
            page_url("codeindex", index.pk),
            index.repository,
            index.sha[:12] or "no commit yet",
            error if index.error else "",
        )

    @display(description="Files")
    def files_cell(self, index: CodeIndex) -> str:
        return f"{index.files:,}"

    @display(description="Symbols")
    def symbols_cell(self, index: CodeIndex) -> str:
        return f"{index.symbols:,}"

    @display(description="Chunks")
    def chunks_cell(self, index: CodeIndex) -> str:
        return f"{index.chunks:,}"

    @display(description="Mirror")
    def size_cell(self, index: CodeIndex) -> str:
        return show.bytes_text(index.mirror_bytes or None)

    @display(description="Indexed")
    def at_cell(self, index: CodeIndex) -> SafeString | str:
        return show.ago(index.indexed_at)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("<int:index_id>/update/", self.update_view, "update"),
            self.own_path("<int:index_id>/remove/", self.remove_view, "remove"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        index = self.found(code_indexes.find_code_index, object_id)
        if index is None:
            return self.missing(request, object_id)
        may = request.user.has_perm(code_indexes.PERMISSION)
        skipped = sorted(index.skipped.items(), key=lambda pair: (-int(pair[1]), pair[0]))
        return self.page(
            request,
            "reviews/code_index.html",
            title=f"Code of {index.repository}",
            index=index,
            pill=index_pill(index),
            error=spelled(index.error),
            facts=_facts(request, index),
            skipped=[(reason, f"{count:,}") for reason, count in skipped],
            update_url=page_url("codeindex", index.pk, "update") if may else "",
            remove_url=page_url("codeindex", index.pk, "remove") if may else "",
        )

    @permission_required(code_indexes.PERMISSION)
    def update_view(self, request: HttpRequest, index_id: int) -> HttpResponse:
        index = self.found(code_indexes.find_code_index, index_id)
        if index is None:
            return self.missing(request, index_id)
        back = page_url("codeindex", index.pk)
        if request.method != "POST":
            return self.ask(request, _QUESTIONS["update"], index, back)
        name = index.repository.full_name
        sent = self.do(request, lambda: code_indexes.request_index(actor_of(request), name))
        if sent is not None:
            messages.success(request, format_html("It is brought up to date by job {}.", show.job_link(sent[1])))
        return self.back_to(request, back)

    @permission_required(code_indexes.PERMISSION)
    def remove_view(self, request: HttpRequest, index_id: int) -> HttpResponse:
        index = self.found(code_indexes.find_code_index, index_id)
        if index is None:
            return self.missing(request, index_id)
        back = page_url("codeindex", index.pk)
        if request.method != "POST":
            return self.ask(request, _QUESTIONS["remove"], index, back)
        job = self.do(request, lambda: code_indexes.remove_index(actor_of(request), index_id))
        if job is not None:
            messages.success(request, format_html("It is removed by job {}.", show.job_link(job)))
        return self.back_to(request, back)


def _facts(request: HttpRequest, index: CodeIndex) -> list[tuple[str, Any]]:
    behind = index.wanted_sha and index.wanted_sha != index.sha
    facts: list[tuple[str, Any]] = [
        ("Repository", repository_link(request, index.repository)),
        ("Commit", format_html('<code class="sy-break">{}</code>', index.sha) if index.sha else "none yet"),
        ("Wanted", format_html('<code class="sy-break">{}</code>', index.wanted_sha) if behind else ""),
        ("Files", f"{index.files:,}"),
        ("Symbols", f"{index.symbols:,}"),
        ("Chunks", f"{index.chunks:,}"),
        ("Mirror", show.bytes_text(index.mirror_bytes) if index.mirror_bytes else ""),
        ("Job", show.job_link(index.job_id, index.job_id) if index.job_id else ""),
        ("Begun", show.exact(index.started_at) if index.started_at else ""),
        ("Indexed", show.exact(index.indexed_at) if index.indexed_at else "never"),
        ("Took", f"{index.seconds:,.1f} s" if index.seconds is not None else ""),
    ]
    return [(name, value) for name, value in facts if value]
