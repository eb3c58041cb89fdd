"""/api/v1/issues/"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from django.db import transaction
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api.pagination import NewestFirst
from jobs.api.problems import add_meaning
from jobs.api.rows import ListFilter, choice_filter, text_filter
from jobs.api.serializers import NothingSerializer
from jobs.api.views import ApiView
from jobs.models import Job
from jobs.operators import idempotency
from jobs.operators.jobs import Enqueued
from reviews.api.issue_serializers import (
    EditIssueSerializer,
    IssueDetailSerializer,
    IssueSerializer,
    NewIssueSerializer,
)
from reviews.models import EnrichmentState, Issue
from reviews.services import enriching, issue_labels, issues

add_meaning(issues.UnknownIssue, 404, "not-found")
add_meaning(issue_labels.LabelRefused, 400, "label-refused", "#/tags")

_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_ID = OpenApiParameter("issue_id", int, OpenApiParameter.PATH, description="The issue's number here.")
_IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="For 24 hours, the same key with the same body gives the same issue.",
)


class IssueFilter(ListFilter):
    """An unknown state is refused rather than finding nothing."""

    listed = issues.issues
    repository = text_filter("owner/name")
    state = choice_filter("state", [(state, state) for state in issues.STATES])
    enrichment_state = choice_filter("state", EnrichmentState.choices)
    tag = text_filter("A label that the issue has.")
    search = text_filter("Words of title or body, or a number.")

    class Meta:
        model = Issue
        fields: ClassVar[list[str]] = []


class NewestIssuesFirst(NewestFirst):
    def _read_cursor(self, text: str | None) -> tuple[bool, list[Any] | None]:
        backwards, position = super()._read_cursor(text)
        if position is not None:
            if not (position[1].isascii() and position[1].isdigit() and int(position[1][:25]) <= issues.LARGEST_ID):
                raise ValidationError({"cursor": ["not made by this API; start without one"]})
            position[1] = int(position[1])
        return backwards, position


class IssuesApiView(ApiView):
    required_permission = "reviews.view_issue"
    required_by_method: ClassVar[dict[str, str]] = {
        "POST": "reviews.add_issue",
        "PUT": "reviews.change_issue",
        "PATCH": "reviews.change_issue",
    }
    pagination_class: Any = None

    def shown(self, issue: Issue, **more: Any) -> Response:
        return Response(IssueDetailSerializer(issue, context={"request": self.request}).data, **more)


class IssuesView(IssuesApiView):
    queryset = Issue.objects.all()
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = IssueFilter
    pagination_class = NewestIssuesFirst
    serializer_class = NewIssueSerializer

    @extend_schema(operation_id="issues_list", responses=IssueSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The newest issues first, without their bodies."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(IssueSerializer(page, many=True).data)

    @extend_schema(
        operation_id="issues_create",
        parameters=[_IDEMPOTENCY],
        responses={201: OpenApiResponse(IssueDetailSerializer, "`job` enriches it.")},
        filters=False,
    )
    def post(self, request: Request) -> Response:
        """Store an issue; a job gives it its summary, labels and similar issues."""
        actor, asked = self.actor, self.body(request)
        key = self._key(request)

        def enqueue() -> Enqueued:
            with _refusals():
                made = issues.put(
                    actor,
                    title=asked["title"],
                    body=asked.get("body") or "",
                    repository=asked.get("repository") or "",
                )
            return Enqueued(Job.objects.get(pk=made.job_id), folded=False)

        if key is None:
            found, replayed = enqueue(), False
        else:
            client = f"user:{request.user.pk}"
            found, replayed = idempotency.once(client, key, ["issues", request.data], enqueue)
        issue = issues.find_issue(int(found.job.kwargs["issue_id"]))
        headers = {"Location": reverse("issue", args=[issue.pk], request=request)}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        return self.shown(issue, status=status.HTTP_201_CREATED, headers=headers)

    def _key(self, request: Request) -> str | None:
        key = request.headers.get("Idempotency-Key")
        if key is not None and not _KEY.fullmatch(key):
            raise ValidationError({"Idempotency-Key": ["must be 1 to 255 printable ASCII characters"]})
        return key


@contextmanager
def _refusals() -> Iterator[None]:
    """What the service refuses, as an error of the field that it is about."""
    try:
        yield
    except issues.IssueRefused as exc:
        raise ValidationError({exc.field: [str(exc)]}) from None


class IssueView(IssuesApiView):
    serializer_class = EditIssueSerializer

    @extend_schema(operation_id="issues_show", parameters=[_ID], responses=IssueDetailSerializer)
    def get(self, request: Request, issue_id: int) -> Response:
        """One issue with its summary, labels and similar issues."""
        return self.shown(issues.find_issue(issue_id))

    @extend_schema(operation_id="issues_replace", parameters=[_ID], responses=IssueDetailSerializer)
    def put(self, request: Request, issue_id: int) -> Response:
        """Replace title and body (empty if left out); another text is enriched anew, the same one is not."""
        return self._change(issue_id, {"body": "", **self.body(request)})

    @extend_schema(operation_id="issues_change", parameters=[_ID], responses=IssueDetailSerializer)
    def patch(self, request: Request, issue_id: int) -> Response:
        """Change title, body or labels. Labels set here are a person's: nothing automatic changes them any more."""
        return self._change(issue_id, self.body(request, partial=True))

    def _change(self, issue_id: int, changes: dict[str, Any]) -> Response:
        issue = issues.find_issue(issue_id)
        with transaction.atomic(), _refusals():
            if "title" in changes or "body" in changes:
                issue = issues.edit(self.actor, issue, title=changes.get("title"), body=changes.get("body"))
            if "tags" in changes:
                issue_labels.set_labels(self.actor, issue, changes["tags"])
        return self.shown(issues.find_issue(issue_id))


class EnrichView(IssuesApiView):
    required_permission = "reviews.enrich_issue"
    required_by_method: ClassVar[dict[str, str]] = {}
    serializer_class = NothingSerializer

    @extend_schema(
        operation_id="issues_enrich",
        parameters=[_ID],
        responses={202: IssueDetailSerializer, 404: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, issue_id: int) -> Response:
        """Have an issue enriched again, by the job that the answer names."""
        self.body(request)
        issue = enriching.rerun(self.actor, issues.find_issue(issue_id))
        return self.shown(issue, status=status.HTTP_202_ACCEPTED)
