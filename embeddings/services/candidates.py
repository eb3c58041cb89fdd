"""What workers do for a migration: embed by the candidate, and build its index, which nobody searches yet."""

import logging
from typing import Any

from django.db import transaction

from embeddings import encoders
from embeddings.encoders.base import EncoderUnavailable
from embeddings.encoders.registry import unpinned
from embeddings.models import Collection, EmbeddingRun, RunState
from embeddings.models.run import OPEN_RUNS
from embeddings.services import builds, comparing, pointer, renewal, runs
from embeddings.services.collections import find
from embeddings.services.migration import forget
from embeddings.services.migration_state import CandidateNotReady, NoMigration
from jobs import Discard

logger = logging.getLogger(__name__)


def embed(name: str, encoder: str) -> dict[str, Any]:
    """Embed all of a collection by its models, the candidate among them, and wait for that.

    Raises UnknownCollection, EncoderUnavailable, RunFailed, Snooze while it waits, and Discard if the migration was
    closed or the run cancelled.
    """
    collection = _check_open(name, encoder)
    _check_it_is_another(collection)
    try:
        runs.embed_all(name, renew=False)
    except runs.RunFailed:
        # The model in use may be one that cannot be loaded any more, which is why there is a migration.
        if not _candidates_run(collection, encoder):
            raise
    collection = _check_open(name, encoder)
    run = _candidates_run(collection, encoder)
    if run is None:
        raise runs.RunFailed(f"nothing was embedded by {encoder}; start it again")
    if run.state == RunState.CANCELLED:
        raise Discard(run.error or f"run {run.pk} was cancelled")
    if run.state == RunState.FAILED:
        # The job's next attempt is to make a run of its own.
        EmbeddingRun.objects.filter(pk=run.pk).update(job_id="")
        raise runs.RunFailed(run.error)
    return {
        "run": run.pk,
        "encoder": encoder,
        "encoded": run.encoded,
        "unchanged": run.unchanged,
        "set_aside": run.set_aside,
    }


def compare(name: str, queries: list[str] | None) -> dict[str, Any]:
    """Compare both models. Raises what `comparing.compare` does, but Discard where there is nothing to compare."""
    try:
        return comparing.compare(name, queries)
    except (CandidateNotReady, NoMigration) as exc:
        raise Discard(str(exc)) from None


def _candidates_run(collection: Collection, encoder: str) -> EmbeddingRun | None:
    """The latest one that has ended."""
    ended = EmbeddingRun.objects.filter(collection=collection, encoder=encoder).exclude(state__in=OPEN_RUNS)
    return ended.order_by("-pk").first()


def _check_it_is_another(collection: Collection) -> None:
    """Close a migration to the very model that is in use. Raises Discard then."""
    if collection.model is None or unpinned(collection.encoder) != collection.candidate_encoder:
        return
    if encoders.load(collection.candidate_encoder).identity.digest != collection.model.digest:
        return
    with transaction.atomic():
        held = Collection.objects.select_for_update(of=("self",), no_key=True).get(pk=collection.pk)
        if held.candidate_encoder == collection.candidate_encoder:
            forget(held)
    raise Discard(f"{collection.candidate_encoder} is the very model that collection {collection.name!r} has already")


def build(name: str, encoder: str) -> dict[str, Any]:
    """Build the candidate's index. Raises what `builds.build` does, and Discard if the migration was closed."""
    collection = _check_open(name, encoder)
    if collection.candidate is None:
        raise runs.RunFailed(f"{encoder} has embedded nothing yet; run embeddings.embed_candidate first")
    built = builds.build(name, collection.candidate)
    _build_own(collection)
    return built


def _build_own(collection: Collection) -> None:
    """Have an index of the model in use, which the candidate is compared with. The migration goes on without one."""
    if collection.active_version_id is not None or collection.model is None:
        return
    try:
        builds.build(collection.name, collection.model)
        pointer.swap_to_newest(collection.name)
    except (builds.IndexRefused, EncoderUnavailable) as exc:
        logger.warning("Collection %s has no index to compare the candidate's with: %s", collection.name, exc)


def hand_over(name: str, encoder: str) -> dict[str, Any]:
    """Switch to the candidate and close the migration. Raises CandidateNotReady; Discard if it was closed."""
    _check_open(name, encoder)
    version = renewal.hand_over(name)
    return {"version": version.number, "model": str(version.model)}


def _check_open(name: str, encoder: str) -> Collection:
    collection = find(name)
    if collection.candidate_encoder != encoder:
        raise Discard(f"the migration of collection {name!r} to {encoder} is not under way any more")
    return collection
