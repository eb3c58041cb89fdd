"""What a chord waits for."""

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q


class ChordState(models.TextChoices):
    """waiting: members are to come. resting: none is, and some failed or were cancelled, so a person decides.

    joined: the body is a row. dropped: every member was discarded, and so was the body. broken: the body cannot be
    made of the results.
    """

    WAITING = "waiting"
    RESTING = "resting"
    JOINED = "joined"
    DROPPED = "dropped"
    BROKEN = "broken"


OPEN_CHORDS = (ChordState.WAITING, ChordState.RESTING)


class Chord(models.Model):
    """One chord: the jobs whose results its body takes. Written when it is sent, in one transaction with them.

    waiting ⇄ resting; waiting, resting → joined | dropped | broken. Only `jobs.ledger.workflow` changes it.
    """

    group_id = models.CharField(primary_key=True, max_length=255, db_collation="C")
    state = models.CharField(max_length=8, choices=ChordState, default=ChordState.WAITING)
    members = models.JSONField(help_text="The ids of the jobs whose results the body takes, in its order; may nest.")
    leaves = models.JSONField(help_text="The same ids in one list.")
    steps = models.JSONField(help_text="Every id of its header: the members and the steps that lead to them.")
    stopped = models.JSONField(default=dict, help_text="Member that has no row → the job that ended before it.")
    body = models.JSONField(help_text="Celery's signature of what follows.")
    rests = models.PositiveIntegerField(default=0, help_text="How often it came to rest; each calls its errbacks once.")
    error = models.TextField(blank=True, default="", help_text="Why the body could not be made.")
    created_at = models.DateTimeField()
    checked_at = models.DateTimeField(help_text="When the dispatchers last looked whether it could go on.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(name="chord_state_known", condition=Q(state__in=ChordState.values)),
            models.CheckConstraint(
                name="chord_finished_at_when_finished",
                condition=Q(state__in=OPEN_CHORDS) ^ Q(finished_at__isnull=False),
            ),
        ]
        indexes = [
            GinIndex(name="chord_steps", fields=["steps"]),
            models.Index(name="chord_open", fields=["checked_at"], condition=Q(state__in=OPEN_CHORDS)),
            models.Index(name="chord_finished", fields=["finished_at"], condition=Q(finished_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"chord {self.group_id}: {self.state}"
