"""Documents by their service: what is stored, what is cut, what is left alone, and what is refused by name."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction

from embeddings.models import Change, Chunk, Collection, Document, SetAside
from embeddings.services import collections, document_lists, documents, fast, items, staging
from embeddings.services.storing import store_vectors
from embeddings.tests.documents_put import catch_ups, chunks, counts, put
from embeddings.tests.factories import clustered, make_collection, make_model
from jobs.models import AuditEntry, Job
from jobs.operators.actors import Actor
from jobs.tests.api_client import person

pytestmark = pytest.mark.django_db

LONG = "\n\n".join(
    f"Paragraph {number} says something of its own. Then it goes on for a while." for number in range(12)
)


@pytest.fixture
def collection() -> Collection:
    return make_collection("notes", chunk_tokens=40, chunk_overlap=4, fast_encoder="")


# --- storing ---------------------------------------------------------------------------------------------------------


def test_a_new_document_is_stored_with_chunks_that_lie_in_its_text(collection: Collection) -> None:
    assert counts(put({"id": "a", "text": LONG, "metadata": {"kind": "x"}})) == (1, 0, 0)

    document = Document.objects.get(external_id="a")
    assert (document.text, document.metadata, document.collection) == (LONG, {"kind": "x"}, collection)
    found = chunks("a")
    assert len(found) > 3
    assert [chunk.position for chunk in found] == list(range(len(found)))
    assert LONG[found[0].start : found[0].end].startswith("Paragraph 0")
    assert "paragraph" in found[0].words


def test_what_is_the_same_changes_nothing_and_sends_no_job(collection: Collection) -> None:
    put({"id": "a", "text": "one", "metadata": {"a": 1, "b": [2.5, None]}})
    before = [(chunk.pk, chunk.document.updated_at) for chunk in chunks("a")]
    Job.objects.all().delete()

    assert counts(put({"id": "a", "text": "one", "metadata": {"b": [2.5, None], "a": 1}})) == (0, 0, 1)

    assert [(chunk.pk, chunk.document.updated_at) for chunk in chunks("a")] == before
    assert catch_ups() == 0


def test_new_metadata_keep_the_chunks_and_what_is_left_out_stays(collection: Collection) -> None:
    team = Group.objects.create(name="team")
    put({"id": "a", "text": "one", "metadata": {"k": 1}, "groups": ["team"]})
    (chunk,) = chunks("a")

    assert counts(put({"id": "a", "text": "one", "metadata": {"k": 2}})) == (0, 1, 0)

    document = Document.objects.get(external_id="a")
    assert (document.metadata, document.group_ids) == ({"k": 2}, [team.pk])
    assert [one.pk for one in chunks("a")] == [chunk.pk]
    assert counts(put({"id": "a", "text": "one", "groups": []})) == (0, 1, 0)
    assert Document.objects.get(external_id="a").metadata == {"k": 2}


def test_a_changed_text_gets_new_chunks_and_readers_are_told_that_the_old_have_gone(collection: Collection) -> None:
    put({"id": "a", "text": "one"}, {"id": "b", "text": "stays"})
    (old,) = chunks("a")

    assert counts(put({"id": "a", "text": "two"}, {"id": "b", "text": "stays"})) == (0, 1, 1)

    (new,) = chunks("a")
    assert new.pk != old.pk
    assert list(Change.objects.filter(model=None).values_list("chunk_id", flat=True)) == [old.pk]


def test_one_text_in_two_documents_is_one_content_with_two_chunks(collection: Collection) -> None:
    put({"id": "a", "text": "the same"}, {"id": "b", "text": "the same"})

    assert bytes(chunks("a")[0].content_sha) == bytes(chunks("b")[0].content_sha)
    assert chunks("a")[0].pk != chunks("b")[0].pk


def test_the_job_that_embeds_exists_if_and_only_if_the_documents_do(collection: Collection) -> None:
    class Away(Exception):
        pass

    def put_and_fail() -> None:
        with transaction.atomic():
            put({"id": "a", "text": "one"})
            assert catch_ups() == 1
            raise Away

    with pytest.raises(Away):
        put_and_fail()
    assert (catch_ups(), Document.objects.count(), Chunk.objects.count()) == (0, 0, 0)


def test_a_content_that_has_its_vector_sends_no_job(collection: Collection) -> None:
    model = make_model()
    Collection.objects.filter(name="notes").update(model=model)
    put({"id": "a", "text": "known"})
    store_vectors(model, [bytes(chunks("a")[0].content_sha)], clustered(1))
    Job.objects.all().delete()

    put({"id": "b", "text": "known"})
    assert catch_ups() == 0
    put({"id": "b", "text": "unknown"})
    assert catch_ups() == 1


def test_documents_of_many_characters_go_in_portions(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "PORTION", 100)
    given = [{"id": f"d{number}", "text": f"{number} " + "word " * 15} for number in range(7)]

    assert counts(put(*given)) == (7, 0, 0)
    given[3]["text"] = "other"
    assert counts(put(*given)) == (0, 1, 6)


def test_new_contents_are_handed_to_the_fast_tier_once_each(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_model = make_model()
    Collection.objects.filter(name="notes").update(fast_encoder="static", fast_model=fast_model)
    handed: list[tuple[list[bytes], list[str]]] = []
    monkeypatch.setattr(fast, "embed_now", lambda collection, shas, texts: handed.append((shas, texts)))

    put({"id": "a", "text": "one"}, {"id": "b", "text": "one"}, {"id": "c", "text": "two"})

    ((shas, texts),) = handed
    assert sorted(texts) == ["one", "two"]
    assert shas == [hashlib.sha256(text.encode()).digest() for text in texts]
    store_vectors(fast_model, shas, clustered(2))
    put({"id": "d", "text": "one"}, {"id": "a", "text": "one", "metadata": {"k": 1}}, {"id": "e", "text": "three"})
    assert handed[1][1] == ["three"]


def test_a_chunk_with_more_words_than_postgres_indexes_is_stored(collection: Collection) -> None:
    put({"id": "a", "text": "short"})
    (old,) = chunks("a")
    text = " ".join(f"word{number}" for number in range(150_000))

    staging.replace_chunks(
        collection.pk,
        "simple",
        [old.document_id],
        [staging.NewChunk(old.document_id, 0, 0, len(text), 1, bytes(old.content_sha), text)],
    )

    (new,) = chunks("a")
    assert "'word5000'" in str(new.words)
    assert "'word149999'" not in str(new.words)


# --- refusing --------------------------------------------------------------------------------------------------------

DEEP: Any = 1
for _ in range(25):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (None, "an item is an object"),
        ("text", "an item is an object"),
        ({"text": "x"}, "no id"),
        ({"id": "a"}, "no text"),
        ({"id": "", "text": "x"}, "id is empty"),
        ({"id": 7, "text": "x"}, "id is 7"),
        ({"id": "i" * 256, "text": "x"}, "256 characters"),
        ({"id": "a\x00", "text": "x"}, "NUL"),
        ({"id": "nl\nx", "text": "x"}, "control character (U+000A) at character 2"),
        ({"id": "a\udc80", "text": "x"}, "surrogate"),
        ({"id": "a", "text": ""}, "text is empty"),
        ({"id": "a", "text": " \n\u3000"}, "text is empty"),
        ({"id": "a", "text": b"x"}, "text is a bytes"),
        ({"id": "a", "text": ["x"]}, "text is a list"),
        ({"id": "a", "text": "x\x00y"}, "NUL at character 1"),
        ({"id": "a", "text": "x\ud800"}, "U+D800"),
        ({"id": "a", "text": "x" * 1_000_001}, "1,000,001 characters"),
        ({"id": "a", "text": "x", "title": "t"}, "unknown field 'title'"),
        ({"id": "a", "text": "x", "metadata": [1]}, "metadata is a list"),
        ({"id": "a", "text": "x", "metadata": {"k": float("nan")}}, "'k' is nan"),
        ({"id": "a", "text": "x", "metadata": {"k": [float("inf")]}}, "'k' is inf"),
        ({"id": "a", "text": "x", "metadata": {"k": {1, 2}}}, "a set"),
        ({"id": "a", "text": "x", "metadata": {7: 1}}, "the key 7"),
        ({"id": "a", "text": "x", "metadata": {"k": "\x00"}}, "NUL"),
        ({"id": "a", "text": "x", "metadata": {"\ud800": 1}}, "surrogate"),
        ({"id": "a", "text": "x", "metadata": {"k": 10**5000}}, "300 digits"),
        ({"id": "a", "text": "x", "metadata": {"k": DEEP}}, "20 levels"),
        ({"id": "a", "text": "x", "metadata": {"k": "ü" * 40_000}}, "80,008 bytes"),
        ({"id": "a", "text": "x", "groups": "team"}, "groups is 'team'"),
        ({"id": "a", "text": "x", "groups": ["nobody"]}, "no group 'nobody'"),
        ({"id": "a", "text": "x", "groups": [True]}, "no group True"),
        ({"id": "a", "text": "x", "groups": ["\x00"]}, "no group"),
        ({"id": "a", "text": "x", "groups": [2**70]}, "no group"),
    ],
)
def test_what_is_no_document_is_told_by_place_and_name_and_the_others_are_stored(
    collection: Collection, item: Any, said: str
) -> None:
    result = put({"id": "good", "text": "one"}, item, {"id": "good too", "text": "two"})

    assert counts(result) == (2, 0, 0)
    (error,) = result.errors
    assert error.index == 1
    assert said in error.error


def test_an_id_that_comes_twice_is_refused_the_second_time(collection: Collection) -> None:
    result = put({"id": "a", "text": "first"}, {"id": "a", "text": "second"})

    assert [(error.index, error.id) for error in result.errors] == [(1, "a")]
    assert Document.objects.get().text == "first"


def test_what_is_odd_but_storable_comes_back_as_it_was(collection: Collection) -> None:
    odd = {
        "id": " a/b c'\"\\%🙂 ",
        "text": "\ufeff\n\\N \\. \t%s 🙂 \u0301",
        "metadata": {"\\u0000": "\\u0000 \\x", "n": 0.1},
    }

    assert counts(put(odd)) == (1, 0, 0)
    document = Document.objects.get()
    assert (document.external_id, document.text, document.metadata) == (odd["id"], odd["text"], odd["metadata"])
    assert counts(put(odd)) == (0, 0, 1)


def test_more_than_a_thousand_at_once_are_refused(collection: Collection) -> None:
    with pytest.raises(documents.TooManyItems, match="1,001"):
        put(*({"id": str(number), "text": "x"} for number in range(1001)))


def test_an_unknown_collection_is_told_with_those_that_there_are(collection: Collection) -> None:
    with pytest.raises(collections.UnknownCollection, match="notes"):
        put({"id": "a", "text": "x"}, collection="nots")


# --- permission ------------------------------------------------------------------------------------------------------


def actor(user: Any) -> Actor:
    return Actor.of_user(user, "api")


def test_storing_and_deleting_need_their_permissions_and_are_in_the_audit_log(collection: Collection) -> None:
    ann = actor(person("ann", "embeddings.add_document", "embeddings.change_document"))
    bob = actor(person("bob", "embeddings.add_document"))

    with pytest.raises(PermissionDenied, match="change_document"):
        documents.put(bob, "notes", [{"id": "a", "text": "x"}])
    documents.put(ann, "notes", [{"id": "a", "text": "x"}])
    with pytest.raises(PermissionDenied, match="delete_document"):
        documents.delete(ann, "notes", ["a"])
    documents.put(ann, "notes", [{"id": "a", "text": "x"}])
    (entry,) = AuditEntry.objects.filter(action="documents.put")
    assert (entry.actor, entry.target, entry.detail) == ("ann", "notes", {"created": 1, "updated": 0})


def test_a_restricted_collection_is_unknown_to_others(collection: Collection) -> None:
    team = Group.objects.create(name="team")
    collection.groups.add(team)
    permissions = ("embeddings.add_document", "embeddings.change_document", "embeddings.delete_document")
    member, other = person("member", *permissions), person("other", *permissions)
    member.groups.add(team)

    assert counts(documents.put(actor(member), "notes", [{"id": "a", "text": "x"}])) == (1, 0, 0)
    with pytest.raises(collections.UnknownCollection):
        documents.put(actor(other), "notes", [{"id": "a", "text": "y"}])
    with pytest.raises(collections.UnknownCollection):
        documents.delete(actor(other), collection, ["a"])
    assert documents.delete(actor(person("root", is_superuser=True)), "notes", ["a"]) == 1


def test_a_restricted_document_is_neither_overwritten_nor_deleted_by_others(collection: Collection) -> None:
    Group.objects.create(name="team")
    put({"id": "secret", "text": "hidden", "groups": ["team"]})
    other = actor(
        person("other", "embeddings.add_document", "embeddings.change_document", "embeddings.delete_document")
    )

    result = documents.put(other, "notes", [{"id": "secret", "text": "mine"}, {"id": "b", "text": "new"}])

    assert counts(result) == (1, 0, 0)
    assert [(error.index, error.id) for error in result.errors] == [(0, "secret")]
    assert documents.delete(other, "notes", ["secret", "b"]) == 1
    assert Document.objects.get().text == "hidden"


# --- deleting --------------------------------------------------------------------------------------------------------


def test_a_deleted_document_has_gone_with_its_chunks_and_readers_are_told(collection: Collection) -> None:
    put({"id": "a", "text": "one"}, {"id": "b", "text": "two"})
    (gone,) = chunks("a")

    assert documents.delete(None, "notes", ["a", "unknown", "a"]) == 1

    assert [document.external_id for document in Document.objects.all()] == ["b"]
    assert not Chunk.objects.filter(pk=gone.pk).exists()
    assert Change.objects.filter(model=None, chunk_id=gone.pk).exists()


def test_what_is_no_id_is_refused_before_anything_is_deleted(collection: Collection) -> None:
    put({"id": "a", "text": "one"})

    with pytest.raises(items.BadItem, match="id is 7"):
        documents.delete(None, "notes", ["a", 7])  # type: ignore[list-item]
    assert Document.objects.count() == 1


# --- lists -----------------------------------------------------------------------------------------------------------


def test_documents_are_told_by_how_far_they_are_embedded(collection: Collection) -> None:
    model = make_model()
    Collection.objects.filter(name="notes").update(model=model)
    put({"id": "done", "text": "one"}, {"id": "new", "text": "two"}, {"id": "poison", "text": "three"})
    store_vectors(model, [bytes(chunks("done")[0].content_sha)], clustered(1))
    bad = chunks("poison")[0]
    model_aside = {"model": model, "content_sha": bytes(bad.content_sha), "chunk_id": bad.pk, "reason": "not finite"}
    SetAside.objects.create(collection=collection, **model_aside)
    collection.refresh_from_db()
    all_of_it = document_lists.documents_of(collection)

    for state, name in (("embedded", "done"), ("pending", "new"), ("set_aside", "poison")):
        found = document_lists.in_state(all_of_it, collection, state)
        assert [document.external_id for document in found] == [name]
        assert document_lists.states_of(collection, [found[0].pk])[found[0].pk].state == state
    (shown,) = document_lists.chunks_of(Document.objects.get(external_id="poison"), collection)
    assert (shown.state, shown.reason) == ("set_aside", "not finite")


@pytest.mark.parametrize(
    ("found", "index"),
    [
        (lambda rows: rows.order_by("-updated_at", "-id")[:20], "document_newest"),
        (lambda rows: document_lists.with_prefix(rows, "d00001").order_by("external_id")[:20], "document_once"),
    ],
)
def test_lists_are_read_from_an_index(collection: Collection, found: Callable[[Any], Any], index: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO embeddings_document (collection_id, external_id, text, metadata, group_ids, content_sha,
                created_at, updated_at)
            SELECT %s, 'd' || to_char(n, 'FM000000'), 'x', '{}', '{}', '\\x00', now(), now() + n * interval '1 s'
            FROM generate_series(1, 3000) AS n
            """,
            [collection.pk],
        )
        cursor.execute("ANALYZE embeddings_document")

    plan = found(document_lists.documents_of(collection)).explain()

    assert index in plan
    assert "Sort" not in plan


def test_staging_tables_are_empty_after_the_commit(collection: Collection) -> None:
    put({"id": "a", "text": "one"})

    stored = staging.store_items(collection.pk, [], None)

    assert stored == staging.Stored({}, {}, 0, [])
