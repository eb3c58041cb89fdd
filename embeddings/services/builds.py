"""Builds index versions: copies vectors out, has the engine make an index, and lets the gate decide."""

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from django.db import Error as DatabaseError
from django.db import connection as database

from embeddings.engines import engine
from embeddings.engines.base import Built, Held, Source
from embeddings.errors import BuildUnderWay, EngineUnavailable, IndexDamaged, IndexRefused
from embeddings.models import Collection, EmbeddingModel, IndexVersion, VersionState
from embeddings.services import damage, extracting, folders, gate, held_queries, manifest, room, store, versions
from embeddings.services.extracting import BadVectorsStored
from embeddings.services.sessions import Session, one_moment, session
from jobs import Snooze, job
from jobs.ledger.errors import JobCancelled

logger = logging.getLogger(__name__)

VECTORS = "vectors.f16"
RETRY_SECONDS = 5
#: Of a job's progress.
COPYING_SHARE, CHECKING_FROM = 0.3, 0.92
ABANDONED = "its process ended before it was done"


@dataclass(frozen=True)
class Outcome:
    """What became of one model's index."""

    version: IndexVersion | None
    state: str

    def as_row(self) -> dict[str, Any]:
        version = self.version
        if version is None:
            return {"state": self.state}
        return {
            "version": version.number,
            "model": str(version.model),
            "state": self.state,
            "count": version.count,
            "kind": version.kind,
            "recall": version.recall_mean,
            "seconds": version.build_seconds,
            **({"reason": version.reason} if version.reason else {}),
        }


def build(collection_name: str, model: EmbeddingModel | None = None) -> dict[str, Any]:
    """Build what has changed of a collection's index: for its model, its fast model, and the two of a migration.

    model: for that one alone. Where nothing has changed, nothing is written. Raises Collection.DoesNotExist; Snooze
    while another process builds the same collection; IndexRefused, once all models have had their turn, if the gate
    refused any; BadVectorsStored, OSError, EngineUnavailable.
    """
    try:
        outcomes = build_each(collection_name, model)
    except BuildUnderWay as exc:
        raise Snooze(RETRY_SECONDS, str(exc)) from None
    refused = [outcome.version for outcome in outcomes if outcome.version and outcome.state == VersionState.REFUSED]
    if refused:
        if any(outcome.state == VersionState.READY for outcome in outcomes):
            # This job fails, so the step after it is not sent; what is good shall be used all the same.
            from embeddings.tasks import hot_swap_index

            hot_swap_index.delay(collection=collection_name)
        raise IndexRefused("; ".join(f"{version.label} was refused: {version.reason}" for version in refused))
    return {"collection": collection_name, "versions": [outcome.as_row() for outcome in outcomes]}


def build_each(collection_name: str, model: EmbeddingModel | None = None) -> list[Outcome]:
    """The same, telling what became of each model. Raises BuildUnderWay; see `build` for the rest."""
    collection = Collection.objects.select_related("model", "fast_model", "candidate", "previous").get(
        name=collection_name
    )
    with session() as connection, _alone(connection, collection):
        clear_abandoned(collection)
        outcomes, damaged = list[Outcome](), list[BadVectorsStored]()
        for one in _models(collection, model):
            try:
                outcomes.append(_build_model(connection, collection, one))
            except BadVectorsStored as exc:
                # One attempt finds what is damaged of every model.
                damaged.append(exc)
    if damaged:
        raise damaged[0]
    return outcomes


def clear_abandoned(collection: Collection) -> int:
    """Mark builds whose process has ended as failed, and remove their files. The caller alone builds (see `_alone`)."""
    abandoned = versions.versions().filter(collection=collection, state=VersionState.BUILDING)
    for version in abandoned:
        _fail(version, ABANDONED)
    return len(abandoned)


def clear_up(collection: Collection) -> int:
    """What a killed build left, unless one is under way. Returns how many versions were marked as failed."""
    if not IndexVersion.objects.filter(collection=collection, state=VersionState.BUILDING).exists():
        return 0
    try:
        with session() as connection, _alone(connection, collection):
            return clear_abandoned(collection)
    except BuildUnderWay:
        return 0


def _models(collection: Collection, only: EmbeddingModel | None) -> list[EmbeddingModel]:
    if only is not None:
        return [only]
    wanted = (collection.model, collection.fast_model, collection.candidate, collection.previous)
    return list({model.pk: model for model in wanted if model is not None}.values())


@contextlib.contextmanager
def _alone(connection: Session, collection: Collection) -> Iterator[None]:
    """One build a collection at a time: the lock is the session's, and ends with it at the latest.

    Raises BuildUnderWay.
    """
    key = "hashtextextended('embeddings build ' || %s, 0)"
    (got,) = connection.execute(f"SELECT pg_try_advisory_lock({key})", [collection.pk]).fetchone() or (False,)
    if not got:
        raise BuildUnderWay(f"another process builds the index of collection {collection.name!r}")
    try:
        yield
    finally:
        # Postgres ends a session that was closed some time after that; the next build may come before.
        with contextlib.suppress(psycopg.Error):
            connection.execute(f"SELECT pg_advisory_unlock({key})", [collection.pk])


def _build_model(connection: Session, collection: Collection, model: EmbeddingModel) -> Outcome:
    damage.wait(collection, model, _job_id())
    with contextlib.ExitStack() as snapshot:
        snapshot.enter_context(one_moment(connection))
        moment = extracting.look(connection, collection, model)
        same = _unchanged(collection, model, moment)
        if same is not None or not _is_worth_it(collection, model, moment):
            return Outcome(same, "unchanged" if same else "empty")
        version = versions.begin(
            collection, model, {"fingerprint": moment.fingerprint, "watermark": moment.watermark, "job_id": _job_id()}
        )
        with _failing(version), _folder(version) as folder, room.told(folder, moment.count, model):
            began = time.monotonic()
            source, held = _copy(connection, version, moment, folder)
            # An open snapshot would keep Postgres from cleaning up while the index is made.
            snapshot.close()
            active = versions.active_of(collection, model)
            target = gate.least_recall(collection.recall_target, active)
            built = engine(version.engine).build(version, source, held, folder, target)
            (folder / VECTORS).unlink()
            version.build_seconds = time.monotonic() - began
            _describe(version, built, moment, held, folder)
            return _decide(connection, version, folder, _against(version, built, source, held, folder, active))


@contextlib.contextmanager
def _failing(version: IndexVersion) -> Iterator[None]:
    """Note it with the version when a build goes wrong."""
    try:
        yield
    except BaseException as exc:
        _fail(version, _why(exc))
        if isinstance(exc, BadVectorsStored):
            damage.remove(version, exc)
        raise


def _unchanged(collection: Collection, model: EmbeddingModel, moment: extracting.Moment) -> IndexVersion | None:
    """The newest ready version, if it holds what there is, as exactly as is asked by now, and its files are whole."""
    newest = versions.newest_ready(collection, model)
    if newest is None or newest.fingerprint != moment.fingerprint or gate.is_asked_more(newest):
        return None
    try:
        engine(newest.engine).open(newest, store.fetch(newest)).close()
    except (IndexDamaged, EngineUnavailable) as exc:
        logger.warning(
            "Collection %s is indexed anew: %s",
            collection.name,
            exc,
            extra={"action": "index_damaged", "id": newest.pk},
        )
        return None
    return newest


def _is_worth_it(collection: Collection, model: EmbeddingModel, moment: extracting.Moment) -> bool:
    """An index of nothing is built only in place of one that holds something."""
    return moment.count > 0 or versions.active_of(collection, model) is not None


def _copy(connection: Session, version: IndexVersion, moment: extracting.Moment, folder: Path) -> tuple[Source, Held]:
    """The vectors of a moment, and held queries with their exact answers."""
    collection, model = version.collection, version.model
    room.check(folder, moment.count, model)
    query_ids = extracting.held_ids(connection, collection, model, held_queries.MOST_QUERIES)
    source = extracting.copy_out(connection, collection, model, moment, folder / VECTORS, COPYING_SHARE)
    job.progress(COPYING_SHARE, "exact answers to the held queries are found")
    return source, held_queries.hold(source, query_ids)


def _decide(connection: Session, version: IndexVersion, folder: Path, against: list[str]) -> Outcome:
    """Publish a version, or refuse it."""
    if against:
        _end(connection, version, VersionState.REFUSED, "; ".join(against))
        _remove_files(version)
        logger.error(
            "Version %s of collection %s was refused: %s",
            version.number,
            version.collection,
            version.reason,
            extra={"action": "index_refused", "version_id": version.pk},
        )
        return Outcome(version, VersionState.REFUSED)
    if version.manifest["files"]:
        manifest.write(folder, version.manifest)
        store.publish(version, folder)
    _end(connection, version, VersionState.READY)
    job.progress(1, f"version {version.number} is ready")
    return Outcome(version, VersionState.READY)


def _against(
    version: IndexVersion, built: Built, source: Source, held: Held, folder: Path, active: IndexVersion | None
) -> list[str]:
    job.progress(CHECKING_FROM, "the new index is opened and checked")
    try:
        searcher = engine(version.engine).open(version, folder)
    except IndexDamaged as exc:
        return [str(exc)]
    try:
        return gate.reasons_against(version, built, searcher, source, held, active)
    finally:
        searcher.close()


def _describe(version: IndexVersion, built: Built, moment: extracting.Moment, held: Held, folder: Path) -> None:
    """Set what is known of a version that has been built."""
    collection, model = version.collection, version.model
    version.kind, version.parameters = built.kind, built.parameters
    version.count, version.bytes, version.digest = moment.count, built.bytes, built.digest
    version.recall_mean, version.recall_p5 = built.recall_mean, built.recall_p5
    version.manifest = {
        **version.manifest,
        "collection": collection.name,
        "number": version.number,
        "engine": version.engine,
        "model": {"id": model.pk, "spec": model.spec, "digest": model.digest, "dimension": model.dimension},
        "kind": built.kind,
        "parameters": built.parameters,
        "count": moment.count,
        "fingerprint": moment.fingerprint,
        "watermark": moment.watermark,
        "recall": {
            "mean": built.recall_mean,
            "p5": built.recall_p5,
            "queries": len(held.queries),
            "target": collection.recall_target,
            "floor": collection.recall_floor,
        },
        "tried": built.tried,
        "build_seconds": round(version.build_seconds or 0.0, 3),
        "libraries": manifest.libraries(),
        "files": manifest.files_of(folder),
    }


def _end(connection: Session, version: IndexVersion, state: VersionState, reason: str = "") -> None:
    # The lock is gone with the session: then another build may have taken this one for abandoned.
    connection.execute("SELECT 1")
    if not versions.end(version, state, reason):
        raise RuntimeError(f"version {version.number} was taken for abandoned while it was being built")


@contextlib.contextmanager
def _folder(version: IndexVersion) -> Iterator[Path]:
    """The folder of a build, kept from the clean-up; it is gone at the end, published or not."""
    folder, held = folders.make(f"{folders.BUILDING}{store.folder_name(version)}")
    try:
        yield folder
    finally:
        held.release()
        shutil.rmtree(folder, ignore_errors=True)


def _fail(version: IndexVersion, reason: str) -> None:
    """Note that a build failed, and remove what it left. If Postgres is away, the next build does it."""
    shutil.rmtree(folders.indexes_dir() / f"{folders.BUILDING}{store.folder_name(version)}", ignore_errors=True)
    try:
        if versions.end(version, VersionState.FAILED, reason):
            _remove_files(version)
    except DatabaseError as exc:
        database.close_if_unusable_or_obsolete()
        logger.warning(
            "Version %s of %s failed, and stays marked as building: %s", version.number, version.collection, exc
        )


def _remove_files(version: IndexVersion) -> None:
    try:
        store.remove(version)
        engine(version.engine).remove(version)
    except Exception as exc:
        logger.warning(
            "Files of version %s of %s are left for the clean-up: %s",
            version.number,
            version.collection,
            exc,
            extra={"action": "index_left", "version_id": version.pk},
        )


def _why(exc: BaseException) -> str:
    if isinstance(exc, JobCancelled):
        return "cancelled"
    return f"{type(exc).__name__}: {exc}"[:2000]


def _job_id() -> str:
    from jobs.ledger.run import current_run

    run = current_run()
    return run.job_id if run is not None else ""


__all__ = ["BuildUnderWay", "IndexRefused", "build", "build_each", "clear_abandoned", "clear_up"]
