"""Runs by real workers, some of which die."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from embeddings.models import Chunk, EmbeddingRun, RunState, SetAside, Vector
from embeddings.services import collections, documents
from embeddings.tasks import embed_all_documents
from embeddings.tests import encoder_doubles
from embeddings.tests.factories import make_collection
from jobs.models import Attempt, Job, State
from jobs.tests.conftest import ended, until
from jobs.tests.live import LiveWorker, LiveWorkers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long, pytest.mark.timeout(240)]
__all__ = ["ended", "until"]
BATCH = 25


def begin(live_worker: LiveWorkers, log: Path) -> LiveWorker:
    """A worker of the embedding lane, which knows the doubles and makes small batches."""
    return live_worker(
        "embedding",
        "indexing",
        "maintenance",
        TASK_MODULES=f"jobs.tests.probe_tasks,{encoder_doubles.__name__}",
        EMBEDDING_BATCH_CHUNKS=str(BATCH),
        DOUBLES_LOG=str(log),
    )


def embedded(log: Path) -> int:
    """How many texts were embedded, also by processes that have died since."""
    return sum(int(line.split()[1]) for line in log.read_text().splitlines()) if log.exists() else 0


def held(log: Path) -> int:
    """The process that holds a batch, so that the run is met in its middle; 0 before there is one."""
    noted = log.with_name(f"{log.name}.held")
    return int(noted.read_text() or 0) if noted.exists() else 0


def test_a_killed_process_costs_at_most_its_batch(
    live_worker: LiveWorkers, ended: Callable[..., Job], until: Callable[..., Any], tmp_path: Path
) -> None:
    log = tmp_path / "embedded"
    worker = begin(live_worker, log)
    collection = make_collection(encoder="double:plain", fast_encoder="")
    texts = [f"document {i}{' HOLD' if i == 500 else ''}" for i in range(1000)]
    documents.put(None, collection, [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    sent = embed_all_documents.delay(collection=collection.name)

    victim = until(lambda: held(log), 60)
    assert Job.objects.filter(task="embeddings.embed_batch", state=State.RUNNING, pid=victim).exists()
    assert victim in {child.pid for child in psutil.Process(worker.pid).children(recursive=True)}
    os.kill(victim, signal.SIGKILL)

    assert ended(sent.id, 120).state == State.SUCCEEDED
    chunks = Chunk.objects.filter(collection=collection)
    assert chunks.count() == 1000
    model = collections.find(collection.name).model
    contents = set(map(bytes, chunks.values_list("content_sha", flat=True)))
    assert contents == set(map(bytes, Vector.objects.filter(model=model).values_list("content_sha", flat=True)))
    assert Attempt.objects.filter(outcome="crashed").exists()
    assert embedded(log) <= 1000 + BATCH
    for run in EmbeddingRun.objects.filter(collection=collection):
        assert run.state == RunState.DONE
        assert run.encoded == run.total


def test_a_text_that_kills_its_process_is_found_and_set_aside(
    live_worker: LiveWorkers, ended: Callable[..., Job], tmp_path: Path
) -> None:
    begin(live_worker, tmp_path / "embedded")
    collection = make_collection(encoder="double:plain", fast_encoder="")
    texts = [f"document {i}" for i in range(20)]
    texts[13] = "EXIT"
    documents.put(None, collection, [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    sent = embed_all_documents.delay(collection=collection.name)

    assert ended(sent.id, 200).state == State.SUCCEEDED
    poison = SetAside.objects.get()
    assert Chunk.objects.get(pk=poison.chunk_id).document.external_id == "13"
    assert "exit" in poison.reason.lower() or "died" in poison.reason.lower()
    assert Vector.objects.count() == 19


def test_a_run_outlives_its_connections_to_postgres(
    live_worker: LiveWorkers,
    ended: Callable[..., Job],
    until: Callable[..., Any],
    ends_backends: Callable[[], int],
    tmp_path: Path,
) -> None:
    log = tmp_path / "embedded"
    begin(live_worker, log)
    collection = make_collection(encoder="double:plain", fast_encoder="")
    texts = [f"document {i}{' SLOW' if i % 5 == 0 else ''}" for i in range(400)]
    documents.put(None, collection, [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    sent = embed_all_documents.delay(collection=collection.name)
    until(lambda: embedded(log) > 50, 60)
    for _ in range(3):
        assert ends_backends() > 0
        time.sleep(0.7)

    assert ended(sent.id, 150).state == State.SUCCEEDED
    assert Vector.objects.count() == 400
    runs = EmbeddingRun.objects.filter(collection=collection)
    assert sum(run.encoded for run in runs) == 400


def test_a_run_goes_on_without_the_worker_that_began_it(
    live_worker: LiveWorkers, ended: Callable[..., Job], until: Callable[..., Any], tmp_path: Path
) -> None:
    log = tmp_path / "embedded"
    first = begin(live_worker, log)
    collection = make_collection(encoder="double:plain", fast_encoder="")
    texts = [f"document {i}{' HOLD' if i == 150 else ''}" for i in range(300)]
    documents.put(None, collection, [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    sent = embed_all_documents.delay(collection=collection.name)
    until(lambda: held(log), 60)
    first.kill()
    begin(live_worker, log)

    assert ended(sent.id, 120).state == State.SUCCEEDED
    assert Vector.objects.count() == 300
    assert embedded(log) <= 300 + 2 * BATCH, "a batch for each process that died"
