"""/api/v1/reviews/ and /api/v1/findings/"""

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api.problems import add_meaning
from jobs.api.rows import (
    CONFLICT,
    IDEMPOTENCY,
    ListFilter,
    NewestNumbersFirst,
    RowsView,
    RowView,
    choice_filter,
    id_parameter,
    idempotency_key,
    number_filter,
    text_filter,
    time_filter,
)
from jobs.api.serializers import CancelSerializer, NothingSerializer
from jobs.models import Job
from jobs.operators import idempotency
from jobs.operators.jobs import Enqueued
from jobs.operators.lookups import LARGEST_ID
from reviews.api.review_serializers import (
    AskedSerializer,
    AskSerializer,
    FindingSerializer,
    ReviewDetailSerializer,
    ReviewSerializer,
)
from reviews.models import Finding, FindingState, PullRequestReview, ReviewStatus, Severity
from reviews.operators import findings as finding_operators
from reviews.operators import reviews as operators
from reviews.operators.lookups import BadReference

add_meaning(BadReference, 400, "invalid-request", "#/number")
add_meaning(operators.ReviewRefused, 409, "review-refused")
add_meaning(operators.ReviewNotChanged, 409, "review-not-changed")
add_meaning(Finding.DoesNotExist, 404, "not-found")
add_meaning(finding_operators.FindingNotChanged, 409, "finding-not-changed")

_ID = id_parameter("review_id", "review")
_FINDING = id_parameter("finding_id", "finding")


class ReviewFilter(ListFilter):
    listed = operators.reviews
    repository = text_filter("owner/name")
    status = choice_filter("status", ReviewStatus.choices, several=True)
    number = number_filter("Of the pull request.")
    provider = text_filter("Who reviewed.", 64)
    created_after = time_filter()
    created_before = time_filter()

    class Meta:
        model = PullRequestReview
        fields: ClassVar[list[str]] = []


class ReviewsView(RowsView):
    queryset = PullRequestReview.objects.all()
    filterset_class = ReviewFilter
    required_permission = "reviews.view_pullrequestreview"
    required_to_change = operators.REQUEST
    serializer_class = AskSerializer

    @extend_schema(operation_id="reviews_list", responses=ReviewSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The newest reviews first."""
        return self.page(ReviewSerializer)

    @extend_schema(
        operation_id="reviews_request",
        parameters=[IDEMPOTENCY],
        responses={201: OpenApiResponse(AskedSerializer, "`job` reviews it."), **CONFLICT},
        filters=False,
    )
    def post(self, request: Request) -> Response:
        """Have a pull request reviewed at its present head; an unfinished review of that head takes this one in."""
        actor, wanted = self.actor, self.body(request)
        said: list[str] = []

        def ask() -> Enqueued:
            asked = operators.request_review(actor, **wanted)
            said.append(asked.said)
            return Enqueued(Job.objects.get(pk=asked.job_id), folded=False)

        key = idempotency_key(request)
        if key is None:
            found, replayed = ask(), False
        else:
            found, replayed = idempotency.once(f"user:{request.user.pk}", key, ["reviews", request.data], ask)
        review = operators.find_review(int(found.job.kwargs["review_id"]))
        headers = {"Location": reverse("review", args=[review.pk], request=request)}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        text = said[0] if said else f"job {found.job.pk}: asked for before"
        return Response(_asked(request, review, text), status=status.HTTP_201_CREATED, headers=headers)


def _asked(request: Request, review: PullRequestReview, said: str) -> dict[str, Any]:
    return {**ReviewDetailSerializer(review, context={"request": request}).data, "said": said}


class ReviewView(RowView):
    required_permission = "reviews.view_pullrequestreview"
    serializer_class = ReviewDetailSerializer

    @extend_schema(operation_id="reviews_show", parameters=[_ID])
    def get(self, request: Request, review_id: int) -> Response:
        """One review: its findings, what was read, what it cost, how long each step took, and with which settings."""
        review = operators.find_review(review_id)
        return Response(ReviewDetailSerializer(review, context={"request": request}).data)


class RetryReviewView(RowView):
    required_permission = operators.REQUEST
    serializer_class = NothingSerializer

    @extend_schema(operation_id="reviews_retry", parameters=[_ID], responses={201: AskedSerializer, **CONFLICT})
    def post(self, request: Request, review_id: int) -> Response:
        """Have the pull request of a failed review reviewed again."""
        self.body(request)
        asked = operators.retry_review(self.actor, review_id)
        return Response(_asked(request, asked.review, asked.said), status=status.HTTP_201_CREATED)


class CancelReviewView(RowView):
    required_permission = "jobs.cancel_job"
    serializer_class = CancelSerializer

    @extend_schema(operation_id="reviews_cancel", parameters=[_ID], responses={200: ReviewSerializer, **CONFLICT})
    def post(self, request: Request, review_id: int) -> Response:
        """Cancel an unfinished review through its job; a running one is asked to stop, or killed with `force`."""
        return Response(ReviewSerializer(operators.cancel_review(self.actor, review_id, **self.body(request))).data)


class FindingFilter(ListFilter):
    listed = finding_operators.findings
    repository = text_filter("owner/name")
    number = number_filter("Of the pull request.")
    review = number_filter("The review's number here.", LARGEST_ID)
    state = choice_filter("state", FindingState.choices, several=True)
    severity = choice_filter("severity", Severity.choices)
    rule = text_filter("The exact rule.", 64)

    class Meta:
        model = Finding
        fields: ClassVar[list[str]] = []


class FindingsView(RowsView):
    queryset = Finding.objects.all()
    filterset_class = FindingFilter
    pagination_class = NewestNumbersFirst
    required_permission = "reviews.view_finding"
    serializer_class = FindingSerializer

    @extend_schema(operation_id="findings_list", responses=FindingSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The newest findings first."""
        return self.page(FindingSerializer)


class FindingsOfReviewView(RowsView):
    queryset = Finding.objects.none()
    filter_backends: tuple[Any, ...] = ()
    pagination_class = NewestNumbersFirst
    required_permission = "reviews.view_finding"
    serializer_class = FindingSerializer

    def get_queryset(self) -> Any:
        return finding_operators.findings(review=operators.find_review(self.kwargs["review_id"]).pk)

    @extend_schema(operation_id="reviews_findings", parameters=[_ID], responses=FindingSerializer(many=True))
    def get(self, request: Request, review_id: int) -> Response:
        """The findings of one review, with the lines around each."""
        return self.page(FindingSerializer)


class FindingView(RowView):
    required_permission = "reviews.view_finding"
    serializer_class = FindingSerializer

    @extend_schema(operation_id="findings_show", parameters=[_FINDING])
    def get(self, request: Request, finding_id: int) -> Response:
        """One finding, with the lines around it."""
        return Response(FindingSerializer(finding_operators.find_finding(finding_id)).data)


class DismissView(RowView):
    required_permission = "reviews.dismiss_finding"
    serializer_class = NothingSerializer

    @extend_schema(operation_id="findings_dismiss", parameters=[_FINDING], responses={200: FindingSerializer})
    def post(self, request: Request, finding_id: int) -> Response:
        """Say that a finding is none: it is not told again on its pull request, however its lines move."""
        self.body(request)
        return Response(FindingSerializer(finding_operators.dismiss(finding_id, actor=self.actor)).data)


class ResolveView(RowView):
    required_permission = "reviews.dismiss_finding"
    serializer_class = NothingSerializer

    @extend_schema(operation_id="findings_resolve", parameters=[_FINDING], responses={200: FindingSerializer})
    def post(self, request: Request, finding_id: int) -> Response:
        """Note that a finding was taken care of."""
        self.body(request)
        return Response(FindingSerializer(finding_operators.resolve(finding_id, actor=self.actor)).data)
