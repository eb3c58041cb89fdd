"""Jobs of one collection that run at the same moment: what one is planning or building, the others leave to it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db.models.functions import Now
from filelock import FileLock

from embeddings.encoders import built, registry
from embeddings.encoders.base import EncoderUnavailable
from embeddings.models import Change, Chunk, Document, EmbeddingBatch, EmbeddingRun, RunState
from embeddings.services import batches, documents, model_rows, planning, rebuilding, runs
from embeddings.tests.encoder_doubles import Double
from embeddings.tests.factories import add_chunks, make_collection
from jobs import Snooze
from jobs.models import Job
from jobs.tests.interleavings import connect

pytestmark = pytest.mark.django_db(transaction=True)
ENCODER = "double:plain"


@pytest.fixture
def other() -> Iterator[psycopg.Connection[Any]]:
    """Another process's connection, in a transaction of its own."""
    with connect() as opened:
        opened.autocommit = False
        yield opened
        opened.rollback()


def planning_run(**fields: Any) -> EmbeddingRun:
    collection = make_collection(encoder=ENCODER, fast_encoder="")
    add_chunks(collection, ["a"])
    return EmbeddingRun.objects.create(collection=collection, encoder=ENCODER, **fields)


def state_after_a_look(run: EmbeddingRun) -> str:
    runs.look_after_all(run.collection)
    run.refresh_from_db()
    return run.state


def test_a_run_that_a_job_may_just_be_planning_is_left_to_it() -> None:
    run = planning_run()

    assert state_after_a_look(run) == RunState.PLANNING
    EmbeddingRun.objects.filter(pk=run.pk).update(created_at="2026-01-01T00:00Z")
    assert state_after_a_look(run) == RunState.FAILED


def test_a_run_whose_job_ended_before_it_was_planned_fails() -> None:
    assert state_after_a_look(planning_run(job_id="gone")) == RunState.FAILED


def test_a_run_is_not_failed_while_another_process_plans_it(other: psycopg.Connection[Any]) -> None:
    run = planning_run(job_id="gone")
    other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [planning._PLANNER, run.pk])

    assert state_after_a_look(run) == RunState.PLANNING


def test_a_run_that_was_planned_since_it_was_looked_at_is_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = planning_run(job_id="gone")
    lock = planning.lock_plan

    def planned_just_before(run_id: int) -> bool:
        EmbeddingRun.objects.filter(pk=run_id).update(state=RunState.RUNNING, started_at=Now(), total=8)
        return lock(run_id)

    monkeypatch.setattr(planning, "lock_plan", planned_just_before)
    assert state_after_a_look(run) == RunState.RUNNING


def test_a_catch_up_looks_again_after_another_has_planned(other: psycopg.Connection[Any]) -> None:
    run = planning_run()
    other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [planning._PLANNER, run.pk])
    with pytest.raises(Snooze, match="another job is planning the run"):
        runs.catch_up(run.collection.name)

    other.rollback()
    assert runs.catch_up(run.collection.name)["runs"] == {ENCODER: {"run": run.pk, "chunks": 1}}


def test_a_job_does_not_stand_by_while_another_builds_the_encoder(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "ENCODERS_DIR": tmp_path}
    collection = make_collection(encoder="built:one", fast_encoder="")
    add_chunks(collection, ["a"])

    def load(name: str) -> Double:
        built.build_once("d" * 64, lambda folder: {"note": (folder / "file").write_text("whole")})
        return Double(name)

    monkeypatch.setitem(registry.KINDS, "built:", load)
    with FileLock(tmp_path / f".{'d' * 64}.lock"):
        with pytest.raises(Snooze, match="another process is building"):
            runs.catch_up(collection.name)
        assert not EmbeddingRun.objects.filter(collection=collection).exists()
    assert runs.catch_up(collection.name)["runs"]["built:one"]["chunks"] == 1
    assert Job.objects.filter(task="embeddings.embed_batch").count() == 1


# --- a chunk and the vector of its content that come at once ---

_BRING_VECTOR = "INSERT INTO embeddings_vector (model_id, content_sha, vector) VALUES (%s, %s, %s)"


def told(chunk: Chunk) -> int:
    return Change.objects.filter(chunk_id=chunk.pk, model__isnull=False).count()


def test_readers_are_told_of_a_chunk_whose_vector_came_at_the_same_time(other: psycopg.Connection[Any]) -> None:
    collection = make_collection(encoder=ENCODER, fast_encoder="")
    model = model_rows.resolve(collection)
    sha = hashlib.sha256(b"a").digest()
    other.execute(_BRING_VECTOR, [model.pk, sha, b"\0" * 32])
    (chunk,) = add_chunks(collection, ["a"])
    other.commit()
    assert told(chunk) == 0, "neither trigger saw the other's row"

    assert runs.catch_up(collection.name) == {"runs": {}}
    assert told(chunk) == 1
    runs.catch_up(collection.name)
    assert told(chunk) == 1


def test_readers_are_told_of_a_chunk_whose_vector_comes_after_it_was_planned(other: psycopg.Connection[Any]) -> None:
    collection = make_collection(encoder=ENCODER, fast_encoder="")
    model = model_rows.resolve(collection)
    sha = hashlib.sha256(b"a").digest()
    other.execute(_BRING_VECTOR, [model.pk, sha, b"\0" * 32])
    (chunk,) = add_chunks(collection, ["a"])
    runs.catch_up(collection.name)
    other.commit()

    batch = EmbeddingBatch.objects.get()
    batches.embed(batch.run_id, batch.first_id, batch.last_id)
    assert told(chunk) == 1


# --- texts that another collection has brought ---


def test_texts_that_were_known_already_have_the_index_built_before_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "LEAST_BESIDE", 5)
    monkeypatch.setattr(documents, "MANY_KNOWN", 5)
    texts = [f"text {i}" for i in range(5)]
    first, second = (make_collection(encoder=ENCODER, fast_encoder="") for _ in range(2))
    add_chunks(first, texts)
    runs.embed_all(first.name)
    model_rows.resolve(second)
    documents.put(None, second, [{"id": text, "text": text} for text in texts[:4]])
    assert not Job.objects.exists()
    runs.catch_up(second.name)
    assert not Job.objects.exists(), "four are few"

    Document.objects.filter(collection=second).delete()
    documents.put(None, second, [{"id": text, "text": text} for text in texts])
    assert Job.objects.get().task == "embeddings.catch_up"
    assert runs.catch_up(second.name) == {"runs": {}}
    assert Job.objects.filter(task="build_faiss_index").count() == 1


# --- without a job ---


def test_in_place_nothing_is_left_to_the_jobs_of_a_run_that_was_there_already() -> None:
    collection = make_collection(encoder=ENCODER, fast_encoder="")
    add_chunks(collection, ["a", "b"])
    runs.catch_up(collection.name)

    assert runs.embed_all(collection.name)["encoded"] == 2
    assert EmbeddingRun.objects.get().state == RunState.DONE


def test_in_place_a_busy_provider_is_waited_for_and_at_last_named(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = make_collection(encoder="double:busy", fast_encoder="")
    add_chunks(collection, ["a"])
    slept: list[float] = []
    monkeypatch.setattr(runs, "time", SimpleNamespace(sleep=slept.append))  # of nobody else's thread

    with pytest.raises(EncoderUnavailable, match="the double is busy; call it again to go on"):
        runs.embed_all(collection.name)
    assert slept == [7.0] * runs.MOST_WAITS
