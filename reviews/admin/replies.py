"""Comments that spoke to us: what each asked for, and what was answered."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobs.admin import show
from jobs.admin.filters import FixedFilter
from jobs.admin.service_pages import line, link, spelled
from reviews.admin.common import REPLY_PILLS, ReviewsAdmin, at_github, page_url, repository_link
from reviews.admin.filters import ChoiceFilter, RepositoryFilter, newest
from reviews.admin.finding_view import shown_finding
from reviews.models import CommentKind, Reply, ReplyStatus
from reviews.operators import replies
from reviews.services.addressing import Command

MOST_OF_THREAD = 50


def reply_pill(reply: Reply) -> SafeString:
    return show.pill(reply.status, REPLY_PILLS[ReplyStatus(reply.status)])


class ReplyStatusFilter(ChoiceFilter):
    title = "status"
    parameter_name = "status"
    choices_of = tuple((status.value, status.value) for status in ReplyStatus)

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return newest(request, queryset, "created_at").filter(status=value)


class CommandFilter(FixedFilter):
    title = "command"
    parameter_name = "command"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("question", "none, a question"), *((command.value, command.value) for command in Command)]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return newest(request, queryset, "created_at").filter(command="" if value == "question" else value)


class ReplyRepositoryFilter(RepositoryFilter):
    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(pull_request__repository__full_name=value)


@admin.register(Reply)
class ReplyAdmin(ReviewsAdmin):
    noun = "reply"
    sidebar_icon = "forum"
    list_display = ("status_cell", "comment_cell", "command_cell", "outcome_cell", "job_cell", "created_cell")
    list_display_links = None
    list_filter = (ReplyStatusFilter, CommandFilter, ReplyRepositoryFilter)
    search_fields = ("author",)
    search_help_text = "Who wrote the comment"
    ordering = ("-created_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Reply]:
        return replies.replies().order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Reply], search_term: str
    ) -> tuple[QuerySet[Reply], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        of_author = replies.replies(author=term.removeprefix("@")).order_by().values("pk")
        return newest(request, queryset, "created_at").filter(pk__in=of_author), False

    # --- cells ---

    @display(description="Status")
    def status_cell(self, reply: Reply) -> SafeString:
        return reply_pill(reply)

    @display(description="Comment")
    def comment_cell(self, reply: Reply) -> SafeString:
        return format_html(
            '<a class="sy-two sy-link" href="{}"><strong class="sy-break">{}</strong>'
            '<span class="sy-about">{}, {}</span></a>',
            page_url("reply", reply.pk),
            line(reply.body, 80) or "(empty)",
            reply.author,
            reply.pull_request,
        )

    @display(description="Asks for")
    def command_cell(self, reply: Reply) -> str:
        return reply.command or "an answer"

    @display(description="Outcome")
    def outcome_cell(self, reply: Reply) -> SafeString | str:
        return format_html('<span class="sy-break">{}</span>', line(reply.outcome, 100) or show.DASH)

    @display(description="Job")
    def job_cell(self, reply: Reply) -> SafeString | str:
        return show.job_link(reply.job_id) if reply.job_id else show.DASH

    @display(description="Created")
    def created_cell(self, reply: Reply) -> SafeString | str:
        return show.ago(reply.created_at)

    # --- its page ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        reply = self.found(replies.find_reply, object_id)
        if reply is None:
            return self.missing(request, object_id)
        return self.page(
            request,
            "reviews/reply.html",
            title=f"Comment of {reply.author} on {reply.pull_request}",
            reply=reply,
            pill=reply_pill(reply),
            facts=_facts(request, reply),
            finding=_finding(request, reply),
            thread=[_said(one, reply) for one in _thread(reply)],
        )


def _thread(reply: Reply) -> list[Reply]:
    """All that spoke to us where this one did, in order."""
    if reply.thread_id is None:
        return [reply]
    same = Reply.objects.filter(pull_request=reply.pull_request, kind=reply.kind, thread_id=reply.thread_id)
    return list(same.order_by("created_at", "pk")[:MOST_OF_THREAD])


def _said(one: Reply, reply: Reply) -> dict[str, Any]:
    return {
        "reply": one,
        "is_this": one.pk == reply.pk,
        "url": page_url("reply", one.pk),
        "pill": reply_pill(one),
        "body": spelled(show.block(one.body)),
        "answer": spelled(show.block(one.answer)),
        "at": show.ago(one.created_at),
    }


def _finding(request: HttpRequest, reply: Reply) -> dict[str, Any] | None:
    if reply.finding is None or not request.user.has_perm("reviews.view_pullrequestreview"):
        return None
    return shown_finding(
        reply.finding.review, reply.finding, may_close=request.user.has_perm("reviews.dismiss_finding")
    )


def _comment_link(reply: Reply, comment_id: int, text: str) -> Any:
    what = "discussion_r" if reply.kind == CommentKind.REVIEW else "issuecomment-"
    return at_github(reply.pull_request.repository, f"pull/{reply.pull_request.number}#{what}{comment_id}", text)


def _facts(request: HttpRequest, reply: Reply) -> list[tuple[str, Any]]:
    review: Any = ""
    if reply.finding is not None and request.user.has_perm("reviews.view_pullrequestreview"):
        found = reply.finding.review
        review = link(f"{page_url('pullrequestreview', found.pk)}#finding-{reply.finding.pk}", found)
    facts: list[tuple[str, Any]] = [
        ("Repository", repository_link(request, reply.pull_request.repository)),
        ("Comment", _comment_link(reply, reply.comment_id, f"at GitHub, {reply.get_kind_display()}")),
        ("Author", reply.author),
        ("Asks for", reply.command or "an answer"),
        ("Review", review),
        ("Outcome", format_html('<span class="sy-break">{}</span>', reply.outcome) if reply.outcome else ""),
        ("Answer", _comment_link(reply, reply.answer_id, "at GitHub") if reply.answer_id else ""),
        ("Job", show.job_link(reply.job_id, reply.job_id) if reply.job_id else ""),
        ("Created", show.exact(reply.created_at)),
        ("Finished", show.exact(reply.finished_at) if reply.finished_at else ""),
    ]
    return [(name, value) for name, value in facts if value]
