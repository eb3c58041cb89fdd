"""What the tests of documents and search share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage, storages

from jobs.tests.conftest import ended, until

__all__ = ["ended", "until"]


@pytest.fixture(autouse=True)
def snapshots_anew() -> Iterator[None]:
    """Ids begin anew with each test; what a process remembers of the one before is of other rows."""
    yield
    from embeddings.services import query_vectors
    from embeddings.serving import reader, stored

    reader.forget()
    query_vectors.forget()
    stored.forget()


@pytest.fixture(autouse=True)
def patient_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search waits no second longer for Postgres than it should; a busy machine may make that wait for its turn."""
    from embeddings.services import scope, words

    monkeypatch.setattr(words, "SECONDS", 60.0)
    monkeypatch.setattr(scope, "ALLOWED_SECONDS", 60.0)


@pytest.fixture(autouse=True)
def first_collection(request: pytest.FixtureRequest, _django_db_helper: None) -> None:
    """The collection that a migration makes; tests of what is committed empty all tables behind them."""
    if request.node.get_closest_marker("django_db") or {"db", "transactional_db"} & set(request.fixturenames):
        from embeddings.models import Collection

        Collection.objects.get_or_create(name="documents", defaults={"language": "english"})


@pytest.fixture(autouse=True)
def no_tables_left(request: pytest.FixtureRequest, _django_db_helper: None) -> Iterator[None]:
    """A version's table of pgvector outlives its row: what empties tables behind a test does not know of it."""
    yield
    marker = request.node.get_closest_marker("django_db")
    if (marker is not None and marker.kwargs.get("transaction")) or "transactional_db" in request.fixturenames:
        from embeddings.engines import pgvector_store

        for version_id in pgvector_store.tables():
            pgvector_store.drop(version_id)


@pytest.fixture
def indexes_dir(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An INDEXES_DIR of the test's own, with the shared storage in it, as by default."""
    folder = tmp_path / "indexes"
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "INDEXES_DIR": folder}
    shared = FileSystemStorage(folder / "published")
    monkeypatch.setitem(vars(storages)["_storages"], "indexes", shared)
    return folder
