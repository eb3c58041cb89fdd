"""What is measured of collections now and then."""

from django.db import models
from django.db.models import F
from django.db.models.functions import Now

from embeddings.models.collection import Collection, EmbeddingModel


class CollectionStatistics(models.Model):
    """A collection at one moment; a row every five minutes, kept for a month."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="statistics", db_index=False)
    at = models.DateTimeField(db_default=Now())
    documents = models.PositiveBigIntegerField()
    chunks = models.PositiveBigIntegerField()
    tokens = models.PositiveBigIntegerField()
    embedded = models.PositiveBigIntegerField(help_text="Chunks with a vector of the collection's model.")
    set_aside = models.PositiveBigIntegerField()
    beside_index = models.PositiveBigIntegerField(help_text="Embedded chunks that the active version has not.")
    vector_bytes = models.PositiveBigIntegerField()
    index_bytes = models.PositiveBigIntegerField(help_text="Of all versions that are kept.")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(F("collection"), F("at").desc(), name="statistics_newest")]

    def __str__(self) -> str:
        return f"collection {self.collection_id} at {self.at}"


class ModelComparison(models.Model):
    """Shadow queries answered by two models side by side.

    overlap: shared part of both top tens, 0 to 1, mean over the queries. samples: some queries with both answers, as
    ids of chunks; see services/comparison_samples.
    """

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="comparisons")
    current = models.ForeignKey(EmbeddingModel, on_delete=models.CASCADE, related_name="+")
    candidate = models.ForeignKey(EmbeddingModel, on_delete=models.CASCADE, related_name="+")
    queries = models.PositiveIntegerField()
    overlap = models.FloatField()
    overlap_p5 = models.FloatField()
    current_ms = models.FloatField(help_text="Median time of a query, in ms.")
    candidate_ms = models.FloatField()
    samples = models.JSONField(default=list)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.queries} queries, overlap {self.overlap:.2f}"
