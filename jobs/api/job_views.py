"""/api/v1/jobs/"""

import re
from typing import Any

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, PolymorphicProxySerializer, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api import serializers
from jobs.api.filters import JobFilter
from jobs.api.pagination import NewestFirst
from jobs.api.views import ApiView
from jobs.models import Job
from jobs.operators import idempotency
from jobs.operators import jobs as operators
from jobs.operators.search import find_job

_KEY = re.compile(r"[\x20-\x7e]{1,255}")
#: Those who may not see jobs are told no more than what became of theirs.
ENQUEUED = PolymorphicProxySerializer(
    component_name="EnqueuedAnswer",
    serializers=[serializers.EnqueuedSerializer, serializers.BriefEnqueuedSerializer],
    resource_type_field_name=None,
)
_CHANGED = PolymorphicProxySerializer(
    component_name="ChangedAnswer",
    serializers=[serializers.JobDetailSerializer, serializers.BriefJobSerializer],
    resource_type_field_name=None,
)
_PATH = OpenApiParameter("job_id", str, OpenApiParameter.PATH, description="The job's id, Celery's task id.")


def told(request: Request, job: Job, whole: type[serializers.JobSerializer]) -> dict[str, Any]:
    """The job as this serializer shows it, or its id and state alone to those without jobs.view_job."""
    shown = whole if request.user.has_perm("jobs.view_job") else serializers.BriefJobSerializer
    return dict(shown(job, context={"request": request}).data)


def enqueued(request: Request, found: operators.Enqueued, *, replayed: bool = False) -> Response:
    """201 with the new job, or 200 with the unfinished one that took it in, which may be another's."""
    data = told(request, found.job, serializers.EnqueuedSerializer) | {"folded": found.folded}
    headers = {"Location": reverse("job", args=[found.job.pk], request=request)}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    code = status.HTTP_200_OK if found.folded else status.HTTP_201_CREATED
    return Response(data, status=code, headers=headers)


class JobsView(ApiView):
    queryset = Job.objects.all()
    filter_backends = (DjangoFilterBackend,)
    filterset_class = JobFilter
    pagination_class = NewestFirst
    required_to_change = "jobs.enqueue_job"
    serializer_class = serializers.EnqueueSerializer

    @extend_schema(operation_id="jobs_list", responses=serializers.JobSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The newest jobs first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        data = serializers.JobSerializer(page, many=True, context={"request": request}).data
        return self.get_paginated_response(data)

    @extend_schema(
        operation_id="jobs_enqueue",
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                str,
                OpenApiParameter.HEADER,
                description="For 24 hours, the same key with the same body gives the same job.",
            )
        ],
        responses={
            201: ENQUEUED,
            200: OpenApiResponse(ENQUEUED, "An unfinished job of the same key took it in."),
        },
        filters=False,
    )
    def post(self, request: Request) -> Response:
        """Enqueue a job of a registered task."""
        actor = self.actor
        actor.require("jobs.enqueue_job")
        asked = self.body(request)
        task = asked.pop("task")

        def enqueue() -> operators.Enqueued:
            return operators.enqueue_job(actor, task, **asked)

        key = self._key(request)
        if key is None:
            return enqueued(request, enqueue())
        client = f"user:{request.user.pk}"
        found, replayed = idempotency.once(client, key, ["jobs", request.data], enqueue)
        return enqueued(request, found, replayed=replayed)

    def _key(self, request: Request) -> str | None:
        key = request.headers.get("Idempotency-Key")
        if key is not None and not _KEY.fullmatch(key):
            raise ValidationError({"Idempotency-Key": ["must be 1 to 255 printable ASCII characters"]})
        return key


class JobView(ApiView):
    pagination_class = None
    serializer_class = serializers.JobDetailSerializer

    @extend_schema(operation_id="jobs_show", parameters=[_PATH])
    def get(self, request: Request, job_id: str) -> Response:
        """One job with its attempts and result."""
        return Response(self.get_serializer(find_job(job_id)).data)


class JobActionView(ApiView):
    """POST does something to one job. The permission is checked before the job is looked for."""

    queryset: QuerySet[Job]
    pagination_class = None

    def act(self, request: Request, job_id: str, action: Any) -> Response:
        options = self.body(request)
        job = action(self.actor, find_job(job_id).pk, **options)
        return Response(told(request, job, serializers.JobDetailSerializer))


class RetryView(JobActionView):
    required_permission = "jobs.retry_job"
    serializer_class = serializers.RetrySerializer

    @extend_schema(operation_id="jobs_retry", parameters=[_PATH], responses=_CHANGED)
    def post(self, request: Request, job_id: str) -> Response:
        """Queue a failed or cancelled job again, with other arguments if given."""
        return self.act(request, job_id, operators.retry_job)


class CancelView(JobActionView):
    required_permission = "jobs.cancel_job"
    serializer_class = serializers.CancelSerializer

    @extend_schema(operation_id="jobs_cancel", parameters=[_PATH], responses=_CHANGED)
    def post(self, request: Request, job_id: str) -> Response:
        """Cancel an unfinished job: a waiting one at once; a running one is asked, then made to stop.

        It stops when it next reports; else its soft limit is raised, and then its process is killed. `cancelling` of
        the job tells how far that has come.
        """
        return self.act(request, job_id, operators.cancel_job)


class DiscardView(JobActionView):
    required_permission = "jobs.discard_job"
    serializer_class = serializers.DiscardSerializer

    @extend_schema(operation_id="jobs_discard", parameters=[_PATH], responses=_CHANGED)
    def post(self, request: Request, job_id: str) -> Response:
        """Discard a waiting or failed job that nobody wants any more."""
        return self.act(request, job_id, operators.discard_job)
