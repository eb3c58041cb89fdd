"""Rules: when somebody is to be reminded of a task; and what follows from them, planned ahead."""

from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q

from reminders.models.people import known_zone
from reminders.models.todo import Todo


class Anchor(models.TextChoices):
    """What an offset is counted from."""

    START = "start"
    DUE = "due"


class Audience(models.TextChoices):
    """Who is reminded. A task without assignees reminds its creator in their place."""

    ASSIGNEES = "assignees"
    WATCHERS = "watchers"
    EVERYONE = "everyone"


def well_formed_offset(text: str) -> None:
    """Raises ValidationError unless it is a duration of RFC 5545, such as -PT15M, -P1D or PT0S."""
    from reminders.clocks import BadDuration, parse_duration

    try:
        parse_duration(text)
    except BadDuration as exc:
        raise ValidationError(str(exc)) from None


class ReminderRule(models.Model):
    """One reminder of one task, or, without a task, one that a person has by default.

    Relative: `anchor` and `offset`. Absolute (of a task only): `at_date`, `at_time`, `time_zone`. A rule of a task with
    a `person` reminds that person alone. Who has default rules is reminded by them of each task assigned to them
    that has no rules of its own. A rule that fails three times is set aside, with the reason, and does not stop others.
    """

    todo = models.ForeignKey(Todo, null=True, blank=True, on_delete=models.CASCADE, related_name="rules")
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="reminder_rules"
    )
    audience = models.CharField(max_length=9, choices=Audience, default=Audience.ASSIGNEES)
    anchor = models.CharField(max_length=5, choices=Anchor, default=Anchor.DUE)
    offset = models.CharField(
        max_length=40,
        blank=True,
        default="",
        validators=[well_formed_offset],
        help_text="As in calendars: -PT15M, -P1D, PT0S. Days are days of the clock, hours are exact.",
    )
    at_date = models.DateField(null=True, blank=True)
    at_time = models.TimeField(null=True, blank=True)
    time_zone = models.CharField(max_length=64, blank=True, default="", validators=[known_zone])
    failures = models.PositiveSmallIntegerField(default=0, editable=False)
    set_aside_at = models.DateTimeField(null=True, blank=True)
    set_aside_because = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="rule_relative_or_absolute",
                condition=Q(at_date=None, at_time=None, time_zone="") & ~Q(offset="")
                | Q(at_date__isnull=False, at_time__isnull=False, offset="") & ~Q(time_zone=""),
            ),
            models.CheckConstraint(
                name="rule_of_task_or_person", condition=Q(todo__isnull=False) | Q(person__isnull=False, at_date=None)
            ),
            models.CheckConstraint(
                name="rule_set_aside_because", condition=Q(set_aside_at=None) ^ ~Q(set_aside_because="")
            ),
            models.UniqueConstraint(
                name="rule_default_once", fields=["person", "anchor", "offset"], condition=Q(todo=None)
            ),
        ]

        # Among the rules of a million tasks, the few that are of people.
        indexes = [models.Index(F("id").desc(), name="rule_default_newest", condition=Q(todo=None))]

    def __str__(self) -> str:
        when = f"{self.at_date} {self.at_time} {self.time_zone}" if self.at_date else f"{self.offset} of {self.anchor}"
        return f"{when} for {self.person or self.audience}"


class DefaultRules(models.Manager["DefaultRule"]):
    def get_queryset(self) -> "models.QuerySet[DefaultRule]":
        return super().get_queryset().filter(todo=None)


class DefaultRule(ReminderRule):
    """Those without a task: how people are reminded of tasks that have no rules of their own."""

    objects: ClassVar[DefaultRules] = DefaultRules()

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "default rule"


class PlannedReminder(models.Model):
    """When a rule fires next for one recipient: what the scan looks for. Deleted as it fires, rewritten with its task.

    `kind` names the rule: rule:7, overdue:0 to overdue:2, snooze:3.
    """

    todo = models.ForeignKey(Todo, on_delete=models.CASCADE, related_name="planned", db_index=False)
    recipient = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=40)
    rule = models.ForeignKey(ReminderRule, null=True, on_delete=models.CASCADE, related_name="+")
    fire_at = models.DateTimeField()
    schedule_version = models.PositiveIntegerField(help_text="Of the task, when this was planned.")

    class Meta:
        constraints = [models.UniqueConstraint(name="planned_once", fields=["todo", "kind", "recipient"])]
        indexes = [
            models.Index(name="planned_due", fields=["fire_at", "id"]),
            models.Index(name="planned_for", fields=["recipient", "fire_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of todo {self.todo_id} for user {self.recipient_id}"
