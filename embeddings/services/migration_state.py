"""Where a collection is between two models, and which step it may take next. See `migration`, which takes it."""

from dataclasses import dataclass

from django.db import connection

from embeddings.models import Collection, EmbeddingModel, EmbeddingRun, IndexVersion, ModelComparison, VersionState

#: Part of the chunks that the candidate must have embedded: documents come all the time, so some are always on the way.
LEAST_COVERED = 0.99


class MigrationRefused(Exception):
    """The step does not fit where the collection is; the message says why, and what to do."""


class MigrationUnderWay(MigrationRefused):
    """A migration is open already."""


class NoMigration(MigrationRefused):
    """There is none to compare, switch, go back from or close."""


class CandidateNotReady(MigrationRefused):
    """The model to switch to lacks vectors or an index that passed the gate."""


class SameModel(MigrationRefused):
    """The collection is embedded by that encoder already."""


@dataclass(frozen=True)
class Coverage:
    """Chunks of a collection, and how many of them a model has neither embedded nor set aside."""

    chunks: int
    missing: int

    @property
    def share(self) -> float:
        return 1.0 if not self.chunks else 1 - self.missing / self.chunks


@dataclass(frozen=True)
class Status:
    """Where a collection is. other: the candidate or the previous model; version: that model's newest good index.

    why_not: why `switch` (or, after a switch, `go_back`) would be refused; empty if it would not.
    """

    step: str
    encoder: str
    other_encoder: str
    other: EmbeddingModel | None
    run: EmbeddingRun | None
    coverage: Coverage | None
    version: IndexVersion | None
    comparison: ModelComparison | None
    why_not: str


NONE, CANDIDATE, PREVIOUS = "none", "candidate", "previous"


def sides(collection: Collection) -> tuple[IndexVersion, IndexVersion]:
    """The index in use, and the newest good one of the candidate or the previous model.

    Raises NoMigration, CandidateNotReady.
    """
    encoder = collection.candidate_encoder or collection.previous_encoder
    if not encoder:
        raise NoMigration(f"collection {collection.name!r} has no second model to compare with; begin a migration")
    other = collection.candidate or collection.previous
    version = newest_version(collection, other) if other is not None else None
    if version is None:
        raise CandidateNotReady(f"no index of {encoder} has passed the gate yet; wait for its build")
    if collection.active_version is None:
        raise CandidateNotReady(f"collection {collection.name!r} has no index in use to compare with; rebuild it first")
    return collection.active_version, version


def status(collection: Collection) -> Status:
    """What the page, the API and the command show. Counts what is missing, so it reads the collection's chunks."""
    other_encoder = collection.candidate_encoder or collection.previous_encoder
    other = collection.candidate or collection.previous
    runs = EmbeddingRun.objects.filter(collection=collection, encoder=other_encoder)
    comparisons = ModelComparison.objects.filter(collection=collection)
    if collection.model is not None and other is not None:
        comparisons = comparisons.filter(current__in=[collection.model, other], candidate__in=[collection.model, other])
    coverage = cover(collection, other) if other is not None else None
    step = CANDIDATE if collection.candidate_encoder else PREVIOUS if other_encoder else NONE
    return Status(
        step=step,
        encoder=current_encoder(collection),
        other_encoder=other_encoder,
        other=other,
        run=runs.order_by("-pk").first() if other_encoder else None,
        coverage=coverage,
        version=newest_version(collection, other) if other is not None else None,
        comparison=comparisons.order_by("-pk").first() if other is not None else None,
        why_not=_why_not(collection, step, coverage),
    )


def current_encoder(collection: Collection) -> str:
    """The spec that embeds it now; a model that is there says it, whatever the setting has become."""
    from embeddings.encoders.registry import default_spec

    return collection.encoder or (collection.model.spec if collection.model is not None else default_spec())


def newest_version(collection: Collection, model: EmbeddingModel) -> IndexVersion | None:
    """The newest index of a model that passed the gate."""
    good = IndexVersion.objects.filter(collection=collection, model=model, state=VersionState.READY)
    return good.order_by("-number").first()


_COVER = """
    SELECT count(*), count(*) FILTER (WHERE v.model_id IS NULL AND NOT EXISTS (
        SELECT 1 FROM embeddings_setaside AS s WHERE s.model_id = %(model)s AND s.content_sha = c.content_sha))
    FROM embeddings_chunk AS c
    LEFT JOIN embeddings_vector AS v ON v.model_id = %(model)s AND v.content_sha = c.content_sha
    WHERE c.collection_id = %(collection)s
"""


def cover(collection: Collection, model: EmbeddingModel) -> Coverage:
    """How much of a collection a model has embedded."""
    with connection.cursor() as cursor:
        cursor.execute(_COVER, {"model": model.pk, "collection": collection.pk})
        return Coverage(*cursor.fetchone())


def ready_to_switch(collection: Collection, coverage: Coverage | None = None) -> IndexVersion:
    """The candidate's version to put in use. coverage: if it is known. Raises CandidateNotReady."""
    encoder, candidate = collection.candidate_encoder, collection.candidate
    if candidate is None:
        raise CandidateNotReady(f"the candidate {encoder} has embedded nothing yet; wait for its run")
    if candidate == collection.model:
        raise CandidateNotReady(f"the candidate {encoder} is the very model that is in use; close the migration")
    coverage = coverage or cover(collection, candidate)
    if coverage.share < LEAST_COVERED:
        raise CandidateNotReady(
            f"the candidate {encoder} lacks {coverage.missing:,} of {coverage.chunks:,} chunks ({coverage.share:.1%} "
            f"are embedded, {LEAST_COVERED:.0%} are needed); wait for its run, or start it again"
        )
    version = newest_version(collection, candidate)
    if version is None:
        raise CandidateNotReady(f"no index of {encoder} has passed the gate; see the collection's index versions")
    return version


def _why_not(collection: Collection, step: str, coverage: Coverage | None) -> str:
    try:
        if step == CANDIDATE:
            ready_to_switch(collection, coverage)
        elif step == PREVIOUS and (collection.previous is None or not newest_version(collection, collection.previous)):
            return f"no good index of {collection.previous_encoder} is left"
    except CandidateNotReady as exc:
        return str(exc)
    return ""
