"""Documents that several write at once, and collections that are cut anew."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django_celery_results.models import TaskResult

from embeddings.models import Chunk, Collection, Document
from embeddings.services import collections, documents, recutting
from embeddings.tests.documents_put import chunks, put
from embeddings.tests.factories import make_collection
from jobs.models import Job, State
from jobs.tests.live import LiveWorkers

pytestmark = pytest.mark.django_db

LONG = "\n\n".join(
    f"Paragraph {number} says something of its own. Then it goes on for a while." for number in range(12)
)


@pytest.fixture
def collection() -> Collection:
    return make_collection("notes", chunk_tokens=40, chunk_overlap=4, fast_encoder="")


# --- at once ---------------------------------------------------------------------------------------------------------


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run them in threads of their own, started together; returns results, or what was raised."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            results[index] = call()
        except Exception as exc:
            results[index] = exc
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    return results


@pytest.mark.django_db(transaction=True)
def test_writers_of_the_same_ids_in_any_order_neither_deadlock_nor_double() -> None:
    make_collection("notes", fast_encoder="")
    put(*({"id": f"d{number}", "text": "old"} for number in range(0, 60, 2)))

    def writer(name: str, step: int) -> Callable[[], Any]:
        ids = [f"d{number}" for number in range(60)][::step]
        return lambda: [
            put(*({"id": one, "text": f"{name} {turn}"} for one in ids)).errors
            or documents.delete(None, "notes", ids[:5])
            for turn in range(4)
        ]

    results = together(writer("a", 1), writer("b", -1), writer("c", 1), writer("d", -1))

    assert not [one for one in results if isinstance(one, Exception)]
    assert Document.objects.count() <= 60
    for document in Document.objects.prefetch_related("chunks"):
        (chunk,) = document.chunks.all()
        assert bytes(chunk.content_sha) == bytes(document.content_sha)


@pytest.mark.django_db(transaction=True)
def test_settings_do_not_change_before_documents_that_are_cut_by_them_are_committed() -> None:
    collection = make_collection("notes", fast_encoder="")
    is_cut, may_commit = threading.Event(), threading.Event()

    def put_slowly() -> None:
        with transaction.atomic():
            put({"id": "a", "text": LONG})
            is_cut.set()
            may_commit.wait(60)

    def change_meanwhile() -> None:
        is_cut.wait(60)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '100ms'")
            with pytest.raises(OperationalError, match="lock timeout"):
                collections.change(None, collection, {"chunk_tokens": 64})
        finally:
            may_commit.set()

    assert together(put_slowly, change_meanwhile) == [None, None]
    assert collections.change(None, collection, {"chunk_tokens": 64}).recut_job


# --- cutting anew ----------------------------------------------------------------------------------------------------


def test_cutting_anew_keeps_what_stays_the_same_and_changes_nothing_the_second_time(collection: Collection) -> None:
    put({"id": "long", "text": LONG}, {"id": "short", "text": "short"})
    kept = chunks("short")[0].pk
    before = {chunk.pk for chunk in chunks("long")}

    changed = collections.change(None, "notes", {"chunk_tokens": 80})

    assert Job.objects.get(pk=changed.recut_job).kwargs == {"collection": "notes"}
    assert recutting.recut("notes") == {"documents": 2, "changed": 1}
    after = {chunk.pk for chunk in chunks("long")}
    assert len(after) < len(before)
    assert not after & before
    assert chunks("short")[0].pk == kept
    assert recutting.recut("notes") == {"documents": 2, "changed": 0}
    assert {chunk.pk for chunk in chunks("long")} == after


def test_another_language_writes_the_words_anew_and_keeps_the_chunks(collection: Collection) -> None:
    put({"id": "a", "text": "running dogs"})
    (before,) = chunks("a")

    collections.change(None, "notes", {"language": "english"})
    recutting.recut("notes")

    (after,) = chunks("a")
    assert (before.words, after.words) == ("'dogs':2 'running':1", "'dog':2 'run':1")
    assert after.pk == before.pk


def test_cutting_anew_goes_through_more_documents_than_a_transaction_takes(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recutting, "AT_ONCE", 3)
    put(*({"id": f"d{number:02}", "text": LONG} for number in range(10)))
    Collection.objects.filter(name="notes").update(chunk_tokens=16)

    assert recutting.recut("notes") == {"documents": 10, "changed": 10}


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_worker_cuts_a_collection_anew_and_deletes_it(live_worker: LiveWorkers, ended: Callable[..., Job]) -> None:
    make_collection("notes", fast_encoder="", chunk_tokens=40, chunk_overlap=4)
    put(*({"id": f"d{number}", "text": LONG} for number in range(300)))
    before = Chunk.objects.count()
    live_worker("maintenance")

    cut = ended(collections.change(None, "notes", {"chunk_tokens": 80}).recut_job)
    assert (cut.state, Chunk.objects.count() < before) == (State.SUCCEEDED, True)
    assert TaskResult.objects.get(task_id=cut.pk).result == '{"documents": 300, "changed": 300}'
    assert ended(collections.delete(None, "notes", force=True)).state == State.SUCCEEDED
    assert not Collection.objects.filter(name="notes").exists()
