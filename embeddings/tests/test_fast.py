"""The fast tier: vectors in the transaction that brings a document, and the move to another table."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from embeddings.encoders import table_store
from embeddings.models import Collection, Document, EmbeddingModel, EmbeddingRun, IndexVersion, RunKind, Vector
from embeddings.models.version import VersionState
from embeddings.services import fast, fitting
from embeddings.services.documents import put
from embeddings.tests import encoder_doubles  # noqa: F401  double:NAME
from embeddings.tests.factories import add_chunks, make_collection
from embeddings.tests.static_tables import make_table, on_a_host, share_in
from jobs.models import Job, State
from jobs.tests.in_process import run_all

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    share_in(tmp_path / "shared", settings)
    on_a_host(tmp_path / "host", monkeypatch)
    fast._said.clear()


def collection_of(**fields: Any) -> Collection:
    return make_collection(**{"encoder": "double:slow", "fast_encoder": "static", **fields})


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def embed(collection: Collection, *texts: str) -> int:
    return fast.embed_now(collection, [sha(text) for text in texts], texts)


def contents(model: EmbeddingModel) -> set[bytes]:
    return {bytes(one) for one in Vector.objects.filter(model=model).values_list("content_sha", flat=True)}


# --- a vector at once ---


def test_a_document_that_is_put_has_a_vector_before_any_job_ran() -> None:
    table = make_table()
    collection = collection_of()

    put(None, collection, [{"id": "1", "text": "a b c"}])

    assert contents(table) == {sha("a b c")}
    collection.refresh_from_db()
    assert collection.fast_model == table


def test_it_is_the_vector_that_a_query_is_compared_with() -> None:
    from embeddings import encoders
    from embeddings.vectors import from_bytes

    table = make_table()
    embed(collection_of(), "a b")

    stored = from_bytes([bytes(Vector.objects.get(model=table).vector)], table.dimension)[0]
    asked = encoders.load_exactly(table.spec, table.digest).encode(["a b"]).vectors[0]
    assert float(stored @ asked) > 0.999


def test_without_a_table_nothing_is_stored_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    collection = collection_of()

    with caplog.at_level(logging.WARNING):
        assert embed(collection, "a") == 0
        assert embed(collection, "b") == 0

    assert [record.message for record in caplog.records if "at once" in record.message] == [caplog.messages[0]]
    assert "fit_static" in caplog.messages[0]
    assert collection.fast_model is None


@pytest.mark.parametrize("fields", [{"fast_encoder": ""}, {"encoder": "static"}])
def test_a_collection_may_do_without(fields: dict[str, str], django_assert_num_queries: Any) -> None:
    make_table()
    collection = collection_of(**fields)

    with django_assert_num_queries(0):
        assert embed(collection, "a") == 0


def test_texts_that_cannot_be_embedded_leave_the_others_theirs() -> None:
    table = make_table()

    assert embed(collection_of(), "\x01", "a", " ", "b") == 2

    assert contents(table) == {sha("a"), sha("b")}


def test_nothing_but_what_cannot_be_embedded_stores_nothing() -> None:
    make_table()

    assert embed(collection_of(), *("\x01" * n for n in range(1, 30))) == 0


def test_the_same_text_twice_is_one_vector() -> None:
    make_table()
    collection = collection_of()

    assert embed(collection, "a", "b", "a") == 2
    assert embed(collection, "a", "c") == 1


def _lost_files(table: EmbeddingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    table_store.remove(table.digest)


def _failing_insert(table: EmbeddingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")

    monkeypatch.setattr("embeddings.services.storing.store_vectors", fail)


@pytest.mark.parametrize("harm", [_lost_files, _failing_insert])
def test_whatever_goes_wrong_the_documents_are_kept(
    harm: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = make_table(seed=77)  # which no test has loaded
    collection = collection_of(fast_model=table)
    harm(table, monkeypatch)

    result = put(None, collection, [{"id": "1", "text": "a"}])

    assert result.created == 1
    assert Document.objects.filter(collection=collection).count() == 1
    assert contents(table) == set()
    assert "no vector at once" in caplog.text


def test_another_encoder_may_be_the_fast_one() -> None:
    collection = collection_of(fast_encoder="double:quick")

    assert embed(collection, "a", "REFUSE", "b") == 2

    assert collection.fast_model.spec == "double:quick"


def test_first_of_all_what_is_there_already_is_embedded_too() -> None:
    make_table()
    collection = collection_of()
    add_chunks(collection, ["old"])

    embed(collection, "a")

    run = EmbeddingRun.objects.get(collection=collection)
    assert (run.kind, run.encoder) == (RunKind.FAST, f"static:{collection.fast_model.digest}")


# --- another table ---


@pytest.mark.django_db(transaction=True)
def test_a_collection_moves_to_a_new_table_when_all_of_it_is_embedded_by_that() -> None:
    old = make_table()
    collection = collection_of(encoder="double:plain")
    put(None, collection, [{"id": str(n), "text": text} for n, text in enumerate(["a", "b b", "c d e"])])
    run_all()
    new = make_table(seed=1)

    assert fitting.move_all(new) == [collection.name]
    collection.refresh_from_db()
    assert collection.fast_model == old, "not before its vectors are there"
    assert fitting.move_all(new) == [collection.name], "joining the run that is under way"
    run_all()

    collection.refresh_from_db()
    assert collection.fast_model == new
    assert contents(new) == contents(old) == {sha("a"), sha("b b"), sha("c d e")}
    assert collection.fast_version.model == new
    assert EmbeddingRun.objects.filter(encoder=f"static:{new.digest}").count() == 1
    assert not Job.objects.filter(state=State.FAILED).exists()


def test_a_run_by_a_table_that_was_overtaken_does_not_move_a_collection_back() -> None:
    old, new = make_table(), make_table(seed=1)
    collection = collection_of(fast_model=new)

    fitting.after_run(EmbeddingRun(collection=collection, kind=RunKind.FAST, model=old, state="done"))
    fitting.after_run(EmbeddingRun(collection=collection, kind=RunKind.FAST, model=new, state="done"))

    collection.refresh_from_db()
    assert collection.fast_model == new
    assert not Job.objects.exists(), "nor is anything built"


def test_until_the_new_index_is_in_use_new_documents_get_a_vector_of_both() -> None:
    old, new = make_table(), make_table(seed=1)
    collection = collection_of()
    version = IndexVersion.objects.create(
        collection=collection, number=1, model=old, state=VersionState.READY, built_at="2026-01-01T00:00Z"
    )
    Collection.objects.filter(pk=collection.pk).update(fast_model=new, fast_version=version)
    collection.refresh_from_db()

    put(None, collection, [{"id": "1", "text": "a"}])

    assert contents(old) == contents(new) == {sha("a")}


def test_a_collection_without_a_document_moves_at_once() -> None:
    collection = collection_of(fast_model=make_table())
    new = make_table(seed=1)

    fitting.move_all(new)

    collection.refresh_from_db()
    assert collection.fast_model == new


def test_collections_with_another_fast_encoder_or_none_do_not_move() -> None:
    others = [collection_of(fast_encoder=spec) for spec in ("", "double:quick")]
    others.append(collection_of(encoder="static"))
    for collection in others:
        add_chunks(collection, ["a"])

    assert fitting.move_all(make_table()) == []
    assert not EmbeddingRun.objects.exists()


def test_a_run_that_was_cancelled_moves_nothing() -> None:
    collection = collection_of(fast_model=make_table())
    new = make_table(seed=1)
    run = EmbeddingRun(collection=collection, encoder=f"static:{new.digest}", kind=RunKind.FAST, model=new)
    run.state = "cancelled"

    fitting.after_run(run)

    collection.refresh_from_db()
    assert collection.fast_model != new


def test_files_of_tables_that_nothing_uses_are_removed() -> None:
    unused, used, moved_to, pinned, newest = (make_table(seed=n) for n in range(5))
    collection = collection_of(fast_model=used)
    EmbeddingRun.objects.create(collection=collection, encoder=f"static:{moved_to.digest}", kind=RunKind.FAST)
    collection_of(fast_encoder=f"static:{pinned.digest}")

    assert fitting.remove_unused() == 1

    tables = (unused, used, moved_to, pinned, newest)
    assert [table_store.is_good(one.digest) for one in tables] == [False, True, True, True, True]
