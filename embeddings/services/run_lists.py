"""What people see of runs and of what was set aside: of the collections that they may see."""

from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery

from embeddings.models import BatchState, Chunk, EmbeddingBatch, EmbeddingRun, SetAside
from embeddings.services import collections

MAY_START = "embeddings.start_run"
LARGEST_ID = 2**63 - 1
MOST_BATCHES = 50


def runs(user: Any = None) -> QuerySet[EmbeddingRun]:
    """user: None sees all."""
    rows = EmbeddingRun.objects.select_related("collection", "model")
    return rows if user is None else rows.filter(collection__in=collections.visible_to(user))


def find_run(run_id: int, user: Any = None) -> EmbeddingRun:
    """Raises EmbeddingRun.DoesNotExist for an unknown number, and for one that the user may not see."""
    found = runs(user).filter(pk=run_id).first() if 0 < run_id <= LARGEST_ID else None
    if found is None:
        raise EmbeddingRun.DoesNotExist(f"no run {run_id}")
    return found


def set_aside(user: Any = None) -> QuerySet[SetAside]:
    """Contents that were set aside, each with `document`, the id of a document that has it, if one still does.

    user: who asks; a document that they may not see is not named. None sees all.
    """
    of_chunk = Chunk.objects.filter(pk=OuterRef("chunk_id"))
    groups = collections.groups_of(user)
    if groups is not None:
        of_chunk = of_chunk.filter(Q(document__group_ids=[]) | Q(document__group_ids__overlap=groups))
    rows = SetAside.objects.select_related("collection", "model").annotate(
        document=Subquery(of_chunk.values("document__external_id")[:1]),
        document_key=Subquery(of_chunk.values("document_id")[:1]),
    )
    return rows if user is None else rows.filter(collection__in=collections.visible_to(user))


def set_aside_of(run: EmbeddingRun, user: Any = None) -> QuerySet[SetAside]:
    """What is set aside for the model and collection of a run, the newest first."""
    return set_aside(user).filter(collection=run.collection, model=run.model_id).order_by("-created_at", "-id")


def batches_of(run: EmbeddingRun) -> list[EmbeddingBatch]:
    """Those that are out, or that failed, the first of them."""
    told = (BatchState.SENT, BatchState.SPLIT, BatchState.SET_ASIDE)
    return list(EmbeddingBatch.objects.filter(run=run, state__in=told).order_by("id")[:MOST_BATCHES])


def collection_names(user: Any = None, most: int = 100) -> list[str]:
    return list(collections.visible_to(user).order_by("name").values_list("name", flat=True)[:most])
