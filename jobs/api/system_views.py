"""/api/v1/tasks/, /api/v1/queues/, /api/v1/workers/ and /api/v1/schedules/"""

from dataclasses import asdict
from typing import ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from jobs.api import schedule_serializers, serializers
from jobs.api.job_views import ENQUEUED, enqueued
from jobs.api.pagination import ByName, LatestDueFirst
from jobs.api.views import ApiView, page_of, whole_list
from jobs.ledger.errors import JobRefused
from jobs.models import ScheduleTick, Worker
from jobs.operators import queues, schedule_edits, schedules
from jobs.registry import ArgumentsDoNotFit, UnknownTask, registered_tasks
from jobs.schedules.calls import ScheduleUnusable
from jobs.schedules.next_runs import MAX_COUNT, next_runs

_ID = OpenApiParameter("schedule_id", int, OpenApiParameter.PATH, description="The schedule's number.")


class TasksView(ApiView):
    pagination_class = None
    serializer_class = serializers.TaskSerializer

    @extend_schema(operation_id="tasks_list", responses=page_of(serializers.TaskSerializer, "TaskPage"))
    def get(self, request: Request) -> Response:
        """The registered tasks, and what their arguments must be."""
        rows = [asdict(task) for task in registered_tasks()]
        return whole_list(list(self.get_serializer(rows, many=True).data))


class QueuesView(ApiView):
    pagination_class = None
    serializer_class = serializers.QueueSerializer

    @extend_schema(operation_id="queues_list", responses=page_of(serializers.QueueSerializer, "QueuePage"))
    def get(self, request: Request) -> Response:
        """Every queue, how full it is and who serves it."""
        return whole_list(list(self.get_serializer(queues.queue_states(), many=True).data))


class WorkersView(ApiView):
    queryset = Worker.objects.all()
    pagination_class = ByName
    required_permission = "jobs.view_worker"
    serializer_class = serializers.WorkerSerializer

    @extend_schema(operation_id="workers_list", responses=serializers.WorkerSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Workers and beats as they last reported, and what they run."""
        page = self.paginate_queryset(queues.workers()) or []
        context = {"request": request, "running": queues.running_on([worker.name for worker in page])}
        return self.get_paginated_response(serializers.WorkerSerializer(page, many=True, context=context).data)


class SchedulesView(ApiView):
    queryset = schedules.all_schedules()
    pagination_class = ByName
    required_permission = "django_celery_beat.view_periodictask"
    required_to_change = "django_celery_beat.add_periodictask"
    serializer_class = schedule_serializers.ScheduleSpecSerializer

    @extend_schema(operation_id="schedules_list", responses=schedule_serializers.ScheduleSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Schedules by name."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(schedule_serializers.ScheduleSerializer(page, many=True).data)

    @extend_schema(operation_id="schedules_create", responses={201: schedule_serializers.ScheduleSerializer})
    def post(self, request: Request) -> Response:
        """Make a schedule."""
        made = schedule_edits.create_schedule(self.actor, self.body(request))
        headers = {"Location": reverse("schedule", args=[made.pk], request=request)}
        return Response(schedule_serializers.ScheduleSerializer(made).data, status=201, headers=headers)


class ScheduleView(ApiView):
    pagination_class = None
    required_permission = "django_celery_beat.view_periodictask"
    required_to_change = "django_celery_beat.change_periodictask"
    required_by_method: ClassVar[dict[str, str]] = {"DELETE": "django_celery_beat.delete_periodictask"}
    serializer_class = schedule_serializers.ScheduleSpecSerializer

    @extend_schema(operation_id="schedules_show", parameters=[_ID], responses=schedule_serializers.ScheduleSerializer)
    def get(self, request: Request, schedule_id: int) -> Response:
        """One schedule."""
        return Response(schedule_serializers.ScheduleSerializer(schedules.find_schedule(schedule_id)).data)

    @extend_schema(operation_id="schedules_change", parameters=[_ID], responses=schedule_serializers.ScheduleSerializer)
    def patch(self, request: Request, schedule_id: int) -> Response:
        """Change the fields that are named; a new timetable takes the place of the one before."""
        changes = self.body(request, partial=True)
        changed = schedule_edits.edit_schedule(self.actor, schedule_id, changes)
        return Response(schedule_serializers.ScheduleSerializer(changed).data)

    @extend_schema(operation_id="schedules_delete", parameters=[_ID], responses={204: None})
    def delete(self, request: Request, schedule_id: int) -> Response:
        """Delete a schedule; its jobs stay."""
        schedule_edits.delete_schedule(self.actor, schedule_id)
        return Response(status=204)


class ScheduleRunView(ApiView):
    pagination_class = None
    required_permission = "jobs.enqueue_job"
    serializer_class = serializers.NothingSerializer

    @extend_schema(
        operation_id="schedules_run",
        parameters=[_ID],
        responses={
            201: ENQUEUED,
            200: OpenApiResponse(ENQUEUED, "An unfinished job of the same key took it in."),
        },
    )
    def post(self, request: Request, schedule_id: int) -> Response:
        """Enqueue a schedule's job at once; when it next runs by itself stays as it is."""
        self.body(request)
        try:
            return enqueued(request, schedules.enqueue_run(self.actor, schedule_id))
        except (UnknownTask, ArgumentsDoNotFit, JobRefused) as exc:
            # Not this request is wrong but the schedule.
            raise ScheduleUnusable(str(exc)) from None


class ScheduleUpcomingView(ApiView):
    pagination_class = None
    required_permission = "django_celery_beat.view_periodictask"
    serializer_class = schedule_serializers.RunSerializer
    parameters = frozenset({"count"})

    @extend_schema(
        operation_id="schedules_upcoming",
        parameters=[_ID, OpenApiParameter("count", OpenApiTypes.INT, description="From 1 to 100; 5 if left out.")],
        responses=page_of(schedule_serializers.RunSerializer, "RunPage"),
    )
    def get(self, request: Request, schedule_id: int) -> Response:
        """When a schedule runs next."""
        runs = next_runs(schedules.find_schedule(schedule_id), self._count(request))
        return whole_list(list(self.get_serializer(runs, many=True).data))

    def _count(self, request: Request) -> int:
        text = request.query_params.get("count", "5")
        if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MAX_COUNT):
            raise ValidationError({"count": [f"{text[:40]!r} is not a whole number from 1 to {MAX_COUNT}"]})
        return int(text)


class ScheduleTicksView(ApiView):
    queryset = ScheduleTick.objects.none()
    pagination_class = LatestDueFirst
    required_permission = "django_celery_beat.view_periodictask"
    serializer_class = schedule_serializers.TickSerializer

    @extend_schema(
        operation_id="schedules_ticks", parameters=[_ID], responses=schedule_serializers.TickSerializer(many=True)
    )
    def get(self, request: Request, schedule_id: int) -> Response:
        """What became of a schedule's due times of the last 30 days, missed ones too; the latest first."""
        page = self.paginate_queryset(schedules.ticks_of(schedules.find_schedule(schedule_id)))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)
