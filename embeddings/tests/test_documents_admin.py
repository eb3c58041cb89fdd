"""The admin's pages of collections and documents: what they show, what they do, and to whom."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from embeddings.models import Collection, CollectionStatistics, Document, SetAside
from embeddings.services import documents
from embeddings.tests.factories import make_collection, make_model
from jobs.models import AuditEntry, Job
from jobs.tests.admin_helpers import client_with, page_of, said, user_with

pytestmark = pytest.mark.django_db
LIST = "/admin/embeddings/document/"
VIEW = ("embeddings.view_document", "embeddings.view_collection")
SETTINGS = {
    "description": "",
    "encoder": "",
    "fast_encoder": "",
    "engine": "faiss",
    "language": "simple",
    "chunk_tokens": 64,
    "chunk_overlap": 8,
    "recall_target": 0.95,
    "recall_floor": 0.6,
    "keep_versions": 3,
}


@pytest.fixture
def notes() -> Collection:
    made = make_collection("notes", fast_encoder="", chunk_tokens=64, chunk_overlap=8)
    documents.put(None, made, [{"id": name, "text": f"text of {name}"} for name in ("a/1", "a/2", "b/1")])
    return made


def plain(response: Any) -> str:
    """What a person reads."""
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def collection_page(collection: Collection, page: str = "change") -> str:
    return page_of("embeddings_collection", page, collection.pk)


def document_page(external_id: str, page: str = "change") -> str:
    return page_of("embeddings_document", page, Document.objects.get(external_id=external_id).pk)


def boss() -> Client:
    client = Client()
    user = user_with(name="boss")
    user.is_superuser = True
    user.save()
    client.force_login(user)
    return client


# --- documents -------------------------------------------------------------------------------------------------------


def test_documents_are_listed_by_collection_state_and_beginning_of_their_ids(notes: Collection) -> None:
    client = client_with(*VIEW)

    assert "0 documents" in plain(client.get(LIST))
    text = plain(client.get(f"{LIST}?collection=notes"))
    assert text.index("b/1") < text.index("a/2") < text.index("a/1")
    text = plain(client.get(f"{LIST}?collection=notes&q=a/"))
    assert text.index("a/1") < text.index("a/2")
    assert "b/1" not in text
    assert "a/1" in plain(client.get(f"{LIST}?collection=notes&state=pending"))
    for query in ("collection=notes&state=embedded", "collection=nots", "collection=notes&state=lost", "q=%00"):
        assert "0 documents" in plain(client.get(f"{LIST}?{query}"))


def test_a_document_s_page_shows_its_text_and_why_a_chunk_was_set_aside(notes: Collection) -> None:
    model = make_model()
    Collection.objects.filter(pk=notes.pk).update(model=model)
    chunk = Document.objects.get(external_id="a/1").chunks.get()
    aside = {
        "model": model,
        "content_sha": chunk.content_sha,
        "chunk_id": chunk.pk,
        "reason": "the vector is all zeros",
    }
    SetAside.objects.create(collection=notes, **aside)

    text = plain(client_with(*VIEW).get(document_page("a/1")))

    assert "text of a/1" in text
    assert "set aside" in text
    assert "the vector is all zeros" in text


def test_a_long_text_is_shown_in_part(notes: Collection) -> None:
    documents.put(None, notes, [{"id": "long", "text": "word " * 7_000}])

    response = client_with(*VIEW).get(document_page("long"))

    assert "more characters are not shown" in plain(response)
    assert "more are not shown" in plain(response)
    assert len(response.content) < 200_000


def test_chosen_documents_are_deleted_after_a_question(notes: Collection) -> None:
    client = client_with(*VIEW, "embeddings.delete_document")
    ids = [str(pk) for pk in Document.objects.filter(external_id__startswith="a/").values_list("pk", flat=True)]
    chosen = {"action": "delete_chosen", "_selected_action": ids}

    assert "Delete these 2 documents?" in plain(client.post(f"{LIST}?collection=notes", chosen))
    assert Document.objects.count() == 3
    response = client.post(f"{LIST}?collection=notes", {**chosen, "confirmed": "yes"})

    assert "2 documents are deleted" in said(response)
    assert [document.external_id for document in Document.objects.all()] == ["b/1"]
    assert AuditEntry.objects.get(action="documents.delete").actor == "ann"
    assert client.post(document_page("b/1", "remove"), {"confirmed": "yes"}).status_code == 302
    assert not Document.objects.exists()


def test_pages_and_actions_need_their_permissions(notes: Collection) -> None:
    reader, nobody = client_with(*VIEW), client_with("jobs.view_job", name="bob")

    for page in (LIST, document_page("a/1"), page_of("embeddings_collection"), collection_page(notes)):
        assert nobody.get(page).status_code == 403
    assert reader.post(document_page("a/1", "remove"), {"confirmed": "yes"}).status_code == 403
    for page in (
        collection_page(notes, "edit"),
        collection_page(notes, "remove"),
        page_of("embeddings_collection", "add"),
    ):
        assert reader.get(page).status_code == 403
        assert reader.post(page, SETTINGS).status_code == 403
    text = plain(reader.get(collection_page(notes)))
    assert "Settings" not in text
    chosen = {"action": "delete_chosen", "_selected_action": [Document.objects.first().pk], "confirmed": "yes"}
    reader.post(f"{LIST}?collection=notes", chosen)
    assert Document.objects.count() == 3


def test_what_is_for_a_group_is_not_there_for_others(notes: Collection) -> None:
    Group.objects.create(name="team")
    documents.put(None, notes, [{"id": "secret", "text": "hidden", "groups": ["team"]}])
    reader = client_with(*VIEW)

    assert "secret" not in plain(reader.get(f"{LIST}?collection=notes"))
    assert reader.get(document_page("secret")).status_code == 302
    notes.groups.add(Group.objects.get(name="team"))
    assert "notes" not in plain(reader.get(page_of("embeddings_collection")))
    for page in (collection_page(notes), document_page("a/1")):
        assert reader.get(page).status_code == 302
    assert "0 documents" in plain(reader.get(f"{LIST}?collection=notes"))
    assert "secret" in plain(boss().get(f"{LIST}?collection=notes"))


@pytest.mark.parametrize("object_id", ["0", "9" * 30, "x", "1%00", "a/b"])
def test_an_unknown_page_leads_to_the_list(notes: Collection, object_id: str) -> None:
    client = boss()

    for kind in ("document", "collection"):
        assert client.get(f"/admin/embeddings/{kind}/{object_id}/change/").status_code in (302, 404)


def test_the_list_takes_as_many_statements_for_many_documents_as_for_few(
    notes: Collection, django_assert_max_num_queries: Any
) -> None:
    documents.put(None, notes, [{"id": f"more {number}", "text": "x"} for number in range(40)])
    client = boss()

    with django_assert_max_num_queries(14):
        client.get(f"{LIST}?collection=notes")


# --- collections -----------------------------------------------------------------------------------------------------


def test_a_collection_s_page_tells_what_is_in_it_and_how_it_came_to_that(notes: Collection) -> None:
    columns = dict.fromkeys(("tokens", "embedded", "set_aside", "beside_index", "vector_bytes", "index_bytes"), 0)
    for count in (1, 2, 3):
        CollectionStatistics.objects.create(collection=notes, documents=count, chunks=count, **columns)
    client = boss()

    response = client.get(collection_page(notes))

    assert "3 documents 3 chunks 3 chunks pending 0 set aside" in plain(response)
    assert response.content.count(b"<polyline") == 2
    assert f"{LIST}?collection=notes" in response.content.decode()
    assert re.search(r"notes\s+3\s+3\s", plain(client.get(page_of("embeddings_collection"))))


def test_a_collection_is_made_and_set_and_its_documents_are_cut_anew(notes: Collection) -> None:
    client = boss()
    team = Group.objects.create(name="team")

    response = client.post(page_of("embeddings_collection", "add"), {"name": "new", **SETTINGS, "groups": [team.pk]})
    made = Collection.objects.get(name="new")
    assert (response.status_code, list(made.groups.all())) == (302, [team])
    assert "already" in plain(client.post(page_of("embeddings_collection", "add"), {"name": "new", **SETTINGS}))

    edit = collection_page(notes, "edit")
    assert "Nothing was changed" in said(client.post(edit, SETTINGS))
    assert "cut anew by job" in said(client.post(edit, {**SETTINGS, "chunk_tokens": 128}))
    assert Job.objects.filter(task="embeddings.recut").count() == 1
    assert Collection.objects.get(name="notes").chunk_tokens == 128


@pytest.mark.parametrize(
    ("change", "said_there"),
    [
        ({"chunk_tokens": 8}, "greater than or equal to 16"),
        ({"chunk_overlap": 40}, "less than half of chunk_tokens, 64"),
        ({"language": "klingon"}, "choose from: arabic"),
        ({"encoder": "magic"}, "choose from: minilm"),
        ({"recall_target": "2"}, "less than or equal to 1"),
        ({"groups": ["77"]}, "77"),
    ],
)
def test_a_setting_that_does_not_fit_is_marked_in_the_form(
    notes: Collection, change: dict[str, Any], said_there: str
) -> None:
    response = boss().post(collection_page(notes, "edit"), {**SETTINGS, **change})

    assert said_there in plain(response)
    assert Collection.objects.get(name="notes").chunk_tokens == 64


def test_a_collection_with_documents_is_deleted_only_if_that_is_ticked(notes: Collection) -> None:
    client = boss()
    remove = collection_page(notes, "remove")

    assert "It has documents" in plain(client.get(remove))
    assert "has documents" in said(client.post(remove))
    assert "is being deleted by job" in said(client.post(remove, {"force": "yes"}))
    documents.delete(None, notes, ["a/1", "a/2", "b/1"])
    assert "notes is deleted" in said(client.post(remove))
    assert not Collection.objects.filter(name="notes").exists()


def test_the_sidebar_shows_each_page_with_an_icon_of_its_own() -> None:
    html = client_with("embeddings.view_collection", "embeddings.view_document").get("/admin/").content.decode()
    assert "library_books" in html
    assert "folder_open" not in html
