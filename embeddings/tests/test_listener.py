"""The thread that listens: it follows what is committed and swapped without a search, and ends when none comes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from embeddings.models import Collection
from embeddings.services import documents, pointer
from embeddings.serving import listener, reader
from embeddings.tests.factories import fill, make_collection, make_model
from embeddings.tests.searching_helpers import swapped

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def collection() -> Collection:
    return make_collection(model=make_model(), recall_target=0.5, fast_encoder="")


@pytest.fixture
def listening(settings: Any) -> Iterator[None]:
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "LISTENER": True}
    yield
    reader.forget()
    if listener._thread is not None:
        listener._thread.join(20)


def test_the_listener_swaps_and_follows_without_a_search(
    collection: Collection, listening: None, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    chunks = fill(collection, 10)
    swapped(collection)
    reader.snapshot(collection.pk)
    monkeypatch.setattr(listener, "ROUND_SECONDS", 30.0)  # so that it is told, not looks
    listener.start()
    follower = reader._followers[collection.pk]

    documents.delete(None, collection, [chunks[0].document.external_id])
    until(lambda: follower.snapshot.main.tombstones.tolist() == [chunks[0].pk])
    more = fill(collection, 3, seed=2)
    until(lambda: set(follower.snapshot.main.beside.ids.tolist()) == {chunk.pk for chunk in more})
    swapped(collection)
    until(lambda: follower.snapshot.main.version.number == 2)
    monkeypatch.setattr(listener, "ROUND_SECONDS", 0.1)
    pointer.tell(collection)


@pytest.mark.long
def test_the_listener_survives_a_lost_connection_and_nonsense(
    collection: Collection, listening: None, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    monkeypatch.setattr(listener, "RECONNECT_SECONDS", 0.05)
    fill(collection, 3)
    reader.snapshot(collection.pk)
    listener.start()
    follower = reader._followers[collection.pk]
    with connection.cursor() as cursor:
        for payload in ("", "{", "[1]", '{"collection": "x"}', "null", json.dumps({"collection": 10**30})):
            cursor.execute("SELECT pg_notify('embeddings', %s), pg_notify('embeddings_changes', %s)", [payload] * 2)
        until(lambda: _listeners(cursor))
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", [_listeners(cursor)])

    more = fill(collection, 3, seed=2)

    until(lambda: {chunk.pk for chunk in more} <= set(follower.snapshot.main.beside.ids.tolist()))


def _listeners(cursor: Any) -> list[int]:
    cursor.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND query NOT LIKE '%%jobs_%%' AND state = 'idle'"
    )
    return [row[0] for row in cursor.fetchall()]


@pytest.mark.long
def test_the_listener_ends_when_nothing_is_searched_any_more(
    collection: Collection, listening: None, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    monkeypatch.setattr(listener, "ROUND_SECONDS", 0.1)
    reader.snapshot(collection.pk)
    listener.start()
    thread = listener._thread
    assert thread is not None
    assert listener.is_running()

    monkeypatch.setattr(reader, "IDLE_SECONDS", 0.3)
    until(lambda: not thread.is_alive())

    assert reader.followed() == []
    assert not listener.is_running()
