"""How many batches of a run are sent at a time, and how large they are."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from embeddings.models import (
    BatchState,
    Chunk,
    EmbeddingBatch,
    EmbeddingRun,
    RunState,
)
from embeddings.services import batches, planning, storing
from embeddings.tests import encoder_doubles
from embeddings.tests.batch_runs import collection_of, embed_sent, planned, texts
from jobs.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.EMBEDDINGS, "BATCH_CHUNKS", 4)
    # What another test has just seen is not this one's window.
    monkeypatch.setattr(planning, "_recent", (-planning.WINDOW_SECONDS, 0))
    encoder_doubles.seen.clear()


def test_a_window_of_jobs_is_kept_full_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "window", lambda: 2)
    run = planned(collection_of(*(f"text {i}" for i in range(16))))

    for open_jobs in (2, 2, 2, 1):
        sent = EmbeddingBatch.objects.filter(run=run, state=BatchState.SENT).order_by("id")
        assert len(sent) == open_jobs
        batch = sent[0]
        batches.embed(run.pk, batch.first_id, batch.last_id)
    assert Job.objects.filter(task="embeddings.embed_batch").count() == 4


def test_jobs_are_sent_several_at_a_time_when_half_of_the_window_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "window", lambda: 4)
    run = planned(collection_of(*texts(32)))

    inserts = []
    for open_jobs in (3, 4, 3, 4, 3, 2, 1, 0):
        batch = EmbeddingBatch.objects.filter(run=run, state=BatchState.SENT).order_by("id")[0]
        with CaptureQueriesContext(connection) as seen:
            batches.embed(run.pk, batch.first_id, batch.last_id)
        assert EmbeddingBatch.objects.filter(run=run, state=BatchState.SENT).count() == open_jobs
        inserts.append(sum("INSERT INTO jobs_job " in query["sql"] for query in seen.captured_queries))

    assert inserts == [0, 1, 0, 1, 0, 0, 0, 0]
    jobs = Job.objects.filter(task="embeddings.embed_batch")
    assert sorted(jobs.values_list("kwargs__first_id", flat=True)) == sorted(
        Chunk.objects.values_list("id", flat=True).order_by("id")[::4]
    )
    run.refresh_from_db()
    assert (run.state, run.encoded) == (RunState.DONE, 32)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_small_window_does_not_run_dry(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "window", lambda: window)
    run = planned(collection_of(*texts(20)))

    embed_sent(run)

    run.refresh_from_db()
    assert (run.state, run.encoded) == (RunState.DONE, 20)


@pytest.mark.django_db(transaction=True)
def test_batches_that_end_at_once_do_not_leave_the_run_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that has become smaller than what is sent: none of those that end sees that few are left."""
    monkeypatch.setattr(planning, "window", lambda: 3)
    run = planned(collection_of(*texts(40)))
    monkeypatch.setattr(planning, "window", lambda: 1)
    monkeypatch.setattr(planning, "_recent", (-planning.WINDOW_SECONDS, 0))
    at_once = threading.Barrier(3)
    stored = storing.store_vectors

    def store_together(*given: Any, **further: Any) -> int:
        new = stored(*given, **further)
        at_once.wait(60)
        return new

    def embed(batch: EmbeddingBatch) -> dict[str, int]:
        try:
            return batches.embed(run.pk, batch.first_id, batch.last_id)
        finally:
            connection.close()

    with monkeypatch.context() as patched, ThreadPoolExecutor(3) as pool:
        patched.setattr(batches, "store_vectors", store_together)
        sent = list(EmbeddingBatch.objects.filter(run=run, state=BatchState.SENT))
        assert [found["chunks"] for found in pool.map(embed, sent)] == [4, 4, 4]
    embed_sent(run)

    run.refresh_from_db()
    assert (run.state, run.encoded) == (RunState.DONE, 40)


def test_batches_are_cut_by_tokens_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "USUAL_TOKENS_PER_SECOND", 100.0)
    collection = collection_of(*(f"text {i}" for i in range(8)))
    Chunk.objects.filter(collection=collection).update(n_tokens=50)
    run = planned(collection)

    assert list(EmbeddingBatch.objects.filter(run=run).values_list("size", flat=True)) == [2, 2, 2, 2]


@pytest.mark.parametrize("most", [3, 7, 10, 25])
def test_no_batch_is_larger_than_is_set(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.EMBEDDINGS, "BATCH_CHUNKS", most)
    run = planned(collection_of(*texts(4 * most + 1)))

    sizes = EmbeddingBatch.objects.filter(run=run).order_by("id").values_list("size", flat=True)
    assert list(sizes) == [most] * 4 + [1]


@pytest.mark.parametrize(
    ("count", "most", "processes", "expected"),
    [
        (64 * 10, 64, 2, [64] * 8 + [16] * 8),
        (64 * 10 + 5, 64, 2, [64] * 8 + [16] * 8 + [5]),
        (64 * 3, 64, 2, [64] * 3),
        (64 * 10, 64, 1, [64] * 10),
        (10 * 10, 10, 2, [10] * 10),
    ],
)
def test_the_last_batches_are_smaller_so_that_all_processes_end_at_once(
    count: int, most: int, processes: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.EMBEDDINGS, "BATCH_CHUNKS", most)
    monkeypatch.setattr(planning, "_children", lambda: processes)
    run = planned(collection_of(*texts(count)))

    found = EmbeddingBatch.objects.filter(run=run).order_by("id")
    assert list(found.values_list("size", flat=True)) == expected
    spans = list(found.values_list("first_id", "last_id"))
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))


def test_a_fast_model_is_given_larger_batches_next_time() -> None:
    run = planned(collection_of("a"))
    embed_sent(run)
    EmbeddingRun.objects.filter(pk=run.pk).update(tokens=140_000, cpu_seconds=1.0)

    assert run.model_id is not None
    limits = planning.limits_for(run.model_id)
    assert limits.chunks == 40
    assert limits.tokens == pytest.approx(140_000)
