"""Repositories: how each is reviewed, what of its code is indexed, and its last reviews."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.service_pages import Question
from jobs.operators.actors import Actor
from jobs.operators.settings import SettingsRefused
from reviews.admin.common import ReviewsAdmin, page_url, status_pill
from reviews.admin.filters import ChoiceFilter, ProviderFilter
from reviews.admin.repository_form import RepositoryForm
from reviews.admin.repository_page import enabled_pill, facts_of, index_pill, links_of, review_row, settings_of
from reviews.models import PullRequestReview, Repository
from reviews.operators import issue_learning, repositories, reviews
from reviews.services import code_index

SHOWN_REVIEWS = 10
_REMOVE = Question(
    "Forget this repository?",
    "Its settings, pull requests, reviews and issues are deleted here, and a job removes its mirror and index. At "
    "GitHub nothing changes; its next webhook enters it again, with the default settings. There is no way back.",
    "Forget it",
)
_INDEX = Question(
    "Index its code now?",
    "A job fetches the newest commit of its default branch, and reads what has changed since the last time.",
    "Index now",
)
_IMPORT = Question(
    "Fetch its issues now?",
    "A job fetches the newest issues that are not known here, with their labels, and learns from those. They are not "
    "enriched.",
    "Import issues",
)
_LEARN = Question(
    "Learn its labels now?",
    "A job learns from the issues that people labelled; what was learned before is replaced.",
    "Learn labels",
)


class EnabledFilter(ChoiceFilter):
    title = "reviews"
    parameter_name = "enabled"
    choices_of = (("yes", "on"), ("no", "off"))

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(enabled=value == "yes")


class RemovedFilter(ChoiceFilter):
    title = "at GitHub"
    parameter_name = "removed"
    choices_of = (("no", "there"), ("yes", "gone"))

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(removed_at__isnull=value == "no")


@admin.register(Repository)
class RepositoryAdmin(ReviewsAdmin):
    noun = "repository"
    sidebar_icon = "source"
    list_display = ("name_cell", "enabled_cell", "provider_cell", "index_cell", "review_cell")
    list_display_links = None
    list_filter = (EnabledFilter, ProviderFilter, RemovedFilter)
    search_fields = ("full_name",)
    search_help_text = "A part of owner/name"
    ordering = ("full_name", "pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Repository]:
        last = PullRequestReview.objects.filter(repository=OuterRef("pk")).order_by("-created_at")
        parts = JSONObject(pk="pk", number="number", status="status", created_at="created_at")
        found = repositories.repositories().select_related("access", "installation", "code_index")
        return found.annotate(last_review=Subquery(last.values(parts=parts)[:1])).order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Repository], search_term: str
    ) -> tuple[QuerySet[Repository], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(pk__in=repositories.repositories(search=term).order_by().values("pk")), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reviews.add_repository")

    # --- cells ---

    @display(description="Repository")
    def name_cell(self, repository: Repository) -> SafeString:
        parts = ["private" if repository.private else "", "gone from GitHub" if repository.removed_at else ""]
        about = ", ".join([*filter(None, parts), str(repository.access or "the environment's token")])
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            '<span class="sy-about">{}</span></a>',
            page_url("repository", repository.pk),
            repository.full_name,
            about,
        )

    @display(description="Reviews")
    def enabled_cell(self, repository: Repository) -> SafeString:
        return enabled_pill(repository)

    @display(description="Reviewer")
    def provider_cell(self, repository: Repository) -> str:
        return repository.provider

    @display(description="Code index")
    def index_cell(self, repository: Repository) -> SafeString:
        return index_pill(repository)

    @display(description="Last review")
    def review_cell(self, repository: Any) -> SafeString | str:
        last = repository.last_review
        if last is None:
            return show.DASH
        return format_html(
            '<span>{} <a class="sy-link" href="{}">#{}</a> <span class="sy-note">{}</span></span>',
            status_pill(last["status"]),
            page_url("pullrequestreview", last["pk"]),
            last["number"],
            show.ago(datetime.fromisoformat(last["created_at"])),
        )

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("<int:repository_id>/edit/", self.edit_view, "edit"),
            self.own_path("<int:repository_id>/index/", self.index_view, "index"),
            self.own_path("<int:repository_id>/import-issues/", self.import_view, "import_issues"),
            self.own_path("<int:repository_id>/learn-labels/", self.learn_view, "learn_labels"),
            self.own_path("<int:repository_id>/remove/", self.remove_view, "remove"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A repository's page."""
        self.require_view(request)
        row = self.found(repositories.find_repository, object_id)
        if row is None:
            return self.missing(request, object_id)
        newest = reviews.reviews(repository=row.full_name).filter(repository=row).order_by("-created_at", "-id")
        may_see_reviews = request.user.has_perm("reviews.view_pullrequestreview")
        return self.page(
            request,
            "reviews/repository.html",
            title=row.full_name,
            row=row,
            pill=enabled_pill(row),
            facts=facts_of(row),
            settings=settings_of(row),
            file_settings=show.pretty_json(row.file_settings) if row.file_settings else "",
            reviews=[review_row(one) for one in newest[:SHOWN_REVIEWS]] if may_see_reviews else [],
            links=links_of(request, row),
        )

    @permission_required("reviews.add_repository")
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self._form(request, Repository(), "Enter a repository", self.url_of("changelist"))

    @permission_required("reviews.change_repository")
    def edit_view(self, request: HttpRequest, repository_id: int) -> HttpResponse:
        row = self.found(repositories.find_repository, repository_id)
        if row is None:
            return self.missing(request, repository_id)
        return self._form(request, row, f"Settings of {row.full_name}", page_url("repository", row.pk))

    def _form(self, request: HttpRequest, row: Repository, title: str, back: str) -> HttpResponse:
        form = RepositoryForm(row, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            given = form.given()
            try:
                if row._state.adding:
                    saved = repositories.create_repository(actor_of(request), given.pop("full_name"), given)
                else:
                    saved = repositories.change_repository(actor_of(request), row.pk, given)
            except SettingsRefused as exc:
                form.refuse(exc)
            else:
                messages.success(request, f"{saved.full_name} is saved." if given else "Nothing was changed.")
                return self.back_to(request, page_url("repository", saved.pk))
        return self.form_page(request, title, form, back)

    @permission_required("reviews.index_repository")
    def index_view(self, request: HttpRequest, repository_id: int) -> HttpResponse:
        return self._send(request, repository_id, _INDEX, "Its code is indexed by job {}.", code_index.request)

    @permission_required(issue_learning.PERMISSION)
    def import_view(self, request: HttpRequest, repository_id: int) -> HttpResponse:
        return self._send(
            request,
            repository_id,
            _IMPORT,
            "Its issues are fetched by job {}.",
            lambda actor, row: issue_learning.import_issues(actor, row.pk),
        )

    @permission_required(issue_learning.PERMISSION)
    def learn_view(self, request: HttpRequest, repository_id: int) -> HttpResponse:
        return self._send(
            request,
            repository_id,
            _LEARN,
            "Its labels are learned by job {}.",
            lambda actor, row: issue_learning.learn_labels(actor, row.pk),
        )

    def _send(
        self,
        request: HttpRequest,
        repository_id: int,
        question: Question,
        said: str,
        send: Callable[[Actor, Repository], str],
    ) -> HttpResponse:
        """Ask before sending a job, and tell which it is."""
        row = self.found(repositories.find_repository, repository_id)
        if row is None:
            return self.missing(request, repository_id)
        back = page_url("repository", row.pk)
        if request.method != "POST":
            return self.ask(request, question, row.full_name, back)
        job = self.do(request, lambda: send(actor_of(request), row))
        if job:
            messages.success(request, format_html(said, show.job_link(job)))
        return self.back_to(request, back)

    @permission_required("reviews.delete_repository")
    def remove_view(self, request: HttpRequest, repository_id: int) -> HttpResponse:
        row = self.found(repositories.find_repository, repository_id)
        if row is None:
            return self.missing(request, repository_id)
        if request.method != "POST":
            return self.ask(request, _REMOVE, row.full_name, page_url("repository", row.pk))
        repositories.delete_repository(actor_of(request), row.pk)
        return self.gone(request, f"{row.full_name} is forgotten.")
