"""The doctor tells what is wrong with encoders and indexes."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import InMemoryStorage, storages

from embeddings.encoders import weights
from embeddings.encoders.base import EncoderUnavailable
from embeddings.engines import pgvector_store
from embeddings.errors import EngineUnavailable
from embeddings.models import Collection, Engine, IndexVersion, VersionState
from embeddings.services import health, store
from embeddings.tests.factories import make_collection, make_model, make_version
from jobs.operators.health import examine

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _folder(indexes_dir: Path) -> None:
    """Of the test's own."""


def wrong() -> dict[str, str]:
    """Part → what is wrong with it, of what is not well."""
    return {one.part: one.detail for one in health.examine() if one.state != "ok"}


def version(state: VersionState = VersionState.READY, **fields: Any) -> IndexVersion:
    collection = make_collection(f"books-{IndexVersion.objects.count()}", model=make_model())
    number = {"number": 1, "model": collection.model, "state": state}
    fields.setdefault("engine", Engine.FAISS)
    if state == VersionState.READY:
        fields["built_at"] = collection.created_at
    return IndexVersion.objects.create(collection=collection, **number, **fields)


def test_a_sound_installation_has_nothing_wrong_and_the_doctor_asks() -> None:
    assert wrong() == {}
    assert {one.part for one in examine()} >= {"encoder", "indexes", "index storage"}


def test_without_weights_ngram_serves_and_that_is_said(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "ENCODER": "auto"}
    monkeypatch.setattr(weights, "are_installed", lambda: False)
    assert "ngram serves" in wrong()["encoder"]

    def damaged() -> Any:
        raise EncoderUnavailable("config.json is missing")

    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "ENCODER": "minilm"}
    monkeypatch.setattr(weights, "find", damaged)
    assert wrong()["encoder"] == "config.json is missing"


def test_a_folder_that_cannot_be_written_is_named(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "INDEXES_DIR": tmp_path / "file" / "indexes"}
    assert wrong()["indexes"] == f"{tmp_path}/file/indexes cannot be written: Not a directory"


def test_a_storage_that_does_not_answer_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away(InMemoryStorage):
        def exists(self, name: str) -> bool:
            raise ConnectionError("no route to the bucket")

    monkeypatch.setitem(vars(storages)["_storages"], "indexes", Away())
    assert wrong()["index storage"] == "ConnectionError: no route to the bucket"


def test_a_collection_whose_newest_build_was_refused_is_named_until_a_good_one_follows() -> None:
    refused = version(VersionState.REFUSED, reason="recall is 0.2")
    assert wrong()["indexes"] == f"collection books-0: version 1 (id {refused.pk}) was refused: recall is 0.2"

    refused.pk, refused.number, refused.state = None, 2, VersionState.READY
    refused.built_at = refused.collection.created_at
    refused.save()
    assert wrong() == {}


@pytest.mark.parametrize("pointer", ["active_version", "fast_version"])
@pytest.mark.parametrize("harm", ["gone", "cut", "altered"])
def test_a_version_in_use_that_cannot_be_opened_is_named(pointer: str, harm: str) -> None:
    collection = make_collection("books", model=make_model())
    used = make_version(collection)
    setattr(collection, pointer, used)
    collection.save()
    assert wrong() == {}

    path = store.local_folder(used) / "index.faiss"
    whole = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes(whole[:-1] + (b"" if harm == "cut" else bytes([whole[-1] ^ 1])))

    said = wrong()["indexes"]
    assert said.startswith(f"collection books: version 1 (id {used.pk}), which is in use, cannot be opened: {path}")
    assert {"gone": "cannot be read", "cut": "bytes instead of", "altered": "was altered"}[harm] in said


def test_a_table_in_use_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgvector_store, "require_extension", lambda: None)
    used = version(engine=Engine.PGVECTOR)
    assert wrong() == {}
    Collection.objects.filter(pk=used.collection_id).update(active_version=used)
    assert f"version 1 (id {used.pk}), which is in use, cannot be opened" in wrong()["indexes"]


def test_a_collection_that_wants_pgvector_where_there_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise EngineUnavailable("this Postgres server has no pgvector; install it there")

    monkeypatch.setattr(pgvector_store, "require_extension", missing)
    assert wrong() == {}
    make_collection("books", engine=Engine.PGVECTOR)
    assert wrong()["pgvector"].startswith("wanted by books: this Postgres server has no pgvector")
