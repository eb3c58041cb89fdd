"""What jobs do outside: written down before it is tried, so that it is not done twice."""

import uuid

from django.db import models
from django.db.models import F, Q

from jobs.models.job import Job


class EffectState(models.TextChoices):
    """What is known of an effect.

    intended: written down, not tried. tried: a try is under way, or was cut off. done: it happened.
    uncertain: it may have happened, and only a person can find out. failed: it did not happen, and may be tried again.
    """

    INTENDED = "intended"
    TRIED = "tried"
    DONE = "done"
    UNCERTAIN = "uncertain"
    FAILED = "failed"


#: States in which it is known that the effect did not happen, so that it may be tried.
MAY_BE_TRIED = (EffectState.INTENDED, EffectState.FAILED)


class Effect(models.Model):
    """One effect of a job on something outside, such as a comment or a mail.

    intended, failed → tried → done | uncertain | failed; a person takes uncertain to done or failed.
    Rows are written by `jobs.ledger.effects` in SQL, on a connection of its own. Times come from Postgres' clock.
    """

    # Collation C lets the unique index serve searches by prefix.
    key = models.CharField(max_length=255, db_collation="C", help_text="What must happen once.")
    # Without a constraint, as attempts: an uncertain effect is kept when its job has been pruned.
    job = models.ForeignKey(
        Job, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="effects", db_index=False
    )
    kind = models.CharField(max_length=64, help_text="For example comment or mail.")
    target = models.CharField(max_length=255, blank=True, default="", help_text="Where to; holds no secret.")
    state = models.CharField(max_length=9, choices=EffectState, default=EffectState.INTENDED)

    identity = models.CharField(
        max_length=255, default=uuid.uuid4, help_text="Idempotency key, hidden marker or Message-ID; each try has it."
    )
    request = models.BinaryField(null=True, help_text="What is sent, where each try must send the same bytes.")
    context = models.JSONField(default=dict, help_text="What a later look at the far side needs; holds no secret.")
    receipt = models.JSONField(null=True, help_text="What the far side answered, for example its id.")
    error = models.TextField(blank=True, default="", help_text="How the last try went wrong, in one line.")

    attempts = models.PositiveIntegerField(default=0, help_text="Tries so far.")
    doubts = models.PositiveIntegerField(default=0, help_text="Earlier tries whose outcome nobody heard.")
    try_id = models.UUIDField(null=True, help_text="The fence of the try under way.")

    created_at = models.DateTimeField()
    tried_at = models.DateTimeField(null=True, help_text="When the latest try began.")
    deadline_at = models.DateTimeField(null=True, help_text="When the latest try has ended, whatever became of it.")
    done_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=255, blank=True, default="")
    decision_reason = models.TextField(blank=True, default="")
    check_at = models.DateTimeField(null=True, help_text="When to look for a second copy at the far side.")
    copies = models.PositiveIntegerField(null=True, help_text="How many of it the far side had when it was counted.")

    is_uncertain = models.GeneratedField(
        expression=Q(state=EffectState.UNCERTAIN),  # type: ignore[arg-type]  # the stubs know of no conditions
        output_field=models.BooleanField(),
        db_persist=True,
    )

    class Meta:
        default_permissions = ("view",)
        permissions = [("decide_effect", "Can decide whether an uncertain effect happened")]
        constraints = [
            models.UniqueConstraint(name="effect_key", fields=["key"]),
            models.CheckConstraint(name="effect_state_known", condition=Q(state__in=EffectState.values)),
            models.CheckConstraint(
                name="effect_fenced_when_tried", condition=Q(state=EffectState.TRIED) ^ Q(try_id__isnull=True)
            ),
            models.CheckConstraint(
                name="effect_times_of_a_try",
                condition=Q(attempts=0, tried_at__isnull=True, deadline_at__isnull=True)
                | Q(attempts__gt=0, tried_at__isnull=False, deadline_at__isnull=False),
            ),
            models.CheckConstraint(
                name="effect_tried_before_unknown",
                condition=~Q(state__in=(EffectState.TRIED, EffectState.UNCERTAIN), attempts=0),
            ),
            models.CheckConstraint(
                name="effect_done_at_when_done", condition=Q(state=EffectState.DONE) ^ Q(done_at__isnull=True)
            ),
            models.CheckConstraint(name="effect_checked_when_done", condition=Q(check_at=None) | Q(state="done")),
            models.CheckConstraint(
                name="effect_decided_by_someone", condition=Q(decided_at__isnull=True) ^ ~Q(decided_by="")
            ),
        ]
        indexes = [
            # Lists: what waits for a person first, then the newest; the newest; those of one job.
            models.Index(
                F("is_uncertain").desc(), F("created_at").desc(), F("id").desc(), name="effect_uncertain_first"
            ),
            models.Index(F("created_at").desc(), F("id").desc(), name="effect_newest"),
            models.Index(name="effect_of_job", fields=["job"]),
            # Figures and sweeps: few rows, whatever the history.
            models.Index(name="effect_open", fields=["state"], condition=~Q(state=EffectState.DONE)),
            models.Index(name="effect_to_check", fields=["check_at"], condition=Q(check_at__isnull=False)),
            models.Index(name="effect_doubled", fields=["id"], condition=Q(copies__gt=1)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key} [{self.state}]"
