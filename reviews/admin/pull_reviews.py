"""Reviews of pull requests: listed, shown finding by finding, asked for, repeated and cancelled."""

import re
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from jobs.admin import show
from jobs.admin.base import actor_of, permission_required
from jobs.admin.filters import CreatedFilter
from jobs.admin.service_pages import Question, counted, line, sentence
from jobs.operators.lookups import LARGEST_NUMBER
from jobs.operators.search import is_storable
from reviews.admin.common import REFUSALS, review_pill, review_url, took
from reviews.admin.filters import ChoiceFilter, ProviderFilter, RepositoryFilter, newest
from reviews.admin.review_actions import ReviewActions
from reviews.admin.review_page import context_of, status_of
from reviews.models import PullRequestReview, ReviewStatus, Trigger
from reviews.operators import findings, reviews
from reviews.operators.lookups import pull_request_named
from reviews.operators.reviews import Asked

_SEARCH = re.compile(r"(?:(?P<name>[\w.-]+/[\w.-]+))?(?:#?(?P<number>[0-9]{1,10}))?", re.ASCII)
_QUESTIONS = {
    "retry": Question(
        "Retry this review?", "The pull request is reviewed once more, at the head that it has now.", "Retry"
    ),
    "again": Question(
        "Review this pull request again?",
        "A new round is posted, about what is new since the last review. Findings that were told are not told again.",
        "Review again",
    ),
    "full": Question(
        "Review all of this change?",
        "A new round looks at all of the change, not only at what is new since the last review. Findings that were "
        "told are not told again.",
        "Full review",
    ),
    "cancel": Question(
        "Cancel this review?",
        "A waiting review is cancelled at once; a running one is asked to stop. What it has posted stays.",
        "Cancel the review",
        takes_force=True,
    ),
}


class RequestForm(forms.Form):
    pr = forms.CharField(
        label="Pull request",
        max_length=250,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "owner/name#7", "spellcheck": "false"}),
        help_text="As owner/name#7. Drafts, and what is otherwise left out, are reviewed too when you ask.",
    )
    full = forms.BooleanField(
        label="All of the change",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Not only what is new since its last review.",
    )


class ReviewStatusFilter(ChoiceFilter):
    title = "status"
    parameter_name = "status"
    choices_of = tuple((status.value, status.value) for status in ReviewStatus)


class TriggerFilter(ChoiceFilter):
    title = "what asked for it"
    parameter_name = "trigger"
    choices_of = tuple((trigger.value, str(trigger.label)) for trigger in Trigger)

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return newest(request, queryset, "created_at").filter(trigger=value)


@admin.register(PullRequestReview)
class PullRequestReviewAdmin(ReviewActions):
    noun = "review"
    sidebar_icon = "rate_review"
    list_display = ("status_cell", "change_cell", "findings_cell", "provider_cell", "job_cell", "created_cell", "took")
    list_display_links = None
    list_filter = (ReviewStatusFilter, RepositoryFilter, ProviderFilter, TriggerFilter, CreatedFilter)
    search_fields = ("number",)
    search_help_text = "owner/name#7, owner/name, or #7"
    ordering = ("-created_at", "-id")
    change_list_template = "reviews/review_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PullRequestReview]:
        return reviews.reviews().select_related("repository__access").order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[PullRequestReview], search_term: str
    ) -> tuple[QuerySet[PullRequestReview], bool]:
        match = _SEARCH.fullmatch(search_term.strip())
        if match is None or not is_storable(search_term):
            return queryset.none(), False
        name, number = match["name"], match["number"]
        if name:
            queryset = queryset.filter(repository__full_name__iexact=name)
        if number:
            queryset = queryset if name else newest(request, queryset, "created_at")
            queryset = queryset.filter(number=min(int(number), LARGEST_NUMBER))
        return queryset, False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        may_request = request.user.has_perm("reviews.request_review")
        return super().changelist_view(request, {**(extra_context or {}), "may_request": may_request})

    # --- cells ---

    @display(description="Status")
    def status_cell(self, review: PullRequestReview) -> SafeString:
        return review_pill(review)

    @display(description="Pull request")
    def change_cell(self, review: PullRequestReview) -> SafeString:
        error = format_html('<span class="sy-error" title="{0}">{0}</span>', line(review.error, 160))
        return format_html(
            '<div class="sy-cell"><a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            '<span class="sy-about">{}#{} at {}</span></a>{}</div>',
            review_url(review),
            line(review.title, 70) or "(no title)",
            review.repository.full_name,
            review.number,
            review.head_sha[:12] or "no commit yet",
            error if review.status == ReviewStatus.FAILED and review.error else "",
        )

    @display(description="Findings posted")
    def findings_cell(self, review: PullRequestReview) -> str:
        if review.finding_count is None:
            return show.DASH
        return f"{getattr(review, 'told', None) or 0} of {review.finding_count}"

    @display(description="Reviewer")
    def provider_cell(self, review: PullRequestReview) -> SafeString:
        parts = [str(review.get_trigger_display()).lower(), *(["fallback"] if review.fallback else [])]
        return format_html(
            '<span class="sy-two">{}<span class="sy-note">{}</span></span>', review.provider, ", ".join(parts)
        )

    @display(description="Job")
    def job_cell(self, review: PullRequestReview) -> SafeString | str:
        return show.job_link(review.job_id) if review.job_id else show.DASH

    @display(description="Created")
    def created_cell(self, review: PullRequestReview) -> SafeString | str:
        return show.ago(review.created_at)

    @display(description="Took")
    def took(self, review: PullRequestReview) -> str:
        return took(review)

    # --- pages of our own ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.own_path("request/", self.request_view, "request"),
            self.own_path("finding/<int:finding_id>/close/", self.close_view, "close"),
            self.own_path("<int:review_id>/status/", self.status_view, "status"),
            self.own_path("<int:review_id>/retry/", self.retry_view, "retry"),
            self.own_path("<int:review_id>/again/", self.again_view, "again"),
            self.own_path("<int:review_id>/full/", self.full_view, "full"),
            self.own_path("<int:review_id>/cancel/", self.cancel_view, "cancel"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        review = self.found(reviews.find_review, object_id)
        if review is None:
            return self.missing(request, object_id)
        return self.page(request, "reviews/review.html", **context_of(request, review))

    @permission_required("reviews.view_pullrequestreview")
    def status_view(self, request: HttpRequest, review_id: int) -> HttpResponse:
        review = self.found(reviews.find_review, review_id)
        return JsonResponse(status_of(review) if review else {}, status=200 if review else 404)

    @permission_required("reviews.request_review")
    def request_view(self, request: HttpRequest) -> HttpResponse:
        form = RequestForm(request.POST if request.method == "POST" else None, initial={"pr": request.GET.get("pr")})
        if request.method == "POST" and form.is_valid():
            try:
                name, number = pull_request_named(form.cleaned_data["pr"].strip())
                asked = reviews.request_review(actor_of(request), name, number, full=form.cleaned_data["full"])
            except REFUSALS as exc:
                form.add_error("pr", sentence(str(exc)))
            else:
                return self._tell(request, asked)
        return self.page(
            request,
            "reviews/request.html",
            title="Ask for a review",
            form=form,
            back=self.url_of("changelist"),
        )

    @permission_required("reviews.request_review")
    def retry_view(self, request: HttpRequest, review_id: int) -> HttpResponse:
        return self._repeat(request, review_id, "retry", lambda one: reviews.retry_review(actor_of(request), one.pk))

    @permission_required("reviews.request_review")
    def again_view(self, request: HttpRequest, review_id: int) -> HttpResponse:
        return self._repeat(request, review_id, "again", lambda one: _request(request, one, full=False))

    @permission_required("reviews.request_review")
    def full_view(self, request: HttpRequest, review_id: int) -> HttpResponse:
        return self._repeat(request, review_id, "full", lambda one: _request(request, one, full=True))

    def _repeat(
        self, request: HttpRequest, review_id: int, name: str, deed: Callable[[PullRequestReview], Asked]
    ) -> HttpResponse:
        review = self.found(reviews.find_review, review_id)
        if review is None:
            return self.missing(request, review_id)
        if request.method != "POST":
            return self.ask(request, _QUESTIONS[name], _named(review), review_url(review))
        asked = self.do(request, lambda: deed(review))
        return self.back_to(request, review_url(review)) if asked is None else self._tell(request, asked)

    def _tell(self, request: HttpRequest, asked: Asked) -> HttpResponse:
        messages.success(request, f"Asked for: {asked.said}.")
        return self.back_to(request, review_url(asked.review))

    @permission_required("jobs.cancel_job")
    def cancel_view(self, request: HttpRequest, review_id: int) -> HttpResponse:
        review = self.found(reviews.find_review, review_id)
        if review is None:
            return self.missing(request, review_id)
        if request.method != "POST":
            return self.ask(request, _QUESTIONS["cancel"], _named(review), review_url(review))
        force = request.POST.get("force") == "yes"
        done = self.do(request, lambda: reviews.cancel_review(actor_of(request), review_id, force=force))
        if done is not None:
            ended = done.status == ReviewStatus.FAILED
            messages.success(request, "The review is cancelled." if ended else "The review was asked to stop.")
        return self.back_to(request, review_url(review))

    @permission_required("reviews.dismiss_finding")
    def close_view(self, request: HttpRequest, finding_id: int) -> HttpResponse:
        """Dismiss or resolve a finding; on POST alone."""
        finding = self.found(findings.find_finding, finding_id)
        if finding is None:
            return self.to_list(request, f"There is no finding {finding_id}.")
        deeds: dict[str, Callable[..., Any]] = {"dismiss": findings.dismiss, "resolve": findings.resolve}
        deed = deeds.get(request.POST.get("do", ""))
        if request.method == "POST" and deed is not None:
            closed = self.do(request, lambda: deed(finding_id, actor=actor_of(request)))
            if closed is not None:
                messages.success(request, f"{line(str(closed), 120)} is {closed.state}.")
        return self.back_to(request, f"{review_url(finding.review)}#finding-{finding_id}")


def _request(request: HttpRequest, review: PullRequestReview, *, full: bool) -> Asked:
    return reviews.request_review(actor_of(request), review.repository.full_name, review.number, full=full)


def _named(review: PullRequestReview) -> str:
    told = counted(review.finding_count or 0, "finding")
    return f"{line(review.title, 120)} ({review}): {review.status}, {told}"
