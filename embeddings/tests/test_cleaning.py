"""The clean-up removes vectors and rows that nothing needs, and nothing else."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from embeddings.models import (
    BatchState,
    Change,
    Chunk,
    Collection,
    EmbeddingBatch,
    EmbeddingRun,
    RunState,
    SetAside,
    Vector,
    VersionState,
)
from embeddings.services import cleaning
from embeddings.tests.aged_rows import age, committed, release
from embeddings.tests.factories import add_chunks, clustered, fill, make_collection, make_model


@pytest.fixture
def collection() -> Collection:
    return make_collection(model=make_model(), keep_versions=2)


def gone(chunks: list[Chunk]) -> None:
    Chunk.objects.filter(pk__in=[chunk.pk for chunk in chunks]).delete()


# --- vectors ---


@pytest.mark.django_db
def test_vectors_whose_content_no_chunk_has_go_after_a_day(collection):
    fill(collection, 5)
    old, new = fill(collection, 3), fill(collection, 2)
    age(Vector.objects.exclude(content_sha__in=[chunk.content_sha for chunk in new]))
    gone(old + new)

    assert cleaning.clean_up(dry_run=True)["vectors"] == 3
    assert Vector.objects.count() == 10
    assert cleaning.clean_up()["vectors"] == 3
    assert Vector.objects.count() == 7
    assert cleaning.clean_up()["vectors"] == 0


@pytest.mark.django_db
def test_a_content_that_another_document_still_has_keeps_its_vector(collection):
    first, _second = fill(collection, 1), fill(collection, 1)
    twin = add_chunks(collection, [first[0].document.text])
    age(Vector.objects)
    gone(first)

    assert cleaning.clean_up()["vectors"] == 0
    gone(twin)
    assert cleaning.clean_up()["vectors"] == 1


@pytest.mark.django_db
def test_vectors_of_a_model_that_nobody_uses_go(collection):
    chunks = fill(collection, 4)
    left, candidate = make_model(), make_model()
    for model in (left, candidate):
        from embeddings.services.storing import store_vectors

        store_vectors(model, [bytes(chunk.content_sha) for chunk in chunks], clustered(4))
    age(Vector.objects)
    Collection.objects.filter(pk=collection.pk).update(candidate=candidate, candidate_encoder="test")
    run = EmbeddingRun.objects.create(collection=collection, encoder="x", model=left, state=RunState.RUNNING)

    assert cleaning.clean_up()["vectors"] == 0, "a run is making them"
    run.state, run.finished_at = RunState.DONE, Now() - timedelta(days=2)
    run.save()
    assert cleaning.clean_up()["vectors"] == 4
    assert set(Vector.objects.values_list("model_id", flat=True)) == {collection.model_id, candidate.pk}


@pytest.mark.django_db
def test_many_vectors_are_gone_through_in_pages(collection, monkeypatch):
    from embeddings.services import cleaning_rows

    monkeypatch.setattr(cleaning_rows, "AT_ONCE", 7)
    chunks = fill(collection, 50)
    age(Vector.objects)
    gone(chunks[::2])

    assert cleaning.clean_up()["vectors"] == 25
    assert Vector.objects.count() == 25


# --- rows ---


@committed
def test_changes_older_than_every_kept_version_go(collection):
    release(collection, 1)
    fill(collection, 5)
    before = Change.objects.count()
    assert cleaning.clean_up()["changes"] > 0
    kept = Change.objects.count()
    assert 5 <= kept < before

    release(collection, 3)
    cleaning.clean_up()
    oldest = collection.versions.filter(state=VersionState.READY).order_by("number").first()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM embeddings_change WHERE xid < %s::text::xid8", [oldest.watermark])
        assert cursor.fetchone()[0] == 0
    # Whoever goes back to it finds what came since.
    assert Change.objects.filter(model=collection.model).count() >= 20


@pytest.mark.django_db
def test_changes_that_nothing_is_left_of_go(collection):
    fill(collection, 3)
    nobody = 1_000_000
    Change.objects.bulk_create(
        [
            Change(collection_id=nobody, chunk_id=1),
            Change(collection_id=collection.pk, model_id=nobody, chunk_id=2),
            Change(collection_id=collection.pk, chunk_id=3),
        ]
    )

    assert cleaning.clean_up()["changes"] == 2
    assert Change.objects.count() == 4


@pytest.mark.django_db
def test_changes_of_a_collection_without_an_index_stay(collection):
    fill(collection, 5)
    assert cleaning.clean_up()["changes"] == 0


@pytest.mark.django_db
def test_batches_go_after_a_week_and_runs_after_a_quarter(collection):
    def run_of(days: float) -> EmbeddingRun:
        run = EmbeddingRun.objects.create(
            collection=collection, encoder="x", state=RunState.DONE, finished_at=Now() - timedelta(days=days)
        )
        EmbeddingBatch.objects.create(run=run, first_id=1, last_id=2, size=1, state=BatchState.DONE)
        return run

    open_run = EmbeddingRun.objects.create(collection=collection, encoder="y")
    EmbeddingBatch.objects.create(run=open_run, first_id=1, last_id=2, size=1)
    recent, week, quarter = run_of(1), run_of(8), run_of(91)
    chunk = fill(collection, 1)[0]
    aside = SetAside.objects.create(
        model=make_model(),
        content_sha=chunk.content_sha,
        chunk_id=chunk.pk,
        collection=collection,
        reason="r",
        run=quarter,
    )

    counts = cleaning.clean_up()

    assert (counts["batches"], counts["runs"]) == (2, 1)
    assert set(EmbeddingRun.objects.values_list("pk", flat=True)) == {open_run.pk, recent.pk, week.pk}
    assert EmbeddingBatch.objects.count() == 2
    aside.refresh_from_db()
    assert aside.run is None


@pytest.mark.django_db
def test_set_aside_rows_go_with_their_content(collection):
    chunk = fill(collection, 1)[0]
    SetAside.objects.create(
        model=collection.model, content_sha=chunk.content_sha, chunk_id=chunk.pk, collection=collection, reason="r"
    )
    assert cleaning.clean_up()["set_aside"] == 0
    gone([chunk])
    assert cleaning.clean_up()["set_aside"] == 1
