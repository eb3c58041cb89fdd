"""Tasks, projects and rules in JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from jobs.api.serializers import StrictSerializer
from reminders import moment
from reminders.models import Anchor, Audience, Project, ReminderRule, RepeatFrom, Todo
from reminders.operators.times import clock_text
from reminders.operators.todo_values import PRIORITY_WORDS
from reminders.operators.todos import STATES
from reminders.wording import rule_words


def names(help_text: str, **options: Any) -> Any:
    """A list of account names."""
    return serializers.ListField(child=serializers.CharField(), help_text=help_text, **options)


@extend_schema_field({"type": "string", "pattern": r"^\d{2}:\d{2}(:\d{2}(\.\d+)?)?$", "example": "09:30"})
class Clock(serializers.TimeField):
    """A time of the clock, without seconds where there are none."""

    def to_representation(self, value: Any) -> str:
        return clock_text(value)


class PriorityField(serializers.ChoiceField):
    def __init__(self, **options: Any) -> None:
        super().__init__(choices=[(word, word) for word in PRIORITY_WORDS], **options)

    def to_representation(self, value: Any) -> str:
        return PRIORITY_WORDS[value]


class TodoSerializer(serializers.ModelSerializer[Todo]):
    """A task. People are named by their accounts."""

    state = serializers.SerializerMethodField()
    priority = PriorityField()
    project = serializers.CharField(source="project.name", allow_null=True, default=None)
    project_id = serializers.IntegerField(allow_null=True)
    tags = serializers.ListField(child=serializers.CharField())
    creator = serializers.CharField(source="creator.username", allow_null=True, default=None)
    assignees = serializers.SerializerMethodField()
    watchers = serializers.SerializerMethodField()
    start_time = Clock(allow_null=True)
    due_time = Clock(allow_null=True)
    due_at = serializers.DateTimeField(
        allow_null=True, help_text="The instant; of a day without a time, the end of it."
    )
    overdue = serializers.SerializerMethodField()
    repeat_from = serializers.ChoiceField(choices=RepeatFrom.choices)
    done_by = serializers.CharField(source="done_by.username", allow_null=True, default=None)

    class Meta:
        model = Todo
        fields = [
            *("id", "uid", "title", "notes", "state", "priority", "tags", "project", "project_id"),
            *("creator", "assignees", "watchers", "time_zone", "start_date", "start_time", "start_at"),
            *("due_date", "due_time", "due_at", "overdue", "overdue_reminders", "rrule", "repeat_from", "occurrence"),
            *("done_at", "done_by", "created_at", "updated_at"),
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=[(state, state) for state in STATES]))
    def get_state(self, todo: Todo) -> str:
        return "open" if todo.is_open else "cancelled" if todo.cancelled else "done"

    def get_overdue(self, todo: Todo) -> bool:
        return todo.is_open and todo.due_at is not None and todo.due_at <= moment.now()

    def get_assignees(self, todo: Todo) -> list[str]:
        return sorted(user.get_username() for user in todo.assignees.all())

    def get_watchers(self, todo: Todo) -> list[str]:
        return sorted(user.get_username() for user in todo.watchers.all())


class RuleSettingsSerializer(serializers.Serializer[Any]):
    """Relative: offset and anchor. Absolute, of a task alone: at, or at_date and at_time, in time_zone."""

    offset = serializers.CharField(required=False, help_text="Such as -PT15M, -P1D or PT0S.")
    anchor = serializers.ChoiceField(choices=Anchor.choices, required=False)
    at = serializers.CharField(required=False, help_text="Such as 2027-01-31T09:00; sets at_date and at_time.")
    at_date = serializers.DateField(required=False, allow_null=True)
    at_time = Clock(required=False, allow_null=True)
    time_zone = serializers.CharField(required=False, help_text="Yours if left out.")
    audience = serializers.ChoiceField(choices=Audience.choices, required=False)
    person = serializers.CharField(required=False, allow_null=True, help_text="One account, in place of an audience.")


class DefaultRuleSettingsSerializer(serializers.Serializer[Any]):
    offset = serializers.CharField(required=False, help_text="Such as -PT15M, -P1D or PT0S.")
    anchor = serializers.ChoiceField(choices=Anchor.choices, required=False)


class RuleSerializer(serializers.ModelSerializer[ReminderRule]):
    """A rule of a task, or without one a default rule of a person."""

    todo = serializers.IntegerField(source="todo_id", allow_null=True)
    person = serializers.CharField(source="person.username", allow_null=True, default=None)
    audience = serializers.ChoiceField(choices=Audience.choices)
    anchor = serializers.ChoiceField(choices=Anchor.choices)
    at_time = Clock(allow_null=True)
    words = serializers.SerializerMethodField()

    class Meta:
        model = ReminderRule
        fields = [
            *("id", "todo", "person", "audience", "anchor", "offset", "at_date", "at_time", "time_zone", "words"),
            *("set_aside_at", "set_aside_because", "created_at"),
        ]
        read_only_fields = fields

    def get_words(self, rule: ReminderRule) -> str:
        return rule_words(rule)


class TodoSettingsSerializer(serializers.Serializer[Any]):
    """What is set of a task; what is left out stays as it is."""

    title = serializers.CharField(required=False, max_length=500)
    notes = serializers.CharField(required=False, allow_blank=True)
    priority = PriorityField(required=False)
    tags = serializers.ListField(child=serializers.CharField(max_length=50), required=False)
    project = serializers.CharField(required=False, allow_null=True, help_text="Its name, or its number.")
    assignees = names("Account names.", required=False)
    watchers = names("Account names.", required=False)
    time_zone = serializers.CharField(required=False, help_text="Of its dates and times; yours if left out.")
    start = serializers.CharField(required=False, allow_null=True, help_text="Day and perhaps time in one.")
    start_date = serializers.DateField(required=False, allow_null=True)
    start_time = Clock(required=False, allow_null=True)
    due = serializers.CharField(required=False, allow_null=True, help_text="Such as 2027-01-31 or 2027-01-31T09:00.")
    due_date = serializers.DateField(required=False, allow_null=True)
    due_time = Clock(required=False, allow_null=True)
    overdue_reminders = serializers.BooleanField(required=False)
    rrule = serializers.CharField(required=False, allow_blank=True, help_text="Such as FREQ=WEEKLY;BYDAY=MO.")
    repeat_from = serializers.ChoiceField(choices=RepeatFrom.choices, required=False)


class NewTodoSerializer(TodoSettingsSerializer):
    title = serializers.CharField(max_length=500)
    rules = serializers.ListField(child=RuleSettingsSerializer(), required=False)
    creator = serializers.CharField(required=False, help_text="Another account; for operators.")


class CompletedSerializer(TodoSerializer):
    successor = serializers.IntegerField(allow_null=True, help_text="Of one that repeats, the next one.")
    skipped = serializers.IntegerField(help_text="Dates of its series that had passed by now, without a task.")

    class Meta(TodoSerializer.Meta):
        fields = [*TodoSerializer.Meta.fields, "successor", "skipped"]
        read_only_fields = fields


class SnoozeSerializer(StrictSerializer):
    until = serializers.CharField(max_length=40, help_text="PT1H, P1D, 2027-01-31, or 2027-01-31T09:00.")
    person = serializers.CharField(required=False, max_length=150, help_text="Another account; for operators.")


class SnoozedSerializer(serializers.Serializer[Any]):
    todo = serializers.IntegerField()
    until = serializers.DateTimeField()
    people = names("Who is reminded then.")


class BulkSerializer(StrictSerializer):
    action = serializers.ChoiceField(choices=["complete", "snooze", "assign", "delete"])
    ids = serializers.ListField(child=serializers.IntegerField(min_value=1), min_length=1, max_length=1000)
    until = serializers.CharField(required=False, max_length=40, help_text="Of snooze.")
    people = names("Of assign: account names.", required=False)


class EachSerializer(serializers.Serializer[Any]):
    done = serializers.ListField(child=serializers.IntegerField())
    skipped = serializers.ListField(child=serializers.CharField(), help_text="Each with the reason.")


class ProjectSettingsSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(required=False, max_length=200)
    members = names("Account names.", required=False)
    archived = serializers.BooleanField(required=False)


class ProjectSerializer(serializers.ModelSerializer[Project]):
    members = serializers.SerializerMethodField()
    open_todos = serializers.IntegerField(help_text="How many of its tasks are open.")

    class Meta:
        model = Project
        fields = ["id", "name", "members", "open_todos", "archived_at", "created_at"]
        read_only_fields = fields

    def get_members(self, project: Project) -> list[str]:
        return sorted(user.get_username() for user in project.members.all())
