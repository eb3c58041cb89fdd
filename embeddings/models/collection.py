"""Collections of documents, and the models that embed them."""

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Engine(models.TextChoices):
    """What answers a collection's vector queries."""

    FAISS = "faiss", "FAISS, index files that every web process maps"
    PGVECTOR = "pgvector", "pgvector, tables in Postgres"


class EmbeddingModel(models.Model):
    """One encoder as built: other weights, another precision or another table make another model.

    Vectors are keyed by it, so two models live side by side. `spec` is what `encoders.load` takes.
    """

    spec = models.CharField(max_length=200, help_text="For example minilm, ngram or openai:text-embedding-3-small.")
    digest = models.CharField(max_length=64, help_text="SHA-256 over what makes the vectors: weights and settings.")
    dimension = models.PositiveIntegerField()
    parameters = models.JSONField(default=dict, blank=True, help_text="Precision, limits and the like, to be shown.")
    quality = models.JSONField(
        default=dict, blank=True, help_text="What was measured when it was built, such as top_10_overlap."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ("view",)
        permissions = [("build_encoder", "Can build encoders and distil static tables")]
        constraints = [
            models.UniqueConstraint(name="model_once", fields=["spec", "digest"]),
            models.CheckConstraint(name="model_has_dimensions", condition=Q(dimension__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.spec} {self.digest[:8]}"


class Collection(models.Model):
    """Documents that are searched together: their model, how they are cut, and what an index must hold.

    active_version is the pointer: whoever searches uses that version, of the model that it names; fast_version is the
    fast tier's, moved in the same transaction. `model` is what
    documents are embedded with; `candidate` one beside it, while a migration is under way, and `previous` the one
    before the last switch, kept up until the migration is closed, so that going back is free.
    """

    name = models.CharField(
        max_length=63,
        unique=True,
        validators=[RegexValidator(r"^[a-z0-9][a-z0-9._-]*\Z", "small letters, digits, dots, dashes and underscores")],
    )
    description = models.TextField(blank=True, default="")
    encoder = models.CharField(
        max_length=200, blank=True, default="", help_text="What embeds it; empty: EMBEDDING_ENCODER of the settings."
    )
    fast_encoder = models.CharField(
        max_length=200,
        blank=True,
        default="static",
        help_text="What embeds a document at once, until the encoder catches up; empty: nothing does.",
    )
    model = models.ForeignKey(EmbeddingModel, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    fast_model = models.ForeignKey(EmbeddingModel, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    candidate_encoder = models.CharField(max_length=200, blank=True, default="")
    candidate = models.ForeignKey(EmbeddingModel, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    previous_encoder = models.CharField(max_length=200, blank=True, default="")
    previous = models.ForeignKey(EmbeddingModel, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    engine = models.CharField(max_length=8, choices=Engine, default=Engine.FAISS)
    language = models.CharField(
        max_length=32, default="simple", help_text="Postgres' text search configuration, such as english."
    )
    chunk_tokens = models.PositiveIntegerField(
        default=200, validators=[MinValueValidator(16), MaxValueValidator(4096)], help_text="Longest chunk, in tokens."
    )
    chunk_overlap = models.PositiveIntegerField(default=20, help_text="Tokens that neighbouring chunks share.")
    recall_target = models.FloatField(
        default=0.95, help_text="Least mean recall@10 of a new index over held queries, 0 to 1."
    )
    recall_floor = models.FloatField(default=0.6, help_text="Least recall@10 of its worst twentieth of queries.")
    keep_versions = models.PositiveIntegerField(
        default=3, validators=[MinValueValidator(1)], help_text="Index versions kept for going back, the active too."
    )
    groups = models.ManyToManyField(
        "auth.Group", blank=True, related_name="+", help_text="Who may search it; none: all who may search."
    )
    active_version = models.ForeignKey(
        "embeddings.IndexVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    fast_version = models.ForeignKey(
        "embeddings.IndexVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        permissions = [("search_collection", "Can search")]
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="collection_chunks_advance",
                condition=Q(chunk_tokens__gte=16) & Q(chunk_overlap__lt=models.F("chunk_tokens") / 2),
            ),
            models.CheckConstraint(
                name="collection_recall_in_range",
                condition=Q(recall_target__range=(0, 1)) & Q(recall_floor__range=(0, 1)),
            ),
            models.CheckConstraint(name="collection_keeps_one", condition=Q(keep_versions__gte=1)),
        ]

    def __str__(self) -> str:
        return self.name
