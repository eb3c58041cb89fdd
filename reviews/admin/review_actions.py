"""What is done to several reviews at once, ticked in the list: asked first, then one after the other."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from jobs.admin.base import actor_of
from jobs.admin.service_pages import Question, counted, line
from reviews.admin.common import ReviewsAdmin, review_pill
from reviews.models import PullRequestReview
from reviews.operators import reviews

#: More than a page of the list has.
MOST = 100
_TOLD = 3
_RETRY = Question(
    "Retry these reviews?",
    "Each pull request of a failed one is reviewed once more, at the head that it has now; others are passed over.",
    "Retry",
)
_CANCEL = Question(
    "Cancel these reviews?",
    "A waiting review is cancelled at once; a running one is asked to stop. What they have posted stays; those that "
    "have ended are passed over.",
    "Cancel",
    takes_force=True,
)


class ReviewActions(ReviewsAdmin):
    """Of the list of reviews."""

    actions = ("retry_selected", "cancel_selected")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reviews.request_review")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.cancel_job")

    @admin.action(description="Retry", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[PullRequestReview]) -> HttpResponse | None:
        actor = actor_of(request)
        return self._each(request, _RETRY, "retry_selected", "retried", lambda pk: reviews.retry_review(actor, pk))

    @admin.action(description="Cancel", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[PullRequestReview]) -> HttpResponse | None:
        actor, force = actor_of(request), request.POST.get("force") == "yes"
        return self._each(
            request,
            _CANCEL,
            "cancel_selected",
            "cancelled or asked to stop",
            lambda pk: reviews.cancel_review(actor, pk, force=force),
        )

    def _each(
        self, request: HttpRequest, question: Question, action: str, done: str, deed: Callable[[int], Any]
    ) -> HttpResponse:
        """Ask; when the answer comes back, do it to each, and tell why it was not done to some."""
        ids = [int(key) for key in dict.fromkeys(request.POST.getlist(ACTION_CHECKBOX_NAME)) if key.isdigit()][:MOST]
        back = request.get_full_path()
        if request.POST.get("confirmed") != "yes":
            chosen = reviews.reviews().filter(pk__in=ids).order_by(*self.ordering)
            rows = [{"name": f"{one}: {line(one.title, 80)}", "pill": review_pill(one)} for one in chosen]
            context = {"question": question, "rows": rows, "ids": ids, "action": action, "back": back}
            name = ACTION_CHECKBOX_NAME
            return self.page(request, "reviews/confirm_many.html", title=question.title, checkbox_name=name, **context)
        refused = []
        for pk in ids:
            try:
                deed(pk)
            except self.refusals as exc:
                refused.append(str(exc))
        text = f"{counted(len(ids) - len(refused), 'review')} {done}"
        if refused:
            more = f"; and {len(refused) - _TOLD} more" if len(refused) > _TOLD else ""
            text += f"; {len(refused)} not: {'; '.join(refused[:_TOLD])}{more}"
        messages.add_message(request, messages.WARNING if refused else messages.SUCCESS, f"{text}.")
        return HttpResponseRedirect(back)
