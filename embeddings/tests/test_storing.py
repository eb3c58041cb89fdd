"""Vectors are written in bulk, once a content, and only if they are some."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from embeddings.models import EmbeddingModel, Vector
from embeddings.services.storing import store_vectors
from embeddings.vectors import BadVector, Matrix, from_bytes, unit

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)
#: Against waiting for ever.
GUARD_SECONDS = 60


@pytest.fixture
def model() -> EmbeddingModel:
    return EmbeddingModel.objects.create(spec="test", digest="0" * 64, dimension=8)


def shas(*texts: str) -> list[bytes]:
    return [hashlib.sha256(text.encode()).digest() for text in texts]


def vectors(count: int) -> Matrix:
    return unit(np.random.default_rng(7).standard_normal((count, 8)).astype(np.float32))


def test_vectors_come_back_as_they_were_to_half_precision(model: EmbeddingModel) -> None:
    given, texts = vectors(3), shas("a", "b", "c")

    assert store_vectors(model, texts, given) == 3

    stored = {bytes(row.content_sha): row.vector for row in Vector.objects.filter(model=model)}
    np.testing.assert_allclose(from_bytes([stored[sha] for sha in texts], 8), given, atol=1e-3)


def test_a_content_that_is_there_stays_as_it_is(model: EmbeddingModel) -> None:
    store_vectors(model, shas("a", "b"), vectors(2))
    before = dict(Vector.objects.values_list("content_sha", "vector"))

    assert store_vectors(model, shas("a", "b", "c"), -vectors(3)) == 1
    assert store_vectors(model, shas("c", "d", "a"), -vectors(3), were_unknown=True) == 1
    assert before.items() <= dict(Vector.objects.values_list("content_sha", "vector")).items()


def test_a_content_that_comes_twice_in_a_call_is_kept_once(model: EmbeddingModel) -> None:
    assert store_vectors(model, shas("a", "a"), vectors(2)) == 1
    assert store_vectors(model, shas("b", "b"), vectors(2), were_unknown=True) == 1


def test_two_calls_in_a_transaction_write_each_its_own(model: EmbeddingModel) -> None:
    other = EmbeddingModel.objects.create(spec="other", digest="1" * 64, dimension=8)

    with transaction.atomic():
        store_vectors(model, shas("a", "b"), vectors(2))
        store_vectors(other, shas("c"), vectors(1))

    assert Vector.objects.filter(model=model).count() == 2
    assert Vector.objects.filter(model=other).count() == 1


@pytest.mark.django_db(transaction=True)
def test_nothing_stays_of_a_transaction_that_is_undone_and_a_new_connection_begins_anew(model: EmbeddingModel) -> None:
    with transaction.atomic():
        store_vectors(model, shas("a"), vectors(1))
        transaction.set_rollback(True)

    assert not Vector.objects.exists()
    assert store_vectors(model, shas("b"), vectors(1)) == 1
    connection.close()
    assert store_vectors(model, shas("c"), vectors(1)) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[1].fill(np.nan), "vector 1 of 3 is not finite"),
        (lambda rows: rows[2].fill(np.inf), "vector 2 of 3 is not finite"),
        (lambda rows: rows[0].fill(0), "vector 0 of 3 is all zeros"),
        (lambda rows: np.multiply(rows, 3, out=rows), "vector 0 of 3 has the length 3 instead of 1, and 2 more"),
    ],
)
def test_what_is_no_vector_is_refused_by_its_place_and_nothing_is_written(
    model: EmbeddingModel, spoil: Callable[[Matrix], object], message: str
) -> None:
    rows = vectors(3)
    spoil(rows)

    with pytest.raises(BadVector, match=message):
        store_vectors(model, shas("a", "b", "c"), rows)
    assert not Vector.objects.exists()


def test_vectors_of_another_dimension_or_number_are_refused(model: EmbeddingModel) -> None:
    with pytest.raises(BadVector, match="8 dimensions"):
        store_vectors(model, shas("a"), unit(np.ones((1, 4), dtype=np.float32)))
    with pytest.raises(BadVector, match="2 vectors came for 1 contents"):
        store_vectors(model, shas("a"), vectors(2))
    assert store_vectors(model, [], vectors(0)) == 0


# --- several writers ---


@contextmanager
def others(count: int = 1) -> Iterator[ThreadPoolExecutor]:
    """Threads with connections of their own, which are closed at the end."""
    everybody = threading.Barrier(count)

    def close() -> None:
        everybody.wait(GUARD_SECONDS)
        connection.close()

    with ThreadPoolExecutor(count) as pool:
        yield pool
        for one in [pool.submit(close) for _ in range(count)]:
            one.result(GUARD_SECONDS)


def wait_until_blocked(future: Future[int]) -> None:
    """Until somebody waits for a lock of this transaction."""
    deadline = time.monotonic() + GUARD_SECONDS
    while time.monotonic() < deadline and not future.done():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_unknown_contents_go_straight_into_their_table(model: EmbeddingModel) -> None:
    with CaptureQueriesContext(connection) as seen:
        store_vectors(model, shas("a", "b"), vectors(2))

    assert not [query for query in seen.captured_queries if "staging" in query["sql"]]


@committed
@pytest.mark.parametrize(("is_undone", "new"), [(False, 1), (True, 2)])
def test_of_two_writers_of_a_content_the_second_waits_and_keeps_what_the_first_left(
    model: EmbeddingModel, is_undone: bool, new: int
) -> None:
    with others() as pool:
        with transaction.atomic():
            store_vectors(model, shas("a", "b"), vectors(2))
            second = pool.submit(store_vectors, model, shas("b", "c"), -vectors(2))
            wait_until_blocked(second)
            transaction.set_rollback(is_undone)
        assert second.result(GUARD_SECONDS) == new

    assert Vector.objects.count() == (2 if is_undone else 3)


@committed
def test_a_writer_that_comes_second_keeps_the_rest_of_its_transaction(model: EmbeddingModel) -> None:
    def write() -> int:
        with transaction.atomic():
            other = EmbeddingModel.objects.create(spec="other", digest="1" * 64, dimension=8)
            return store_vectors(model, shas("a", "b"), vectors(2)) + store_vectors(other, shas("a"), vectors(1))

    with others() as pool:
        with transaction.atomic():
            store_vectors(model, shas("b"), vectors(1))
            second = pool.submit(write)
            wait_until_blocked(second)
        assert second.result(GUARD_SECONDS) == 2

    assert Vector.objects.filter(model=model).count() == 2
    assert Vector.objects.filter(model__spec="other").count() == 1


@committed
def test_many_writers_of_the_same_contents_in_any_order_keep_each_once(model: EmbeddingModel) -> None:
    contents, given = shas(*map(str, range(120))), vectors(120)

    def write(seed: int) -> int:
        new = 0
        random = np.random.default_rng(seed)
        for _ in range(10):
            chosen = random.permutation(120)[:30]
            has_looked = bool(random.integers(2))
            new += store_vectors(model, [contents[place] for place in chosen], given[chosen], were_unknown=has_looked)
        return new

    with others(4) as pool:
        assert sum(pool.map(write, range(4))) == Vector.objects.count()
    stored = {bytes(row.content_sha): row.vector for row in Vector.objects.filter(model=model)}
    known = [place for place, sha in enumerate(contents) if sha in stored]
    np.testing.assert_allclose(from_bytes([stored[contents[place]] for place in known], 8), given[known], atol=1e-3)


# --- vectors and their model ---


def test_vectors_of_a_model_that_is_gone_are_refused(model: EmbeddingModel) -> None:
    EmbeddingModel.objects.filter(pk=model.pk).delete()

    with pytest.raises(IntegrityError, match="the model of these vectors is gone"), transaction.atomic():
        store_vectors(model, shas("a"), vectors(1))
    assert not Vector.objects.exists()


def delete_model_alone(model: EmbeddingModel) -> int:
    """As somebody does who knows nothing of its vectors."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM embeddings_embeddingmodel WHERE id = %s", [model.pk])
        return int(cursor.rowcount)


@committed
def test_a_model_that_has_vectors_stays_and_goes_with_them(model: EmbeddingModel) -> None:
    store_vectors(model, shas("a", "b"), vectors(2))

    with pytest.raises(IntegrityError, match="has vectors still"):
        delete_model_alone(model)
    assert EmbeddingModel.objects.filter(pk=model.pk).exists()

    model.delete()
    assert not Vector.objects.exists()
    assert not EmbeddingModel.objects.exists()


@committed
def test_a_model_cannot_go_while_its_first_vectors_are_written(model: EmbeddingModel) -> None:
    with others() as pool:
        with transaction.atomic():
            store_vectors(model, shas("a"), vectors(1))
            deleting = pool.submit(delete_model_alone, model)
            wait_until_blocked(deleting)
        with pytest.raises(IntegrityError, match="has vectors still"):
            deleting.result(GUARD_SECONDS)

    assert Vector.objects.filter(model=model).count() == 1


@committed
def test_vectors_of_a_model_that_is_going_are_refused(model: EmbeddingModel) -> None:
    with others() as pool:
        with transaction.atomic():
            delete_model_alone(model)
            writing = pool.submit(store_vectors, model, shas("a"), vectors(1))
            wait_until_blocked(writing)
        with pytest.raises(IntegrityError, match="is gone"):
            writing.result(GUARD_SECONDS)

    assert not Vector.objects.exists()


@committed
def test_who_waits_too_long_for_another_writer_is_told_as_by_any_statement(model: EmbeddingModel) -> None:
    def write() -> int:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '50ms'")
            return store_vectors(model, shas("a"), vectors(1))

    with others() as pool, transaction.atomic():
        store_vectors(model, shas("a"), vectors(1))
        with pytest.raises(OperationalError, match="lock timeout"):
            pool.submit(write).result(GUARD_SECONDS)
