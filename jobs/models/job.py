"""What is owed and what became of it: jobs, and their ended attempts."""

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce


class State(models.TextChoices):
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


UNFINISHED = (State.SCHEDULED, State.QUEUED, State.RUNNING)
FINISHED = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.DISCARDED)


class Outcome(models.TextChoices):
    """How an attempt ended.

    retried: the task asked for another run without an error. crashed: its process died. lost: its worker did.
    handed back: its worker was stopped. superseded: it went on after the job had moved on, and counted for nothing.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    SNOOZED = "snoozed"
    CRASHED = "crashed"
    LOST = "lost"
    HANDED_BACK = "handed_back", "handed back"
    SUPERSEDED = "superseded"


class Job(models.Model):
    """One call of a task; its id is the Celery task id.

    scheduled → queued → running → succeeded | failed | cancelled | discarded.
    Only `jobs.ledger.states` changes a state. Rows are written by the ledger in SQL, so defaults here are for
    tests and the admin. Times come from Postgres' clock.
    """

    # Collation C lets the primary key serve searches by prefix.
    id = models.CharField(primary_key=True, max_length=255, db_collation="C")
    task = models.CharField(max_length=255)
    args = models.JSONField(default=list)
    kwargs = models.JSONField(default=dict)
    queue = models.CharField(max_length=64)
    priority = models.SmallIntegerField(default=5, help_text="0 to 9; 9 is taken first.")
    state = models.CharField(max_length=9, choices=State, default=State.QUEUED)

    attempt = models.PositiveIntegerField(default=0, help_text="Runs so far, the present one included.")
    max_attempts = models.PositiveIntegerField(default=1)
    crashes = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="Runs that ended with their process.")
    uncounted = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Runs that used up no attempt: crashed, lost, handed back or snoozed."
    )
    unique_key = models.CharField(max_length=255, null=True, blank=True)
    unique_until_start = models.BooleanField(
        default=False, db_default=False, help_text="Gives its key up for good when a run begins."
    )
    unique_until = models.DateTimeField(
        null=True, blank=True, help_text="Having succeeded, it holds its key until then all the same."
    )
    key_released = models.BooleanField(default=False, db_default=False, help_text="Another job may take its key.")
    debounce_by = models.DateTimeField(
        null=True, blank=True, help_text="A newer send of its key moves its start no further than this."
    )

    run_at = models.DateTimeField(help_text="Not before this time.")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True, help_text="When its message was last handed to the broker.")
    sends = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Messages sent for the present wait; each doubles the grace before the next."
    )
    held = models.BooleanField(default=False, db_default=False, help_text="Waits in Postgres for a limit or a pause.")
    limit_key = models.CharField(
        max_length=255,
        null=True,
        blank=True,
        db_collation="C",
        help_text="What a limit per key counts it under, for example a repository.",
    )
    started_at = models.DateTimeField(null=True, blank=True, help_text="When the latest attempt began.")
    finished_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)

    worker = models.CharField(max_length=255, blank=True, default="")
    pid = models.IntegerField(null=True, blank=True)
    claim_id = models.UUIDField(null=True, blank=True)

    progress = models.FloatField(null=True, blank=True, help_text="From 0 to 1.")
    progress_note = models.TextField(blank=True, default="")
    error = models.TextField(blank=True, default="", help_text="The latest error in one line.")
    reason = models.TextField(blank=True, default="", help_text="Why it was cancelled or discarded.")

    origin = models.CharField(
        max_length=16, default="code", help_text="code, api, admin, command, schedule, workflow or foreign."
    )
    origin_detail = models.CharField(max_length=255, blank=True, default="", help_text="The user, schedule or host.")
    parent_id = models.CharField(max_length=255, null=True, blank=True, db_collation="C")
    root_id = models.CharField(max_length=255, null=True, blank=True, db_collation="C")
    group_id = models.CharField(max_length=255, null=True, blank=True, db_collation="C")

    # What Celery needs to build the same message again.
    embed = models.JSONField(default=dict, help_text="Callbacks, errbacks, chain and chord.")
    headers = models.JSONField(default=dict)

    class Meta:
        permissions = [
            ("enqueue_job", "Can enqueue a job"),
            ("retry_job", "Can retry a job"),
            ("edit_job_arguments", "Can retry a job with edited arguments"),
            ("cancel_job", "Can cancel a job"),
            ("discard_job", "Can discard a job"),
        ]
        constraints = [
            models.CheckConstraint(name="job_state_known", condition=Q(state__in=State.values)),
            models.CheckConstraint(
                name="job_finished_at_when_finished",
                condition=Q(state__in=FINISHED) ^ Q(finished_at__isnull=True),
            ),
            models.CheckConstraint(
                name="job_claimed_when_running", condition=Q(state=State.RUNNING) ^ Q(claim_id__isnull=True)
            ),
            models.CheckConstraint(name="job_priority_0_to_9", condition=Q(priority__gte=0, priority__lte=9)),
            models.UniqueConstraint(
                name="job_unique_key_held",
                fields=["unique_key"],
                condition=Q(unique_key__isnull=False, key_released=False)
                & (Q(state__in=UNFINISHED) | Q(state=State.SUCCEEDED, unique_until__isnull=False)),
            ),
        ]
        indexes = [
            # Hot paths: only unfinished rows, so their cost does not grow with history.
            models.Index(name="job_due", fields=["run_at"], condition=Q(state=State.SCHEDULED)),
            # Unsent rows come by `sent_at IS NULL`, those whose message may be lost by its age.
            models.Index(name="job_queued", fields=["sent_at", "run_at"], condition=Q(state=State.QUEUED, held=False)),
            models.Index(
                F("queue"),
                F("task"),
                Coalesce("limit_key", Value("")),
                F("priority").desc(),
                F("run_at"),
                name="job_held",
                condition=Q(state=State.QUEUED, held=True),
            ),
            models.Index(name="job_unfinished", fields=["queue", "state"], condition=Q(state__in=UNFINISHED)),
            models.Index(
                name="job_expiring",
                fields=["expires_at"],
                condition=Q(state__in=(State.SCHEDULED, State.QUEUED), expires_at__isnull=False),
            ),
            # Whom a newer job of the key asks to stop, though the key is free.
            models.Index(
                name="job_key_released", fields=["unique_key"], condition=Q(key_released=True, state__in=UNFINISHED)
            ),
            # Lists: newest first, and the same for one task.
            models.Index(F("created_at").desc(), F("id").desc(), name="job_newest"),
            models.Index(F("task"), F("created_at").desc(), name="job_by_task"),
            models.Index(
                F("finished_at").desc(),
                name="job_not_succeeded",
                condition=Q(state__in=(State.FAILED, State.CANCELLED, State.DISCARDED)),
            ),
            models.Index(
                OpClass(F("root_id"), "text_pattern_ops"), name="job_root", condition=Q(parent_id__isnull=False)
            ),
            models.Index(name="job_group", fields=["group_id"], condition=Q(group_id__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.task} [{self.id}]"

    @property
    def attempts_used(self) -> int:
        """Attempts as the policy counts them: the present one included, crashes and the like left out."""
        return self.attempt - self.uncounted


class Attempt(models.Model):
    """One ended run of a job; the run that goes on is told by the job's own worker, pid and started_at."""

    # Without a constraint: a foreign key would lock the job's row once more for every run.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, db_constraint=False, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField()
    worker = models.CharField(max_length=255)
    pid = models.IntegerField(null=True)
    claim_id = models.UUIDField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    outcome = models.CharField(max_length=12, choices=Outcome)
    error_class = models.CharField(max_length=255, blank=True, default="")
    message = models.TextField(blank=True, default="")
    traceback = models.TextField(blank=True, default="")

    class Meta:
        default_permissions = ("view",)
        ordering = ["number"]
        constraints = [models.UniqueConstraint(name="attempt_once_per_claim", fields=["job", "number", "claim_id"])]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.job_id}: {self.outcome}"


class JobEvent(models.Model):
    """Something that happened to a job beside its runs: a rescue, a message sent again, a step of its cancelling."""

    # Without a constraint, as attempts: a foreign key would lock the job's row.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, db_constraint=False, related_name="events", db_index=False)
    at = models.DateTimeField()
    kind = models.CharField(max_length=24, help_text="For example rescued, resent, handed_back, parked, superseded.")
    text = models.TextField(help_text="What was noticed and what was done, in one sentence.")
    detail = models.JSONField(default=dict)

    class Meta:
        default_permissions = ("view",)
        ordering = ["at", "id"]
        indexes = [models.Index(name="event_of_job", fields=["job", "at"])]
        constraints = [
            # Sends that a job took in are counted in one event, however many they are.
            models.UniqueConstraint(name="event_folded_once", fields=["job"], condition=Q(kind="folded"))
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.job_id}"
