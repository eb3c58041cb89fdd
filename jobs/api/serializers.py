"""What goes in and out as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from django_celery_results.models import TaskResult
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from jobs.lanes import QUEUES
from jobs.ledger.limits import reasons_to_wait
from jobs.models import ApiToken, Attempt, Job, JobEvent, State, Worker
from jobs.models.job import Outcome
from jobs.operators.cancelling import cancelling_of
from jobs.registry import UnknownTask, find_task
from jobs.unique_options import QUEUED, UNFINISHED

#: Events of a job that are shown.
MOST_EVENTS = 100


@extend_schema_field(OpenApiTypes.ANY)
class AnyJson(serializers.JSONField):
    """Any JSON value."""


@extend_schema_field({"type": "array", "items": {}})
class JsonList(serializers.JSONField):
    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, list):
            raise serializers.ValidationError("must be a list")
        return data


@extend_schema_field({"type": "object", "additionalProperties": {}})
class JsonObject(serializers.JSONField):
    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError("must be an object")
        return data


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know: a misspelt one would be dropped without a word."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [key for key in data if key not in self.fields]
            if unknown:
                known = ", ".join(self.fields)
                raise serializers.ValidationError({key: [f"unknown field; choose from: {known}"] for key in unknown})
        return super().to_internal_value(data)


class EnqueueSerializer(StrictSerializer):
    task = serializers.CharField(max_length=255, help_text="A registered task; see /api/v1/tasks/.")
    args = JsonList(default=list)  # type: ignore[arg-type]  # the stubs know of objects only
    kwargs = JsonObject(default=dict)
    queue = serializers.CharField(required=False, allow_null=True, help_text="The task's own queue if left out.")
    priority = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=9, help_text="9 is taken first."
    )
    run_at = serializers.DateTimeField(required=False, allow_null=True, help_text="Not before this time.")
    unique_key = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=255,
        help_text="While an unfinished job has this key, it takes this one in, and is answered with 200 and folded.",
    )
    unique_while = serializers.ChoiceField(
        choices=[UNFINISHED, QUEUED],
        required=False,
        allow_null=True,
        help_text="Whether unique_key is held until the job has finished, or only until its run begins.",
    )
    unique_for_seconds = serializers.FloatField(
        required=False, allow_null=True, help_text="Hold it for so long after the enqueueing, also when succeeded."
    )
    debounce_seconds = serializers.FloatField(
        required=False,
        allow_null=True,
        help_text="Wait so long; a newer one of the key brings its arguments and starts the wait anew.",
    )
    debounce_max_seconds = serializers.FloatField(
        required=False, allow_null=True, help_text="The longest wait of a debounced job; ten times as long if left out."
    )
    supersede = serializers.BooleanField(
        required=False, help_text="Take the place of waiting jobs of the key; ask running ones to stop."
    )

    def validate_task(self, value: str) -> str:
        try:
            find_task(value)
        except UnknownTask as exc:
            raise serializers.ValidationError(str(exc)) from None
        return value

    def validate_queue(self, value: str | None) -> str | None:
        if value is not None and value not in QUEUES:
            raise serializers.ValidationError(f"unknown queue {value!r}; choose from: {', '.join(QUEUES)}")
        return value


class RetrySerializer(StrictSerializer):
    args = JsonList(required=False, allow_null=True, help_text="Instead of the job's own.")
    kwargs = JsonObject(required=False, allow_null=True, help_text="Instead of the job's own.")


class DiscardSerializer(StrictSerializer):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=1000)


class NothingSerializer(StrictSerializer):
    """An empty body, or {}."""


class JobListSerializer(serializers.ListSerializer[Any]):
    """Fetches the results of a whole page in one query."""

    def to_representation(self, data: Any) -> list[Any]:
        jobs = list(data)
        child: Any = self.child
        child.context["results"] = results_of(jobs)
        return [child.to_representation(job) for job in jobs]


class JobSerializer(serializers.ModelSerializer[Job]):
    state = serializers.ChoiceField(choices=State.choices)
    args = JsonList()
    kwargs = JsonObject()
    attempt = serializers.IntegerField(
        source="attempts_used", help_text="Runs so far that count: not those that crashed, were handed back or snoozed."
    )
    crashes = serializers.IntegerField(help_text="Runs that ended with their process or their worker.")
    worker = serializers.SerializerMethodField(help_text="That runs it, or ran it last.")
    progress = serializers.FloatField(allow_null=True, help_text="From 0 to 1.")
    error = serializers.SerializerMethodField(help_text="The latest error in one line.")
    reason = serializers.SerializerMethodField(help_text="Why it was cancelled or discarded.")
    result = serializers.SerializerMethodField(help_text="What the task returned, while that is kept.")

    class Meta:
        model = Job
        list_serializer_class = JobListSerializer
        fields = [
            *("id", "task", "args", "kwargs", "queue", "priority", "state", "attempt", "max_attempts", "unique_key"),
            *("run_at", "created_at", "started_at", "finished_at", "worker", "progress", "error", "result", "origin"),
            *("origin_detail", "progress_note", "reason", "cancel_requested_at", "expires_at"),
            *("parent_id", "root_id", "group_id", "crashes"),
        ]
        read_only_fields = fields

    def get_worker(self, job: Job) -> str | None:
        return job.worker or None

    def get_error(self, job: Job) -> str | None:
        return job.error or None

    def get_reason(self, job: Job) -> str | None:
        return job.reason or None

    @extend_schema_field(OpenApiTypes.ANY)
    def get_result(self, job: Job) -> Any:
        if "results" not in self.context:
            return results_of([job]).get(job.pk)
        return self.context["results"].get(job.pk)


class EnqueuedSerializer(JobSerializer):
    """A job, and whether it was there before."""

    folded = serializers.BooleanField(read_only=True, help_text="True if the job that holds this key took it in.")

    class Meta(JobSerializer.Meta):
        fields = [*JobSerializer.Meta.fields, "folded"]
        read_only_fields = fields


class BriefJobSerializer(serializers.ModelSerializer[Job]):
    """What is told of a job to those who may not see jobs."""

    state = serializers.ChoiceField(choices=State.choices)

    class Meta:
        model = Job
        fields = ["id", "state"]
        read_only_fields = fields


class BriefEnqueuedSerializer(BriefJobSerializer):
    folded = serializers.BooleanField(read_only=True)

    class Meta(BriefJobSerializer.Meta):
        fields = [*BriefJobSerializer.Meta.fields, "folded"]
        read_only_fields = fields


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    outcome = serializers.ChoiceField(choices=[*Outcome.choices, ("running", "Running")])
    finished_at = serializers.DateTimeField(allow_null=True)

    class Meta:
        model = Attempt
        fields = [
            *("number", "outcome", "worker", "pid", "started_at", "finished_at", "error_class", "message", "traceback")
        ]


class CancellingSerializer(serializers.Serializer[Any]):
    """How far a request to stop a job has come."""

    requested_at = serializers.DateTimeField()
    mode = serializers.ChoiceField(choices=["asked", "graced", "forced"])
    stage = serializers.ChoiceField(
        choices=["requested", "soft", "killed"],
        help_text="soft: its soft limit was raised; killed: its process was, with all that it had started.",
    )
    outcome = serializers.CharField(allow_null=True, help_text="How the job ended; null while it runs.")


class EventSerializer(serializers.ModelSerializer[JobEvent]):
    """Something that happened to a job beside its runs."""

    detail = JsonObject(help_text="Further facts, by kind.")

    class Meta:
        model = JobEvent
        fields = ["at", "kind", "text", "detail"]


class JobDetailSerializer(JobSerializer):
    attempts = serializers.SerializerMethodField(help_text="Oldest first; the last may be running.")
    events = serializers.SerializerMethodField(help_text="What happened to it beside its runs; the newest 100.")
    cancelling = serializers.SerializerMethodField(help_text="Null unless it was asked to stop while it ran.")
    waits_for = serializers.SerializerMethodField(help_text="The pauses and limits that hold a queued job back.")

    class Meta(JobSerializer.Meta):
        fields = [*JobSerializer.Meta.fields, "limit_key", "waits_for", "attempts", "events", "cancelling"]
        read_only_fields = fields

    @extend_schema_field(EventSerializer(many=True))
    def get_events(self, job: Job) -> list[Any]:
        newest = list(job.events.order_by("-at", "-id")[:MOST_EVENTS])
        return list(EventSerializer(newest[::-1], many=True).data)

    @extend_schema_field(CancellingSerializer(allow_null=True))
    def get_cancelling(self, job: Job) -> Any:
        found = cancelling_of(job)
        return CancellingSerializer(found).data if found is not None else None

    def get_waits_for(self, job: Job) -> list[str]:
        return reasons_to_wait(job)

    @extend_schema_field(AttemptSerializer(many=True))
    def get_attempts(self, job: Job) -> list[Any]:
        ended = list(job.attempts.order_by("number", "started_at"))
        if job.state == State.RUNNING and job.started_at is not None:
            ended.append(
                Attempt(
                    number=job.attempt, outcome="running", worker=job.worker, pid=job.pid, started_at=job.started_at
                )
            )
        return list(AttemptSerializer(ended, many=True).data)


def results_of(jobs: list[Job]) -> dict[str, Any]:
    """What the succeeded ones of these jobs returned, by id; none for those whose result is not kept."""
    ids = [job.pk for job in jobs if job.state == State.SUCCEEDED]
    if not ids:
        return {}
    rows = TaskResult.objects.filter(task_id__in=ids, status="SUCCESS").values_list("task_id", "result")
    return {task_id: decode_result(text) for task_id, text in rows}


def decode_result(text: str | None) -> Any:
    """A stored result as JSON values; NaN and Infinity, which JSON has not, as words."""
    if not text:
        return None
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text


class TaskSerializer(serializers.Serializer[Any]):
    """A registered task."""

    name = serializers.CharField()
    summary = serializers.CharField()
    queue = serializers.CharField()
    max_attempts = serializers.IntegerField()
    unique = serializers.BooleanField(help_text="Whether jobs with the same key are folded into one.")
    unique_options = JsonObject(allow_null=True, help_text="How long a key is held, and what a newer job of it does.")
    parameters = serializers.ListField(child=JsonObject(), help_text="name, type, required, default")


class QueueSerializer(serializers.Serializer[Any]):
    """A queue and how full it is."""

    name = serializers.CharField()
    lane = serializers.CharField(help_text="The worker pool that serves it.")
    purpose = serializers.CharField()
    waiting = serializers.IntegerField(help_text="Due, and not yet taken.")
    scheduled = serializers.IntegerField(help_text="Due later.")
    running = serializers.IntegerField()
    oldest_waiting_seconds = serializers.FloatField(allow_null=True)
    workers = serializers.IntegerField(help_text="Workers alive that serve it.")
    held = serializers.IntegerField(help_text="Of those that wait: held back by a pause or a limit.")
    paused = serializers.BooleanField()
    limits = serializers.CharField(allow_blank=True, help_text="Its pause and its limits in words.")


class WorkerSerializer(serializers.ModelSerializer[Worker]):
    state = serializers.ChoiceField(choices=["alive", "silent", "stopped"])
    queues = serializers.ListField(child=serializers.CharField())
    running = serializers.SerializerMethodField(help_text="Ids of the jobs that it runs now.")

    class Meta:
        model = Worker
        fields = [
            *("name", "state", "host", "pid", "queues", "children", "memory_bytes", "version", "running"),
            *("started_at", "heartbeat_at", "stopped_at"),
        ]

    def get_running(self, worker: Worker) -> list[str]:
        running: dict[str, list[str]] = self.context.get("running", {})
        return running.get(worker.name, [])


class StrictBoolean(serializers.BooleanField):
    """true or false, and nothing that could pass for them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("must be true or false")
        return data


class CancelSerializer(StrictSerializer):
    force = StrictBoolean(
        default=False, help_text="Kill a running job's process at once, with all that it started, instead of asking."
    )


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    """A token without its text, which is not kept."""

    user = serializers.CharField(source="user.username")

    class Meta:
        model = ApiToken
        fields = [*("id", "name", "prefix", "user", "created_at", "expires_at", "last_used_at", "revoked_at")]
        read_only_fields = fields


class NewTokenSerializer(TokenSerializer):
    token = serializers.CharField(help_text="Shown this once.")

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "token"]
        read_only_fields = fields


class TokenSpecSerializer(StrictSerializer):
    name = serializers.CharField(max_length=100, help_text="What it is for.")
    user = serializers.CharField(required=False, help_text="Your own if left out; another's for superusers alone.")
    expires_at = serializers.DateTimeField(required=False, allow_null=True, help_text="Until it is revoked if null.")


class SecretStateSerializer(serializers.Serializer[Any]):
    """Whether a secret is entered; it is never told."""

    set = serializers.BooleanField()


@extend_schema_field(SecretStateSerializer)
class SecretState(serializers.Field[Any, Any, Any, Any]):
    def __init__(self) -> None:
        super().__init__(read_only=True)

    def to_representation(self, value: Any) -> dict[str, bool]:
        return {"set": bool(value)}
