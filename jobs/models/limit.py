"""How much may run at once, or begin in a period, over all workers; and what is paused."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Scope(models.TextChoices):
    EVERYTHING = "everything"
    QUEUE = "queue"
    TASK = "task"


class Limit(models.Model):
    """What holds the jobs of one queue, of one task, or of everything back; empty columns limit nothing.

    A job is under up to three of these, and starts when all of them let it. Postgres alone counts (see `Slot`), so a
    limit holds over all workers; an edit is in force with its commit.
    """

    scope = models.CharField(max_length=10, choices=Scope)
    name = models.CharField(max_length=255, blank=True, default="", help_text="The queue's or the task's.")
    concurrency = models.PositiveIntegerField(null=True, blank=True, help_text="Jobs that run at once, in all.")
    key_concurrency = models.PositiveIntegerField(
        null=True, blank=True, help_text="Jobs of one limit key that run at once; jobs without a key are not limited."
    )
    rate = models.PositiveIntegerField(null=True, blank=True, help_text="Runs that begin within any `rate_seconds`.")
    rate_seconds = models.PositiveIntegerField(default=1, db_default=1)
    paused_at = models.DateTimeField(null=True, blank=True)
    pause_reason = models.TextField(blank=True, default="", db_default="")
    paused_by = models.CharField(max_length=255, blank=True, default="", db_default="")
    resume_at = models.DateTimeField(null=True, blank=True, help_text="When the pause ends by itself.")
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=255, blank=True, default="", db_default="")
    last_key = models.CharField(
        max_length=255, null=True, blank=True, help_text="The limit key admitted last: the next one's turn is now."
    )
    look_at = models.DateTimeField(
        db_default=Now(), help_text="Of everything's row: when dispatchers next look at what waits."
    )

    class Meta:
        default_permissions = ()
        permissions = [
            ("manage_limits", "Can set limits of queues, tasks and everything"),
            ("pause_queue", "Can pause and resume queues, tasks and everything"),
        ]
        ordering = ["scope", "name"]
        constraints = [
            models.UniqueConstraint(name="limit_once_per_scope", fields=["scope", "name"]),
            models.CheckConstraint(
                name="limit_of_everything_has_no_name", condition=Q(scope=Scope.EVERYTHING) ^ ~Q(name="")
            ),
            models.CheckConstraint(
                name="limit_at_least_1",
                condition=(Q(concurrency=None) | Q(concurrency__gte=1))
                & (Q(key_concurrency=None) | Q(key_concurrency__gte=1))
                & (Q(rate=None) | Q(rate__gte=1))
                & Q(rate_seconds__gte=1),
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        return "everything" if self.scope == Scope.EVERYTHING else f"{self.scope} {self.name}"


class Slot(models.Model):
    """One run that a limit has let through: (job, number of the runs before it).

    It is in use while its job is queued and not held, or running, with that number; a crash, a rescue and a finish
    free it by moving the job on, and the next admission clears it away. Under a rate it is kept, ended, until its
    start is older than the period.
    """

    limit = models.ForeignKey(Limit, on_delete=models.CASCADE, related_name="slots", db_index=False)
    # Not a foreign key: it would lock the job's row once more.
    job_id = models.CharField(max_length=255, db_collation="C")
    attempt = models.PositiveIntegerField(help_text="The job's attempt when it was let through.")
    key = models.CharField(max_length=255, help_text="The job's limit key; empty for none.")
    admitted_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    ended = models.BooleanField(default=False, db_default=False)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(name="slot_once_per_run", fields=["job_id", "limit", "attempt"])]
        indexes = [models.Index(name="slot_of_limit", fields=["limit", "ended", "started_at"])]

    def __str__(self) -> str:
        return f"{self.job_id} under limit {self.limit_id}"
