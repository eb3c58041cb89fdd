"""An hourly rebuild of what has not changed costs next to nothing, however much there is."""

from typing import Any

import pytest
from django.db import connection

from embeddings import tasks
from embeddings.encoders.ngram import NgramHash
from embeddings.models import Activation, Change, Collection, EmbeddingBatch, IndexVersion, Vector
from embeddings.services import builds, pointer, runs
from embeddings.tests.factories import add_chunks, make_collection
from jobs.models import Job
from jobs.tests.in_process import run_all

pytestmark = pytest.mark.django_db(transaction=True)


def settled(n: int) -> Collection:
    """A collection whose documents are embedded, indexed and searched."""
    collection = make_collection(encoder="ngram", fast_encoder="", recall_target=0.5)
    add_chunks(collection, [f"document {number} of {n}" for number in range(n)])
    runs.embed_all(collection.name)
    builds.build(collection.name)
    pointer.swap_to_newest(collection.name)
    return collection


def statements_of_a_rebuild() -> int:
    """All that Django's connection is asked while the hourly rebuild and its chains run, without the ledger's own."""
    seen: list[str] = []

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    tasks.rebuild.delay()
    with connection.execute_wrapper(count):
        run_all()
    return sum("embeddings_" in sql for sql in seen)


def test_a_rebuild_with_nothing_new_writes_nothing_and_asks_no_more_for_more_documents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = settled(8)
    tables = (Vector, Change, IndexVersion, Activation, EmbeddingBatch)
    before = [table.objects.count() for table in tables]
    monkeypatch.setattr(NgramHash, "encode", lambda *_: 1 / 0)

    for_few = statements_of_a_rebuild()

    assert [table.objects.count() for table in tables] == before
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    assert Job.objects.filter(task="hot_swap_index").count() == 1
    monkeypatch.undo()
    few.documents.all().delete()
    Collection.objects.filter(pk=few.pk).update(active_version=None)
    settled(300)

    assert statements_of_a_rebuild() == for_few
    assert for_few < 60
