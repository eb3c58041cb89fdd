"""Versions of a collection's index, and when each was in use."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from embeddings.models.collection import Collection, EmbeddingModel, Engine


class VersionState(models.TextChoices):
    """building → ready | refused (by the gate) | failed; ready → removed by the clean-up. What is active is `ready`."""

    BUILDING = "building"
    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"
    REMOVED = "removed"


class IndexVersion(models.Model):
    """One index over a collection's vectors of one model. Never changed once ready; what is newer is in `Change`.

    fingerprint: over the ids in it, to tell whether anything changed since. watermark: the oldest transaction that it
    may not have seen (xid8); changes from there on lie beside it. manifest: the file's, for engines with files.
    """

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="versions", db_index=False)
    number = models.PositiveIntegerField(help_text="Counted within the collection, from 1.")
    model = models.ForeignKey(EmbeddingModel, on_delete=models.PROTECT, related_name="+")
    engine = models.CharField(max_length=8, choices=Engine)
    state = models.CharField(max_length=8, choices=VersionState, default=VersionState.BUILDING)
    kind = models.CharField(max_length=64, blank=True, default="", help_text="Such as Flat,SQfp16 or IVF1024,SQ8.")
    parameters = models.JSONField(default=dict, blank=True, help_text="How it is searched: nprobe, efSearch.")
    count = models.PositiveBigIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True, default="", help_text="SHA-256 of the index file.")
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    watermark = models.BigIntegerField(default=0)
    recall_mean = models.FloatField(null=True, help_text="Recall@10 over held queries, 0 to 1.")
    recall_p5 = models.FloatField(null=True, help_text="Recall@10 of the worst twentieth of them.")
    build_seconds = models.FloatField(null=True)
    manifest = models.JSONField(default=dict, blank=True)
    reason = models.TextField(blank=True, default="", help_text="Why it was refused or failed.")
    job_id = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    built_at = models.DateTimeField(null=True)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        permissions = [
            ("build_index", "Can rebuild indexes"),
            ("activate_index", "Can activate index versions, and migrate models"),
        ]
        constraints = [
            models.UniqueConstraint(name="version_number_once", fields=["collection", "number"]),
            models.CheckConstraint(name="version_state_known", condition=Q(state__in=VersionState.values)),
            models.CheckConstraint(
                name="version_built_at_when_ready", condition=~Q(state=VersionState.READY) | Q(built_at__isnull=False)
            ),
        ]
        indexes = [models.Index(F("created_at").desc(), F("id").desc(), name="version_newest")]

    def __str__(self) -> str:
        return f"version {self.number}"

    @property
    def label(self) -> str:
        """As messages name it: by its number within the collection, and by the id that commands and the API take."""
        return f"version {self.number} (id {self.pk})"


class Activation(models.Model):
    """When a version came into use, and by whom."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="activations")
    version = models.ForeignKey(IndexVersion, on_delete=models.CASCADE, related_name="activations")
    actor = models.CharField(max_length=255)
    reason = models.CharField(max_length=255, blank=True, default="")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"version {self.version_id} at {self.at}"
