"""Collections: made, set, seen and deleted; by REST and by command."""

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.test import Client

from embeddings.models import (
    Activation,
    Chunk,
    Collection,
    CollectionStatistics,
    Document,
    EmbeddingBatch,
    EmbeddingRun,
    IndexVersion,
)
from embeddings.services import collection_figures, collections, documents, emptying
from embeddings.services.collection_settings import CollectionRefused
from embeddings.tests.factories import fill, make_collection, make_model
from jobs.models import AuditEntry, Job
from jobs.tests.api_client import caller, person, post, problem, root

pytestmark = pytest.mark.django_db
V1 = "/api/v1/collections/"
ALL = tuple(f"embeddings.{verb}_collection" for verb in ("view", "add", "change", "delete"))


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("collections", *arguments, stdout=out)
    return out.getvalue()


def patch(client: Client, name: str, body: Any) -> Any:
    return client.patch(f"{V1}{name}/", json.dumps(body), content_type="application/json")


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "field", "said"),
    [
        ({"chunk_tokens": 15}, "chunk_tokens", "from 16 to 4,096"),
        ({"chunk_tokens": 5000}, "chunk_tokens", "from 16 to 4,096"),
        ({"chunk_tokens": True}, "chunk_tokens", "is True"),
        ({"chunk_tokens": "100"}, "chunk_tokens", "is '100'"),
        ({"chunk_tokens": 40}, "chunk_overlap", "less than half of chunk_tokens, 40"),
        ({"keep_versions": 0}, "keep_versions", "from 1"),
        ({"recall_target": 1.5}, "recall_target", "from 0 to 1"),
        ({"recall_floor": float("nan")}, "recall_floor", "from 0 to 1"),
        ({"recall_floor": 0.96}, "recall_floor", "at most recall_target, 0.95"),
        ({"recall_target": 0.5}, "recall_floor", "at most recall_target, 0.5"),
        ({"language": "klingon"}, "language", "choose from: arabic"),
        ({"language": ""}, "language", "unknown to Postgres"),
        ({"engine": "lucene"}, "engine", "choose from: faiss, pgvector"),
        ({"encoder": "magic"}, "encoder", "choose from: minilm"),
        ({"fast_encoder": "magic"}, "fast_encoder", "choose from: minilm"),
        ({"description": "\x00"}, "description", "NUL"),
        ({"description": "x" * 10_001}, "description", "10,001"),
        ({"groups": ["nobody"]}, "groups", "no group 'nobody'"),
        ({"groups": "team"}, "groups", "a list"),
        ({"colour": 1}, "colour", "unknown setting"),
    ],
)
def test_a_setting_that_does_not_fit_is_told_by_name(settings: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(CollectionRefused) as refused:
        collections.create(None, "notes", settings)

    assert list(refused.value.errors) == [field]
    assert said in refused.value.errors[field]
    assert not Collection.objects.filter(name="notes").exists()


@pytest.mark.parametrize("name", ["", "Big", "-x", "a b", "x" * 64, "é", "a\n", "a\x00", 7, None])
def test_a_name_that_does_not_fit_is_refused(name: Any) -> None:
    with pytest.raises(CollectionRefused, match="name"):
        collections.create(None, name)


def test_ensure_makes_it_once_and_leaves_what_is_there(caplog: pytest.LogCaptureFixture) -> None:
    first = collections.ensure("notes", chunk_tokens=64, chunk_overlap=8)

    assert collections.ensure("notes", chunk_tokens=64, description="Another one").pk == first.pk
    assert collections.ensure("notes").pk == first.pk
    with caplog.at_level("INFO"):
        assert collections.ensure("notes", chunk_tokens=128, chunk_overlap=8).chunk_tokens == 64
    assert "chunk_tokens is 64, not 128" in caplog.text
    with pytest.raises(CollectionRefused, match="'klingon' is unknown"):
        collections.ensure("notes", language="klingon")
    with pytest.raises(CollectionRefused, match="unknown setting"):
        collections.ensure("notes", colour="red")
    assert Collection.objects.get(name="notes").chunk_tokens == 64
    assert first.created_at is not None


def test_only_what_documents_are_cut_by_has_them_cut_anew() -> None:
    make_collection("notes", fast_encoder="")

    assert collections.change(None, "notes", {"chunk_tokens": 64}).recut_job == ""
    documents.put(None, "notes", [{"id": "a", "text": "x"}])
    assert collections.change(None, "notes", {"keep_versions": 5}).recut_job == ""
    assert collections.change(None, "notes", {"chunk_tokens": 64}).fields == []
    changed = collections.change(None, "notes", {"chunk_tokens": 128})
    assert changed.fields == ["chunk_tokens"]
    assert Job.objects.get(pk=changed.recut_job).task == "embeddings.recut"


def test_the_encoder_of_embedded_documents_is_changed_by_a_migration_alone() -> None:
    model = make_model(spec="ngram")
    notes = make_collection("notes", fast_encoder="", model=model, encoder="ngram")

    assert collections.change(None, "notes", {"encoder": "minilm"}).collection.model is None
    Collection.objects.filter(name="notes").update(model=model, encoder="ngram")
    documents.put(None, notes, [{"id": "a", "text": "x"}])
    with pytest.raises(CollectionRefused, match="begin a migration"):
        collections.change(None, "notes", {"encoder": "minilm"})
    # The same by its default's name.
    assert collections.change(None, "notes", {"encoder": ""}).collection.model == model


# --- deleting --------------------------------------------------------------------------------------------------------


def test_a_collection_with_documents_is_deleted_with_force_alone_and_by_a_job() -> None:
    notes = make_collection("notes", fast_encoder="")
    documents.put(None, notes, [{"id": "a", "text": "x"}])

    with pytest.raises(collections.CollectionNotEmpty, match="force"):
        collections.delete(None, "notes")
    job = collections.delete(None, "notes", force=True)
    assert Job.objects.get(pk=job).kwargs == {"collection": "notes"}
    assert Collection.objects.filter(name="notes").exists()


def test_all_of_a_collection_goes_and_nothing_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emptying, "AT_ONCE", 2)
    for name in ("notes", "kept"):
        model = make_model()
        made = make_collection(name, model=model)
        fill(made, 5)
        version = IndexVersion.objects.create(collection=made, number=1, model=model, engine="faiss")
        Collection.objects.filter(pk=made.pk).update(active_version=version)
        Activation.objects.create(collection=made, version=version, actor="ann")
        embedding = EmbeddingRun.objects.create(collection=made, encoder="test")
        EmbeddingBatch.objects.create(run=embedding, first_id=1, last_id=2, size=2)
        figures = dict.fromkeys(
            ("documents", "chunks", "tokens", "embedded", "set_aside", "beside_index", "vector_bytes", "index_bytes"), 1
        )
        CollectionStatistics.objects.create(collection=made, **figures)

    assert emptying.delete_all("notes") == {"documents": 5}

    assert list(Collection.objects.values_list("name", flat=True)) == ["documents", "kept"]
    counted = [
        model.objects.count()
        for model in (Document, Chunk, IndexVersion, Activation, EmbeddingRun, EmbeddingBatch, CollectionStatistics)
    ]
    assert counted == [5, 5, 1, 1, 1, 1, 1]


def test_the_usual_collection_stays() -> None:
    with pytest.raises(CollectionRefused, match="stays"):
        collections.delete(None, "documents", force=True)


# --- REST ------------------------------------------------------------------------------------------------------------


def test_collections_are_made_changed_shown_and_deleted_by_rest() -> None:
    api = root()
    Group.objects.create(name="team")

    made = post(api, V1, {"name": "notes", "language": "english", "groups": ["team"], "chunk_tokens": 100})
    assert made.status_code == 201
    assert (made.json()["language"], made.json()["groups"], made.json()["figures"]["documents"]) == (
        "english",
        ["team"],
        0,
    )
    problem(post(api, V1, {"name": "notes"}), 409)
    assert patch(api, "notes", {"chunk_tokens": 64, "groups": []}).json()["groups"] == []
    assert problem(patch(api, "notes", {"chunk_tokens": 8}), 400)["errors"][0]["pointer"] == "#/chunk_tokens"
    assert problem(patch(api, "notes", {"chunk_token": 8}), 400)["errors"][0]["pointer"] == "#/chunk_token"
    documents.put(None, "notes", [{"id": "a", "text": "x"}])
    shown = api.get(f"{V1}notes/").json()
    assert (shown["chunk_tokens"], shown["figures"]["documents"], shown["figures"]["pending"]) == (64, 1, 1)
    assert patch(api, "notes", {"chunk_tokens": 80}).json()["recut_job"]
    assert [row["name"] for row in api.get(V1).json()["results"]] == ["documents", "notes"]
    problem(api.delete(f"{V1}notes/"), 409)
    problem(api.delete(f"{V1}notes/?force=perhaps"), 400)
    assert api.delete(f"{V1}notes/?force").json()["job"]
    documents.delete(None, "notes", ["a"])
    assert api.delete(f"{V1}notes/").status_code == 204
    problem(api.get(f"{V1}notes/"), 404)
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {
        *("collection.create", "collection.change", "collection.delete")
    }


@pytest.mark.parametrize(
    ("lacking", "call"),
    [
        ("view", lambda api: api.get(V1)),
        ("view", lambda api: api.get(f"{V1}notes/")),
        ("add", lambda api: post(api, V1, {"name": "new"})),
        ("change", lambda api: patch(api, "notes", {"keep_versions": 2})),
        ("delete", lambda api: api.delete(f"{V1}notes/")),
    ],
)
def test_each_call_needs_its_permission(lacking: str, call: Any) -> None:
    make_collection("notes")
    without = [one for one in ALL if one != f"embeddings.{lacking}_collection"]

    assert f"{lacking}_collection" in problem(call(caller(person("ann", *without))), 403)["detail"]
    assert call(caller(person("bob", *ALL))).status_code < 300


def test_a_restricted_collection_is_seen_by_its_groups_and_by_superusers() -> None:
    team = Group.objects.create(name="team")
    make_collection("notes").groups.add(team)
    member, other = person("member", *ALL), person("other", *ALL)
    member.groups.add(team)

    assert [row["name"] for row in caller(member).get(V1).json()["results"]] == ["documents", "notes"]
    outside = caller(other)
    assert [row["name"] for row in outside.get(V1).json()["results"]] == ["documents"]
    for answer in (outside.get(f"{V1}notes/"), patch(outside, "notes", {}), outside.delete(f"{V1}notes/")):
        assert "notes" not in problem(answer, 404)["detail"].split("choose from")[1]
    assert root().get(f"{V1}notes/").status_code == 200


def test_a_large_collection_is_told_as_it_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = make_collection("notes", fast_encoder="")
    documents.put(None, notes, [{"id": str(number), "text": "x"} for number in range(3)])
    monkeypatch.setattr(collection_figures, "COUNTED", 2)

    assert collection_figures.figures(notes) is None
    columns = dict.fromkeys(("documents", "tokens", "beside_index", "vector_bytes", "index_bytes"), 7)
    for aside in (0, 2):
        CollectionStatistics.objects.create(collection=notes, **columns, chunks=9, embedded=4, set_aside=aside)
    found = collection_figures.figures(notes)
    assert found is not None
    assert (found.documents, found.pending, found.set_aside) == (7, 3, 2)


# --- command ---------------------------------------------------------------------------------------------------------


def test_the_command_makes_shows_changes_and_deletes() -> None:
    run("create", "notes", "--chunk-tokens", "64", "--chunk-overlap", "8", "--recall-target", "0.9")
    assert json.loads(run("show", "notes", "--json"))["recall_target"] == 0.9
    assert "documents\t" in run("list")
    assert "chunk_tokens      32" in run("change", "notes", "--chunk-tokens", "32")
    documents.put(None, "notes", [{"id": "a", "text": "x"}])
    assert json.loads(run("delete", "notes", "--force", "--json"))["job"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "nots"], 2, "choose from: documents"),
        (["create", "Notes"], 2, "small letters"),
        (["create", "documents"], 2, "already"),
        (["change", "documents"], 2, "name a setting"),
        (["change", "documents", "--chunk-tokens", "many"], 2, "'many' is not a number"),
        (["change", "documents", "--chunk-tokens", "1.5"], 2, "whole number"),
        (["delete", "documents"], 2, "stays"),
        (["delete", "notes"], 1, "has documents"),
    ],
)
def test_what_the_command_cannot_do_is_told_with_its_exit_code(arguments: list[str], code: int, said: str) -> None:
    make_collection("notes", fast_encoder="")
    documents.put(None, "notes", [{"id": "a", "text": "x"}])

    with pytest.raises(CommandError, match=said) as raised:
        run(*arguments)
    assert raised.value.returncode == code
