"""/api/v1/jobs/{id}/workflow/"""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.views import ApiView
from jobs.models import Job
from jobs.operators.search import find_job
from jobs.operators.workflow import Workflow, workflow_of


class CulpritSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="A failed or cancelled job: retry or discard it.")
    state = serializers.CharField()


class StepSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="The job's id; a group's for a join.")
    task = serializers.CharField()
    kind = serializers.ChoiceField(["job", "join"], help_text="A join is where a chord's body waits for its members.")
    state = serializers.CharField(
        help_text="A job's, or `to come`; of a join: waiting, resting, joined, dropped or broken."
    )
    exists = serializers.BooleanField(help_text="Whether there is a job, or chord, of this id.")
    after = serializers.ListField(child=serializers.CharField(), help_text="The steps that lead here.")
    done = serializers.IntegerField(help_text="Of a join: members that succeeded.")
    size = serializers.IntegerField(help_text="Of a join: all members.")
    waits_for = CulpritSerializer(many=True)


class WorkflowSerializer(serializers.Serializer[Any]):
    job = serializers.CharField()
    steps = StepSerializer(many=True, help_text="Each after those that lead to it; joins alone if there are too many.")
    is_complete = serializers.BooleanField(help_text="Whether `steps` holds every step.")
    counts = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()), help_text="Jobs by task and state."
    )
    is_counted_in_full = serializers.BooleanField()


def as_data(job: Job, found: Workflow) -> dict[str, Any]:
    """The workflow in JSON."""
    steps = [
        {**asdict(step), "waits_for": [{"id": culprit, "state": state} for culprit, state in step.waits_for]}
        for step in found.steps
    ]
    return {
        "job": job.pk,
        "steps": steps,
        "is_complete": found.is_complete,
        "counts": found.counts,
        "is_counted_in_full": found.is_counted_in_full,
    }


class WorkflowView(ApiView):
    pagination_class = None
    serializer_class = WorkflowSerializer

    @extend_schema(
        operation_id="jobs_workflow",
        parameters=[OpenApiParameter("job_id", str, OpenApiParameter.PATH, description="The job's id.")],
    )
    def get(self, request: Request, job_id: str) -> Response:
        """The workflow that a job belongs to, with what is to come and what a chord waits for."""
        job = find_job(job_id)
        return Response(as_data(job, workflow_of(job)))
