"""A collection that is for a group alone: who is not in it finds no trace of it, and changes nothing of it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from embeddings.models import (
    Activation,
    Collection,
    CollectionStatistics,
    Document,
    EmbeddingRun,
    IndexVersion,
    ModelComparison,
    RunState,
    SetAside,
)
from embeddings.services import (
    collections,
    comparison_samples,
    documents,
    emptying,
    encoder_builds,
    pointer,
    versions,
)
from embeddings.services.importing import Import
from embeddings.services.reading import Line
from embeddings.tests.factories import add_chunks, make_collection, make_model
from jobs import Discard
from jobs.models import AuditEntry, Job
from jobs.operators.actors import Actor, command_actor
from jobs.operators.tokens import create_token
from jobs.tests.admin_helpers import page_of, said
from jobs.tests.api_client import post, problem

pytestmark = pytest.mark.django_db

NAME, TEXT, ID = "vault", "the merger closes in march", "memo-of-the-board"
#: What would tell of it; that of a number alone says nothing.
TRACES = (NAME, TEXT, ID, "folder-of-the-v", "reason-of-the-v")


@pytest.fixture
def outsider() -> User:
    """Of another group, and with all permissions on embeddings and jobs."""
    user = User.objects.create_user("ua", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label__in=("embeddings", "jobs")))
    user.groups.add(Group.objects.create(name="a"))
    return user


@pytest.fixture
def page(outsider: User) -> Client:
    client = Client()
    client.force_login(outsider)
    return client


@pytest.fixture
def api(outsider: User) -> Client:
    _, text = create_token(command_actor(), outsider, "test")
    return Client(raise_request_exception=False, HTTP_AUTHORIZATION=f"Bearer {text}")


@pytest.fixture
def vault() -> Collection:
    """With one row of everything that tells of a collection."""
    model, candidate = make_model(), make_model(spec="ngram")
    vault = make_collection(NAME, model=model, candidate=candidate, candidate_encoder="ngram", fast_encoder="")
    vault.groups.add(Group.objects.create(name="b"))
    chunk = add_chunks(vault, [TEXT])[0]
    Document.objects.filter(pk=chunk.document_id).update(external_id=ID)
    version = versions.begin(vault, model, {"reason": "reason-of-the-v"})
    version.manifest = {"folder": "folder-of-the-v", "files": {}}
    version.save()
    Collection.objects.filter(pk=vault.pk).update(active_version=version)
    Activation.objects.create(collection=vault, version=version, actor="ann", reason="reason-of-the-v")
    run = EmbeddingRun.objects.create(
        collection=vault, model=model, encoder="test", state=RunState.FAILED, error="reason-of-the-v", finished_at=Now()
    )
    sha = chunk.content_sha
    fields: dict[str, Any] = {"collection": vault, "model": model, "content_sha": sha, "chunk_id": chunk.pk, "run": run}
    SetAside.objects.create(**fields, reason="reason-of-the-v")
    counts = ("documents", "chunks", "tokens", "embedded", "set_aside", "beside_index", "vector_bytes", "index_bytes")
    CollectionStatistics.objects.create(collection=vault, **dict.fromkeys(counts, 1))
    ModelComparison.objects.create(
        collection=vault,
        current=model,
        candidate=candidate,
        queries=1,
        overlap=1,
        overlap_p5=1,
        current_ms=1,
        candidate_ms=1,
        samples=[comparison_samples.kept(TEXT, chunk.pk, 1, [(chunk.pk, 1)], [(chunk.pk, 1)])],
    )
    vault.refresh_from_db()
    return vault


def _patterns(found: Any, before: str = "") -> Iterator[str]:
    for one in found:
        route = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from _patterns(one.url_patterns, route)
        elif isinstance(one, URLPattern):
            yield route


def paths() -> list[str]:
    """Every route of the app, in REST and in the admin, and those of the admin that look across apps."""
    resolver = get_resolver()
    of_admin = [
        route
        for route in _patterns(resolver.url_patterns)
        if route.startswith("admin/embeddings/") or route in ("admin/", "admin/search/", "admin/autocomplete/")
    ]
    of_api = [f"api/v1/{route}" for route in _patterns(get_resolver("embeddings.api.urls").url_patterns)]
    return sorted({*of_admin, *of_api})


def filled(route: str, vault: Collection) -> str:
    """The path of what there is of the collection."""
    run = EmbeddingRun.objects.get().pk
    keys = {
        "collection": vault.pk,
        "document": Document.objects.get(collection=vault).pk,
        "embeddingrun": run,
        "indexversion": vault.active_version_id,
        "setaside": SetAside.objects.get().pk,
        "modelcomparison": ModelComparison.objects.get().pk,
        "embeddingmodel": vault.model_id,
        "search": vault.pk,
    }
    own = keys.get(route.split("/")[2], 0) if route.startswith("admin/embeddings/") else 0
    parts = {
        "<path:object_id>": own,
        "<int:collection_id>": vault.pk,
        "<str:name>": NAME,
        "<str:step>": "close",
        "<int:version_id>": vault.active_version_id,
        "<int:run_id>": run,
        "<int:model_id>": vault.model_id,
        "<path:document_id>": ID,
        "<str:document_id>": ID,
    }
    for part, value in parts.items():
        route = route.replace(part, str(value))
    return "/" + route


QUERIES: tuple[dict[str, str], ...] = (
    {},
    {"collection": NAME},
    {"q": "merger", "collection": NAME},
    {"app_label": "embeddings", "model_name": "indexversion", "field_name": "collection", "term": "", "s": "merger"},
)


@pytest.mark.parametrize("route", paths())
def test_no_get_path_tells_of_it(route: str, vault: Collection, api: Client, page: Client) -> None:
    path = filled(route, vault)
    assert "<" not in path, "say above what this part of a path is"
    client = page if path.startswith("/admin/") else api
    for query in QUERIES:
        response = client.get(path, query)
        assert response.status_code < 500
        told = said(response) if client is page else ""
        text = f"{response.content.decode()} {response.headers} {told}"
        # What was asked for is told back; of what there is, nothing is.
        for echoed in {NAME, ID} & {*query.values(), *path.split("/")}:
            text = text.replace(echoed, "")
        assert not [trace for trace in TRACES if trace in text], (path, query)


def test_the_paths_are_those_of_the_whole_app() -> None:
    assert {"api/v1/indexes/<int:version_id>/", "api/v1/collections/<str:name>/migration/"} <= {*paths()}
    assert "admin/embeddings/indexversion/<path:object_id>/activate/" in paths()
    assert len(paths()) > 50


@pytest.mark.parametrize("of", ["activate", "verify"])
def test_its_index_versions_are_unknown_to_the_api(of: str, vault: Collection, api: Client) -> None:
    path = f"/api/v1/indexes/{vault.active_version_id}/"
    assert api.get("/api/v1/indexes/").json()["results"] == []
    unknown = problem(api.get("/api/v1/indexes/999999/"), 404)["detail"].replace("999999", str(vault.active_version_id))
    assert problem(api.get(path), 404)["detail"] == unknown
    assert problem(post(api, f"{path}{of}/", {}), 404)["detail"] == unknown


@pytest.mark.parametrize("of", ["activate", "verify", "rebuild"])
def test_its_index_versions_are_unknown_to_the_admin(of: str, vault: Collection, page: Client) -> None:
    version = vault.active_version_id
    assert f"no index version '{version}'" in said(page.post(page_of("embeddings_indexversion", of, version), {}))
    assert not AuditEntry.objects.filter(user__username="ua").exists()
    assert not Job.objects.exists()


def test_services_refuse_its_versions_whoever_hands_them_over(vault: Collection, outsider: User) -> None:
    actor = Actor.of_user(outsider, "api")
    version = versions.find_version(vault.active_version_id or 0)
    with pytest.raises(IndexVersion.DoesNotExist):
        pointer.activate(actor, version)
    with pytest.raises(IndexVersion.DoesNotExist):
        versions.verify(actor, version)
    assert versions.find_version(version.pk, User(is_superuser=True)) == version


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "/api/v1/indexes/", {"collection": NAME}),
        ("post", "/api/v1/runs/", {"collection": NAME}),
        ("post", "/api/v1/set-aside/retry/", {"collection": NAME}),
        ("post", f"/api/v1/collections/{NAME}/migration/", {"encoder": "ngram"}),
        *(
            ("post", f"/api/v1/collections/{NAME}/migration/{step}/", {})
            for step in ("compare", "again", "switch", "back", "close")
        ),
        ("patch", f"/api/v1/collections/{NAME}/", {"description": "mine"}),
        ("delete", f"/api/v1/collections/{NAME}/?force=true", {}),
        ("put", f"/api/v1/documents/?collection={NAME}", [{"id": "x", "text": "y"}]),
        ("post", f"/api/v1/documents/delete/?collection={NAME}", {"ids": [ID]}),
        ("delete", f"/api/v1/documents/{ID}/?collection={NAME}", {}),
        ("post", "/api/v1/search/", {"q": "merger", "collection": NAME}),
    ],
)
def test_what_would_change_it_finds_no_such_collection(
    method: str, path: str, body: Any, vault: Collection, api: Client
) -> None:
    before = Collection.objects.filter(pk=vault.pk).values().get()
    refused = problem(getattr(api, method)(path, body, content_type="application/json"), 404)
    assert f"unknown collection '{NAME}'" in refused["detail"]
    assert Collection.objects.filter(pk=vault.pk).values().get() == before
    assert not Job.objects.exists()


def test_a_model_names_collections_that_may_be_seen(vault: Collection, page: Client) -> None:
    shown = make_collection("shelf", model=vault.model)
    text = page.get(page_of("embeddings_embeddingmodel", "change", vault.model_id)).content.decode()
    assert shown.name in text
    assert NAME not in text
    assert vault.model is not None
    assert encoder_builds.used_by(vault.model) == ["shelf", NAME]


def test_what_is_set_aside_does_not_name_a_document_that_may_not_be_seen(
    vault: Collection, api: Client, outsider: User
) -> None:
    group = Group.objects.get(name="b")
    Document.objects.filter(collection=vault).update(group_ids=[group.pk])
    vault.groups.clear()
    [row] = api.get("/api/v1/set-aside/").json()["results"]
    assert (row["collection"], row["document"]) == (NAME, None)
    outsider.groups.add(group)
    [row] = api.get("/api/v1/set-aside/").json()["results"]
    assert row["document"] == ID


# --- deleting what holds documents that the deleter may not see ---


@pytest.fixture
def mixed() -> Collection:
    """That all may see, with a document for everybody and one for group b."""
    mixed = make_collection("mixed")
    chunks = add_chunks(mixed, ["for all", TEXT])
    Document.objects.filter(pk=chunks[0].document_id).update(external_id="open")
    group = Group.objects.create(name="b")
    Document.objects.filter(pk=chunks[1].document_id).update(external_id=ID, group_ids=[group.pk])
    return mixed


def ids_of(collection: Collection) -> set[str]:
    return set(Document.objects.filter(collection=collection).values_list("external_id", flat=True))


def test_a_collection_with_hidden_documents_is_not_force_deleted(mixed: Collection, api: Client, page: Client) -> None:
    refused = problem(api.delete("/api/v1/collections/mixed/?force=true"), 409)
    assert refused["type"].endswith("hidden-documents")
    assert "holds documents that you may not see" in refused["detail"]
    told = said(page.post(page_of("embeddings_collection", "remove", mixed.pk), {"force": "yes"}))
    assert "holds documents that you may not see" in told
    assert not Job.objects.exists()
    assert ids_of(mixed) == {"open", ID}


def test_who_sees_all_documents_of_a_collection_deletes_it(mixed: Collection, api: Client, outsider: User) -> None:
    outsider.groups.add(Group.objects.get(name="b"))
    answer = api.delete("/api/v1/collections/mixed/?force=true")
    assert answer.status_code == 202
    kwargs = Job.objects.get(pk=answer.json()["job"]).kwargs
    emptying.delete_all(kwargs["collection"], kwargs["groups"])
    assert not Collection.objects.filter(name="mixed").exists()


def test_a_superuser_and_a_command_delete_whatever_there_is(mixed: Collection) -> None:
    superuser = Actor.of_user(User.objects.create_superuser("root"), "api")
    for actor in (superuser, command_actor(), None):
        job = Job.objects.get(pk=collections.delete(actor, mixed, force=True))
        assert "groups" not in job.kwargs
    emptying.delete_all("mixed")
    assert not Collection.objects.filter(name="mixed").exists()


@pytest.mark.parametrize("comes", ["before", "meanwhile"])
def test_a_hidden_document_that_comes_after_a_deletion_was_asked_for_stays(
    comes: str, mixed: Collection, outsider: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = collections.groups_of(outsider)
    if comes == "meanwhile":
        hidden = Document.objects.filter(external_id=ID)
        group_ids = hidden.get().group_ids
        hidden.update(group_ids=[])
        remove = documents.remove

        def hide_first(*args: Any) -> int:
            hidden.update(group_ids=group_ids)
            return remove(*args)

        monkeypatch.setattr(documents, "remove", hide_first)
    with pytest.raises(Discard, match="may not see"):
        emptying.delete_all("mixed", groups)
    assert ids_of(mixed) == ({ID} if comes == "meanwhile" else {"open", ID})


@pytest.mark.parametrize("sees_all", [False, True])
def test_an_import_that_replaces_all_touches_only_what_its_sender_may_see(
    sees_all: bool, mixed: Collection, outsider: User
) -> None:
    bad: list[str] = []
    lines = [Line(1, {"id": ID, "text": "overwritten"}), Line(2, {"id": "new", "text": "new"})]
    importing = Import(
        command_actor() if sees_all else Actor.of_user(outsider, "api"),
        mixed,
        on_bad=lambda line, external_id, reason: bad.append(reason),
        on_batch=lambda tally: None,
        replace=True,
        force=True,
    )
    Document.objects.filter(collection=mixed).update(created_at=Now() - timedelta(hours=1))
    other = add_chunks(mixed, ["another"])[0]
    Document.objects.filter(pk=other.document_id).update(
        external_id="other", group_ids=Document.objects.get(external_id=ID).group_ids, created_at=Now() - timedelta(1)
    )

    tally = importing.run(lines)

    if sees_all:
        assert (tally.created, tally.updated, tally.deleted, bad) == (1, 1, 2, [])
        assert ids_of(mixed) == {"new", ID}
    else:
        assert (tally.created, tally.updated, tally.deleted, bad) == (1, 0, 1, [documents.HIDDEN])
        assert ids_of(mixed) == {"new", ID, "other"}
        assert Document.objects.get(external_id=ID).text == TEXT
    assert AuditEntry.objects.filter(action__startswith="documents.").count() == 1
