"""Schedules as JSON."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from jobs.api.serializers import JsonList, JsonObject, StrictBoolean, StrictSerializer, decode_result
from jobs.models import ScheduleTick
from jobs.schedules.defaults import differences
from jobs.schedules.next_runs import describe_schedule, next_runs, time_zone_of


class IntervalSerializer(StrictSerializer):
    every = serializers.IntegerField(help_text="From 1 to 100,000.")
    period = serializers.CharField(help_text="seconds, minutes, hours or days.")


class CrontabSerializer(StrictSerializer):
    minute = serializers.CharField()
    hour = serializers.CharField(required=False, help_text="* if left out, as for the parts below.")
    day_of_month = serializers.CharField(required=False)
    month_of_year = serializers.CharField(required=False)
    day_of_week = serializers.CharField(required=False, help_text="0 or 7 is Sunday.")
    timezone = serializers.CharField(required=False, help_text="Such as Europe/Lisbon; the site's if left out.")


class ClockedSerializer(StrictSerializer):
    at = serializers.DateTimeField(help_text="Not in the past.")


class SolarSerializer(StrictSerializer):
    event = serializers.CharField(help_text="Such as sunrise, sunset or solar_noon.")
    latitude = serializers.FloatField()
    longitude = serializers.FloatField()


class ScheduleSerializer(serializers.ModelSerializer[PeriodicTask]):
    args = serializers.SerializerMethodField()
    kwargs = serializers.SerializerMethodField()
    schedule = serializers.SerializerMethodField(help_text="In words.")
    time_zone = serializers.SerializerMethodField()
    next_run_at = serializers.SerializerMethodField()
    catch_up = serializers.CharField(source="policy.catch_up", help_text="What becomes of missed ticks.")
    catch_up_limit = serializers.IntegerField(source="policy.catch_up_limit")
    grace_seconds = serializers.IntegerField(source="policy.grace_seconds", allow_null=True)
    problem = serializers.CharField(source="policy.problem", help_text="Why it has no next run, if so.")
    differs_from_default = serializers.SerializerMethodField(
        help_text="The parts that differ from what the code says: {part: {now, default}}. Empty too without a default."
    )
    interval = IntervalSerializer(read_only=True, allow_null=True)
    crontab = CrontabSerializer(read_only=True, allow_null=True)
    clocked = serializers.SerializerMethodField()
    solar = SolarSerializer(read_only=True, allow_null=True)

    class Meta:
        model = PeriodicTask
        fields = [
            *("id", "name", "task", "args", "kwargs", "queue", "priority", "enabled", "schedule", "time_zone"),
            *("next_run_at", "last_run_at", "total_run_count", "one_off", "start_time", "expires", "description"),
            *("expire_seconds", "interval", "crontab", "clocked", "solar"),
            *("catch_up", "catch_up_limit", "grace_seconds", "problem", "differs_from_default"),
        ]
        read_only_fields = fields

    @extend_schema_field(OpenApiTypes.ANY)
    def get_args(self, task: PeriodicTask) -> Any:
        return decode_result(task.args or "[]")

    @extend_schema_field(OpenApiTypes.ANY)
    def get_kwargs(self, task: PeriodicTask) -> Any:
        return decode_result(task.kwargs or "{}")

    @extend_schema_field(ClockedSerializer(allow_null=True))
    def get_clocked(self, task: PeriodicTask) -> Any:
        return {"at": task.clocked.clocked_time.isoformat()} if task.clocked else None

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {}}})
    def get_differs_from_default(self, task: PeriodicTask) -> Any:
        return differences(task)

    def get_schedule(self, task: PeriodicTask) -> str:
        return describe_schedule(task)

    def get_time_zone(self, task: PeriodicTask) -> str:
        return str(time_zone_of(task))

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_next_run_at(self, task: PeriodicTask) -> Any:
        runs = next_runs(task, 1)
        return runs[0].isoformat() if runs else None


class TickSerializer(serializers.ModelSerializer[ScheduleTick]):
    """What became of one due time."""

    job = serializers.CharField(source="job_id", allow_null=True, help_text="Sent for it, or that it was folded into.")

    class Meta:
        model = ScheduleTick
        fields = ["due_at", "outcome", "job", "at", "detail", "ticks"]
        read_only_fields = fields


class ScheduleSpecSerializer(StrictSerializer):
    """A schedule with one timetable: interval, crontab, clocked or solar. What the values may be, the service tells."""

    name = serializers.CharField(help_text="Unique; the origin of its jobs.")
    task = serializers.CharField(help_text="A registered task; see /api/v1/tasks/.")
    args = JsonList(required=False)
    kwargs = JsonObject(required=False)
    queue = serializers.CharField(required=False, allow_null=True, help_text="The task's own queue if null.")
    priority = serializers.IntegerField(required=False, allow_null=True, help_text="0 to 9; 9 is taken first.")
    enabled = StrictBoolean(required=False)
    one_off = StrictBoolean(required=False, help_text="Whether it runs a single time.")
    start_time = serializers.DateTimeField(required=False, allow_null=True, help_text="Not before this time.")
    expires = serializers.DateTimeField(required=False, allow_null=True, help_text="Not after this time.")
    expire_seconds = serializers.IntegerField(required=False, allow_null=True, help_text="How long its jobs may wait.")
    description = serializers.CharField(required=False, allow_blank=True)
    catch_up = serializers.CharField(
        required=False, help_text="What becomes of missed ticks: run_once (the default), skip or run_all."
    )
    catch_up_limit = serializers.IntegerField(required=False, help_text="The most that run_all runs; 1 to 1,000.")
    grace_seconds = serializers.IntegerField(
        required=False, allow_null=True, help_text="A tick that is later than this is not run."
    )
    interval = IntervalSerializer(required=False, allow_null=True)
    crontab = CrontabSerializer(required=False, allow_null=True)
    clocked = ClockedSerializer(required=False, allow_null=True)
    solar = SolarSerializer(required=False, allow_null=True)


class RunSerializer(serializers.Serializer[datetime]):
    """One run to come."""

    run_at = serializers.SerializerMethodField(help_text="In the schedule's own time zone.")
    in_seconds = serializers.SerializerMethodField()

    @extend_schema_field(OpenApiTypes.DATETIME)
    def get_run_at(self, run: datetime) -> str:
        return run.isoformat()

    def get_in_seconds(self, run: datetime) -> int:
        return round((run - timezone.now()).total_seconds())
