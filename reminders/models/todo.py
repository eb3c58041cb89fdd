"""To-do tasks of people, and the projects that they belong to."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import F, Q

from reminders.models.people import known_zone


class Project(models.Model):
    """Tasks that belong together; its members see all of them."""

    name = models.CharField(max_length=200, unique=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="todo_projects", blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Priority(models.IntegerChoices):
    """The larger, the more pressing. Reminders of urgent tasks may pass quiet hours."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    URGENT = 4


class RepeatFrom(models.TextChoices):
    """What the next date of a repeated task is counted from."""

    DUE = "due"
    COMPLETION = "completion"


class Todo(models.Model):
    """One task of people, open until `done_at`.

    What was entered is kept as it was: a local date, perhaps a local time, and the zone that they are of. `due_at` is
    the instant that follows from it, or for a date without a time the end of that day in the zone; lists and indexes
    use it. A task that repeats makes its successor when it is done (`series`, `occurrence`).
    """

    uid = models.CharField(max_length=255, help_text="In calendars; unique among a person's tasks.")
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.SET_NULL, related_name="todos")
    title = models.CharField(max_length=500)
    notes = models.TextField(blank=True, default="")
    priority = models.PositiveSmallIntegerField(choices=Priority, default=Priority.NONE)
    tags = ArrayField(models.CharField(max_length=50), default=list, blank=True)

    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="created_todos"
    )
    assignees = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="assigned_todos", blank=True)
    watchers = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="watched_todos", blank=True)

    time_zone = models.CharField(max_length=64, default="UTC", validators=[known_zone])
    start_date = models.DateField(null=True, blank=True)
    start_time = models.TimeField(null=True, blank=True)
    due_date = models.DateField(null=True, blank=True)
    due_time = models.TimeField(null=True, blank=True)
    start_at = models.DateTimeField(null=True, blank=True, editable=False)
    due_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Counts what reminders depend on: those of a former schedule are superseded, and never fire.
    schedule_version = models.PositiveIntegerField(default=0, editable=False)
    overdue_reminders = models.BooleanField(
        default=True, help_text="Remind when it is due, its assignees again a day later, its watchers after three."
    )

    rrule = models.CharField(max_length=500, blank=True, default="", help_text="Such as FREQ=WEEKLY;BYDAY=MO.")
    repeat_from = models.CharField(max_length=10, choices=RepeatFrom, default=RepeatFrom.DUE)
    series = models.UUIDField(null=True, blank=True, editable=False)
    occurrence = models.PositiveIntegerField(default=0, editable=False, help_text="Counted from 0 within its series.")
    # The first due date of the series: COUNT and INTERVAL are counted from there.
    series_start = models.DateField(null=True, blank=True, editable=False)

    done_at = models.DateTimeField(null=True, blank=True)
    done_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    cancelled = models.BooleanField(default=False, help_text="Given up: closed, and not done.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    search = models.GeneratedField(
        expression=SearchVector("title", "notes", config="simple"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(name="todo_uid_of_creator", fields=["creator", "uid"]),
            models.UniqueConstraint(
                name="todo_once_in_series", fields=["series", "occurrence"], condition=Q(series__isnull=False)
            ),
            models.CheckConstraint(
                name="todo_time_needs_date",
                condition=(Q(due_time=None) | Q(due_date__isnull=False))
                & (Q(start_time=None) | Q(start_date__isnull=False)),
            ),
            models.CheckConstraint(
                name="todo_instants_of_dates",
                condition=(Q(due_date=None) ^ Q(due_at__isnull=False))
                & (Q(start_date=None) ^ Q(start_at__isnull=False)),
            ),
            models.CheckConstraint(name="todo_priority_known", condition=Q(priority__in=Priority.values)),
            models.CheckConstraint(
                name="todo_cancelled_is_closed", condition=Q(cancelled=False) | Q(done_at__isnull=False)
            ),
            models.CheckConstraint(name="todo_repeats_from_a_date", condition=Q(rrule="") | Q(due_date__isnull=False)),
        ]
        indexes = [
            models.Index(name="todo_open_by_due", fields=["due_at", "id"], condition=Q(done_at=None)),
            models.Index(F("created_at").desc(), F("id").desc(), name="todo_newest"),
            models.Index(name="todo_done", fields=["-done_at", "-id"], condition=Q(done_at__isnull=False)),
            GinIndex(name="todo_tags", fields=["tags"]),
            GinIndex(name="todo_search", fields=["search"]),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_open(self) -> bool:
        return self.done_at is None
