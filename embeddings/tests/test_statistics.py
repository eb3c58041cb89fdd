"""What is measured of collections."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from embeddings.models import Chunk, Collection, CollectionStatistics, Document, SetAside
from embeddings.services import builds, pointer, statistics
from embeddings.tests.factories import add_chunks, fill, make_collection, make_model, settle

#: Builds read by connections of their own, and so only what is committed.
committed = pytest.mark.django_db(transaction=True)


def measured(collection: Collection) -> CollectionStatistics:
    statistics.collect()
    found = statistics.newest(collection)
    assert found is not None
    return found


@pytest.mark.django_db
def test_an_empty_collection_is_measured_too():
    row = measured(make_collection())

    assert (row.documents, row.chunks, row.tokens, row.embedded, row.vector_bytes, row.index_bytes) == (0,) * 6


@pytest.mark.django_db
def test_documents_chunks_and_what_is_embedded_are_counted_for_each_collection_apart():
    one, two = make_collection(model=make_model()), make_collection(model=make_model(dimension=8))
    fill(one, 30)
    chunks = add_chunks(one, ["no vector", "nor this one"])
    assert one.model is not None
    SetAside.objects.create(
        model=one.model, content_sha=chunks[0].content_sha, chunk_id=chunks[0].pk, collection=one, reason="poison"
    )
    fill(two, 5)
    Document.objects.create(collection=two, external_id="empty", text="", content_sha=b"x" * 32)

    row = measured(one)
    assert (row.documents, row.chunks, row.tokens, row.embedded, row.set_aside) == (32, 32, 32, 30, 1)
    assert row.vector_bytes == 30 * 16 * 2
    row = measured(two)
    assert (row.documents, row.chunks, row.embedded, row.set_aside, row.vector_bytes) == (6, 5, 5, 0, 5 * 8 * 2)


@committed
def test_what_lies_beside_the_index_is_what_came_since_and_is_still_there():
    collection = make_collection(model=make_model())
    fill(collection, 40)
    assert measured(collection).beside_index == 40

    settle()
    builds.build(collection.name)
    pointer.swap_to_newest(collection.name)
    row = measured(collection)
    assert row.beside_index == 0
    assert row.index_bytes > 0

    fill(collection, 7, seed=2)
    fill(collection, 3, model=make_model(), seed=3)
    assert measured(collection).beside_index == 7
    Chunk.objects.filter(collection=collection).order_by("-pk").first().delete()
    newest = Chunk.objects.filter(collection=collection).order_by("-pk")[:3]
    for chunk in newest:
        chunk.delete()
    assert measured(collection).beside_index == 6


@pytest.mark.django_db
def test_rows_are_kept_for_a_month():
    collection = make_collection()
    statistics.collect()
    statistics.collect()
    first = CollectionStatistics.objects.filter(collection=collection).earliest("pk")
    CollectionStatistics.objects.filter(pk=first.pk).update(at=Now() - timedelta(days=31))

    assert statistics.collect()["pruned"] == 1
    assert CollectionStatistics.objects.filter(collection=collection).count() == 2
