"""What beat keeps beside django-celery-beat's own tables."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django_celery_beat.models import PeriodicTask

#: The most missed ticks that one look back may send.
MAX_CATCH_UP = 1000


class CatchUp(models.TextChoices):
    """What becomes of ticks that came while no beat was running."""

    RUN_ONCE = "run_once", "run once for all that were missed"
    SKIP = "skip", "skip what was missed"
    RUN_ALL = "run_all", "run each that was missed"


class SchedulePolicy(models.Model):
    """When a schedule is due next, and what happens to ticks that were missed.

    A trigger makes a row with each schedule, and marks it stale whenever the schedule or its timetable changes, by
    whatever means; only who holds the schedule's row lock writes here.
    """

    schedule = models.OneToOneField(PeriodicTask, models.CASCADE, primary_key=True, related_name="policy")
    catch_up = models.CharField(max_length=8, choices=CatchUp, default=CatchUp.RUN_ONCE, db_default=CatchUp.RUN_ONCE)
    catch_up_limit = models.PositiveIntegerField(
        default=100,
        db_default=100,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_CATCH_UP)],
        help_text="The most missed ticks that are run, the latest first to count.",
    )
    grace_seconds = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="A tick that is later is not run. Null: no matter how late; where missed ones are skipped, a minute.",
    )
    next_run_at = models.DateTimeField(null=True, blank=True, help_text="The canonical due time beat waits for.")
    counted_from = models.DateTimeField(help_text="What was due up to then is dealt with.")
    stale = models.BooleanField(default=False, db_default=False, help_text="next_run_at is to be computed anew.")
    problem = models.TextField(
        blank=True, default="", db_default="", help_text="Why the next run cannot be told, if so."
    )

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="policy_catch_up_known", condition=models.Q(catch_up__in=["run_once", "skip", "run_all"])
            ),
        ]
        indexes = [
            models.Index("next_run_at", name="policy_due", condition=models.Q(next_run_at__isnull=False)),
            models.Index("schedule", name="policy_stale", condition=models.Q(stale=True)),
        ]

    def __str__(self) -> str:
        return f"policy of schedule {self.schedule_id}"


class TickOutcome(models.TextChoices):
    SENT = "sent"
    CAUGHT_UP = "caught_up", "sent late"
    FOLDED = "folded", "folded into a later tick"
    SKIPPED = "skipped", "missed"
    FAILED = "failed"


class ScheduleTick(models.Model):
    """What became of one due time of a schedule; the pair is unique, so no beat sends it twice."""

    schedule = models.ForeignKey(PeriodicTask, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    due_at = models.DateTimeField()
    outcome = models.CharField(max_length=9, choices=TickOutcome)
    job_id = models.CharField(max_length=255, null=True, blank=True, help_text="The job sent for it, or folded into.")
    at = models.DateTimeField(help_text="When it was dealt with.")
    detail = models.TextField(blank=True, default="", db_default="")
    ticks = models.PositiveIntegerField(
        default=1, db_default=1, help_text="More than 1: it stands for as many up to this one, missed long ago."
    )

    class Meta:
        default_permissions = ()
        ordering = ["-due_at"]
        constraints = [models.UniqueConstraint(fields=["schedule", "due_at"], name="tick_once")]

    def __str__(self) -> str:
        return f"tick of schedule {self.schedule_id} at {self.due_at:%Y-%m-%d %H:%M:%S %Z}"


class ScheduleDefault(models.Model):
    """What the code last said of a schedule that it brings along. `schedule` is null once an operator deleted it."""

    name = models.CharField(max_length=200, primary_key=True)
    spec = models.JSONField()
    schedule = models.OneToOneField(PeriodicTask, models.SET_NULL, null=True, related_name="code_default")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
