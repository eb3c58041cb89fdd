"""Runs that embed what has no vector yet, and the batches that they are cut into."""

import re

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from embeddings.models.collection import Collection, EmbeddingModel


class RunState(models.TextChoices):
    """planning → running → done; either may end failed or cancelled."""

    PLANNING = "planning"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN_RUNS = (RunState.PLANNING, RunState.RUNNING)


class RunKind(models.TextChoices):
    FULL = "full", "embed_all_documents: asked for, or hourly"
    CATCH_UP = "catch_up", "follows new documents"
    MIGRATION = "migration", "a second model beside the first"
    FAST = "fast", "a new static table"


def short_spec(spec: str) -> str:
    """static:DIGEST with eight digits of its 64."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1…", spec)


class EmbeddingRun(models.Model):
    """One pass over a collection with one model. Counters are of chunks; each is written with what it counts.

    total = encoded + set_aside + what remains, once planned. Distinct contents are embedded once, so a batch may count
    more chunks than it encoded texts.
    """

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="runs", db_index=False)
    encoder = models.CharField(max_length=200, help_text="The encoder's spec.")
    model = models.ForeignKey(EmbeddingModel, null=True, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=9, choices=RunKind, default=RunKind.FULL)
    state = models.CharField(max_length=9, choices=RunState, default=RunState.PLANNING)
    job_id = models.CharField(max_length=255, blank=True, default="", help_text="The job that waits for it.")

    planned_to = models.BigIntegerField(default=0, help_text="The highest id of a chunk when it was planned.")
    total = models.PositiveBigIntegerField(default=0, help_text="Chunks without a vector when it was planned.")
    unchanged = models.PositiveBigIntegerField(default=0, help_text="Chunks that had one.")
    encoded = models.PositiveBigIntegerField(default=0)
    set_aside = models.PositiveBigIntegerField(default=0)
    tokens = models.PositiveBigIntegerField(default=0)
    cpu_seconds = models.FloatField(default=0)
    dollars = models.FloatField(default=0, help_text="What a paid provider asks for it, by the price that is set.")

    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, help_text="When its batches were planned.")
    finished_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, default="")

    class Meta:
        default_permissions = ("view",)
        permissions = [("start_run", "Can start and cancel embedding runs, and have set-aside documents tried again")]
        constraints = [
            models.CheckConstraint(name="run_state_known", condition=Q(state__in=RunState.values)),
            models.UniqueConstraint(
                name="run_one_at_a_time", fields=["collection", "encoder"], condition=Q(state__in=OPEN_RUNS)
            ),
            models.CheckConstraint(
                name="run_finished_at_when_finished", condition=Q(state__in=OPEN_RUNS) ^ Q(finished_at__isnull=False)
            ),
        ]
        indexes = [
            models.Index(F("created_at").desc(), F("id").desc(), name="run_newest"),
            models.Index(name="run_of_collection", fields=["collection", "-id"]),
            models.Index(name="run_of_job", fields=["job_id"], condition=~Q(job_id="")),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.collection_id}"

    @property
    def short_encoder(self) -> str:
        """The spec with eight digits of a digest."""
        return short_spec(self.encoder)

    @property
    def remaining(self) -> int:
        return max(0, self.total - self.encoded - self.set_aside)


class BatchState(models.TextChoices):
    """waiting → sent → done | split (into smaller ones, because its jobs failed) | set_aside."""

    WAITING = "waiting"
    SENT = "sent"
    DONE = "done"
    SPLIT = "split"
    SET_ASIDE = "set_aside"


OPEN_BATCHES = (BatchState.WAITING, BatchState.SENT)


class EmbeddingBatch(models.Model):
    """A range of chunk ids of a run: the job of it embeds what has no vector there.

    Rows of batches that are done are removed when their run ends.
    """

    run = models.ForeignKey(EmbeddingRun, on_delete=models.CASCADE, related_name="batches", db_index=False)
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField(help_text="Inclusive.")
    size = models.PositiveIntegerField(help_text="Chunks without a vector when it was planned.")
    state = models.CharField(max_length=9, choices=BatchState, default=BatchState.WAITING)
    job_id = models.CharField(max_length=255, blank=True, default="")
    error = models.TextField(blank=True, default="")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(name="batch_state_known", condition=Q(state__in=BatchState.values)),
            models.CheckConstraint(name="batch_range_not_empty", condition=Q(last_id__gte=F("first_id"))),
        ]
        indexes = [
            models.Index(name="batch_of_run", fields=["run", "id"]),
            models.Index(name="batch_open", fields=["run", "state", "id"], condition=Q(state__in=OPEN_BATCHES)),
        ]

    def __str__(self) -> str:
        return f"run {self.run_id}, chunks {self.first_id} to {self.last_id}"
