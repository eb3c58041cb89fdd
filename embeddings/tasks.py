"""Celery entry points. Arguments are names, ids and ranges of ids, never vectors."""

from typing import Any

from celery.exceptions import Reject

from jobs import job
from jobs.schedules.defaults import default_schedule

#: Where no collection is named.
FIRST = "documents"
BUILD_SECONDS = 3600


@job(queue="embedding", unique=lambda collection=FIRST: f"embed:{collection}", soft_time_limit=BUILD_SECONDS)
def embed_all_documents(collection: str = FIRST) -> dict[str, Any]:
    """Embed every document of a collection that has no vector yet; ends when the run of it does."""
    from embeddings.services import gone, runs

    with gone.collection_may_go(collection, asked_for=True):
        return runs.embed_all(collection)


@job(
    name="embeddings.embed_batch",
    queue="embedding",
    unique=lambda run_id, first_id, last_id: f"embed:{run_id}:{first_id}-{last_id}",
    max_attempts=4,
    backoff_seconds=10,
)
def embed_batch(run_id: int, first_id: int, last_id: int) -> dict[str, int]:
    """Embed the chunks of a run in a range of ids (last_id included)."""
    from embeddings.services import batches

    return batches.embed(run_id, first_id, last_id)


@job(
    name="embeddings.catch_up",
    queue="embedding",
    unique=lambda collection: f"catch-up:{collection}",
    debounce_seconds=1,
    debounce_max_seconds=5,
)
def catch_up(collection: str) -> dict[str, Any]:
    """Start a run for documents that have just come, and leave it to its batches."""
    from embeddings.services import gone, runs

    with gone.collection_may_go(collection):
        return runs.catch_up(collection)


@job(queue="indexing", unique=lambda collection=FIRST: f"build:{collection}", soft_time_limit=BUILD_SECONDS)
def build_faiss_index(collection: str = FIRST) -> dict[str, Any]:
    """Build, measure and keep a new version of a collection's index, unless nothing has changed."""
    from embeddings.services import builds, gone

    with gone.collection_may_go(collection, asked_for=True):
        try:
            return builds.build(collection)
        except builds.IndexRefused as exc:
            # Tried again it would be refused again: a rejected job fails at once.
            raise Reject(exc) from exc


@job(queue="indexing", unique=lambda collection=FIRST: f"swap:{collection}")
def hot_swap_index(collection: str = FIRST) -> dict[str, Any]:
    """Put a collection's newest good version in use, while it serves; build anew if much has come meanwhile."""
    from embeddings.services import gone, rebuilding

    with gone.collection_may_go(collection, asked_for=True):
        return rebuilding.swap(collection)


@job(
    name="embeddings.embed_candidate",
    queue="embedding",
    unique=lambda collection, encoder: f"embed-candidate:{collection}:{encoder}",
    soft_time_limit=BUILD_SECONDS,
)
def embed_candidate(collection: str, encoder: str) -> dict[str, Any]:
    """Embed a collection by the model that it is to move to as well; ends when that has a vector of every document."""
    from embeddings.services import candidates, gone

    with gone.collection_may_go(collection):
        return candidates.embed(collection, encoder)


@job(
    name="embeddings.build_candidate",
    queue="indexing",
    unique=lambda collection, encoder: f"build-candidate:{collection}:{encoder}",
    soft_time_limit=BUILD_SECONDS,
)
def build_candidate(collection: str, encoder: str) -> dict[str, Any]:
    """Build, measure and keep an index of the model that a collection is to move to. It is not put in use."""
    from embeddings.services import candidates, gone

    with gone.collection_may_go(collection):
        return candidates.build(collection, encoder)


@job(
    name="embeddings.hand_over",
    queue="indexing",
    unique=lambda collection, encoder: f"hand-over:{collection}:{encoder}",
)
def hand_over(collection: str, encoder: str) -> dict[str, Any]:
    """Put the model and index of an encoder that was built anew in use, and forget those that it was before."""
    from embeddings.services import candidates, gone

    with gone.collection_may_go(collection):
        return candidates.hand_over(collection, encoder)


@job(name="embeddings.compare_models", queue="indexing", soft_time_limit=BUILD_SECONDS)
def compare_models(collection: str, queries: list[str] | None = None) -> dict[str, Any]:
    """Put questions to both models of a migration, and keep how far their answers agree; queries: none samples some."""
    from embeddings.services import candidates, gone

    with gone.collection_may_go(collection):
        return candidates.compare(collection, queries)


@job(name="embeddings.rebuild", queue="maintenance", unique=lambda: "embeddings.rebuild")
def rebuild() -> dict[str, Any]:
    """Send embed_all_documents → build_faiss_index → hot_swap_index for every collection."""
    from embeddings.services import rebuilding

    return rebuilding.rebuild_all()


@job(
    name="embeddings.recut",
    queue="maintenance",
    unique=lambda collection: f"recut:{collection}",
    supersede=True,
    soft_time_limit=6 * 3600,
)
def recut(collection: str) -> dict[str, int]:
    """Cut a collection's documents anew, because its chunks or its language were set otherwise."""
    from embeddings.services import gone, recutting

    with gone.collection_may_go(collection):
        return recutting.recut(collection)


@job(
    name="embeddings.delete_collection",
    queue="maintenance",
    unique=lambda collection, groups=None: f"delete-collection:{collection}",
    soft_time_limit=6 * 3600,
)
def delete_collection(collection: str, groups: list[int] | None = None) -> dict[str, int]:
    """Delete a collection with all that is in it; groups: of whoever has it deleted, who must see all of that."""
    from embeddings.services import emptying, gone

    with gone.collection_may_go(collection):
        return emptying.delete_all(collection, groups)


@job(name="embeddings.collect_statistics", queue="maintenance", unique=lambda: "embeddings.collect_statistics")
def collect_statistics() -> dict[str, Any]:
    """Measure every collection, for its page."""
    from embeddings.services import statistics

    return statistics.collect()


@job(name="embeddings.clean_up", queue="maintenance", unique=lambda: "embeddings.clean_up", soft_time_limit=1800)
def clean_up() -> dict[str, Any]:
    """Remove orphaned vectors, old index versions and what builds left behind."""
    from embeddings.services import cleaning

    return cleaning.clean_up()


@job(name="embeddings.fit_static", queue="maintenance", unique=lambda: "embeddings.fit_static", soft_time_limit=1800)
def fit_static() -> dict[str, Any]:
    """Fit the static table anew to what MiniLM makes of the team's own documents."""
    from embeddings.services import fitting

    return fitting.fit()


@job(
    name="embeddings.build_encoder",
    queue="indexing",
    unique=lambda spec="": f"embeddings.build_encoder:{spec}",
    soft_time_limit=1800,
)
def build_encoder(spec: str = "") -> dict[str, Any]:
    """Build an encoder anew from its weights, and measure it."""
    from embeddings.services import encoder_builds

    made = encoder_builds.build(spec)
    return {"model": made.pk, "spec": made.spec, "digest": made.digest, **made.quality}


default_schedule(
    "Rebuild search indexes",
    task="embeddings.rebuild",
    queue="maintenance",
    description="Embeds what is new, builds an index where something changed, and swaps it in.",
    crontab={"minute": "7", "timezone": "UTC"},
)
default_schedule(
    "Measure collections",
    task="embeddings.collect_statistics",
    queue="maintenance",
    description="Counts documents, vectors and what lies beside the index, for the collections' pages.",
    interval={"every": 5, "period": "minutes"},
)
default_schedule(
    "Clean up vectors and indexes",
    task="embeddings.clean_up",
    queue="maintenance",
    description="Removes orphaned vectors and index versions that are no longer kept.",
    crontab={"minute": "40", "hour": "2", "timezone": "UTC"},
)
default_schedule(
    "Fit the static table",
    task="embeddings.fit_static",
    queue="maintenance",
    description="Distils the fast tier's table anew from MiniLM and the documents at hand.",
    crontab={"minute": "20", "hour": "4", "timezone": "UTC"},
)
