"""A search finds what it should, in each mode, and nothing that its user may not see."""

import json
import math
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import connection

from embeddings import encoders
from embeddings.encoders.base import EncoderUnavailable
from embeddings.models import Chunk, Collection, EmbeddingModel
from embeddings.services import documents, query_vectors, scope, searching
from embeddings.services.asking import SearchRefused, SearchUnavailable
from embeddings.services.collections import UnknownCollection
from embeddings.services.scope import Scope
from embeddings.services.searching import search
from embeddings.serving import reader
from embeddings.serving.snapshot import Tier
from embeddings.tests.searching_helpers import DAMAGES, damage, embed, ngram_model, put, searchable, swapped
from jobs.tests.api_client import person

TEXTS = {
    "cats": "Cats sleep most of the day. They hunt mice at night.",
    "dogs": "Dogs guard the house and bark at strangers.",
    "trains": "The night train to Lisbon leaves at eight. Tickets are sold at the station.",
    "bread": "Bread is baked early in the morning, of flour, water and salt.",
}
MAY = "embeddings.search_collection"


@pytest.fixture
def collection(db: None) -> Collection:
    return searchable(TEXTS)


def found(collection: Collection, query: str, user: Any = None, **options: Any) -> list[str]:
    return [hit.id for hit in search(user, query, collection=collection.name, **options).hits]


def test_the_nearest_documents_come_first_without_an_index_and_with_one(collection: Collection) -> None:
    for mode in ("hybrid", "vector"):
        assert found(collection, "cat sleeping at day", mode=mode)[0] == "cats"
        assert found(collection, "the train at the station", mode=mode)[0] == "trains"


def test_both_rankings_are_explained(collection: Collection) -> None:
    answer = search(None, "night train", collection=collection.name)

    first = answer.hits[0]
    assert (first.id, first.rank, first.tier) == ("trains", 1, "main")
    assert first.explain["vector"]["rank"] == first.explain["text"]["rank"] == 1
    assert first.score == first.explain["fused"] == pytest.approx(2 / 61, abs=1e-6)
    assert set(answer.timing) == {"snapshot", "encode", "vector", "text", "join", "total"}
    assert answer.index == {
        "version": None,
        "model": str(ngram_model()),
        "kind": "",
        "count": 0,
        "built_at": None,
    }
    assert answer.beside == {"delta": 4, "tombstones": 0, "pending": 0}


def test_words_alone(collection: Collection) -> None:
    assert found(collection, "night", mode="text") == ["cats", "trains"]
    assert found(collection, '"night train"', mode="text") == ["trains"]
    assert found(collection, "night -train", mode="text") == ["cats"]
    assert found(collection, "nothing of this", mode="text") == []
    # Those with all words first, then those with half of them.
    assert found(collection, "night mice unheard", mode="text") == ["cats"]


def test_words_of_the_collections_language(db: None) -> None:
    german = searchable({"a": "Die Häuser am Fluss", "b": "Der Wald"}, language="german")
    assert found(german, "Haus", mode="text") == ["a"]


@pytest.mark.parametrize(
    ("options", "name", "says"),
    [
        ({"query": ""}, "q", "give the text"),
        ({"query": "  \n"}, "q", "give the text"),
        ({"query": None}, "q", "None"),
        ({"query": "x" * 2001}, "q", "2,001 characters"),
        ({"query": "a\x00b"}, "q", "U+0000"),
        ({"query": "a\ud800b"}, "q", "U+D800"),
        ({"k": 0}, "k", "from 1 to 100"),
        ({"k": 101}, "k", "from 1 to 100"),
        ({"k": True}, "k", "from 1 to 100"),
        ({"k": "5"}, "k", "from 1 to 100"),
        ({"mode": "best"}, "mode", "choose from: hybrid, vector, text, fast"),
        ({"filters": []}, "filter", "an object"),
        ({"filters": {"a": {"like": 1}}}, "filter", "unknown operator 'like'"),
        ({"mode": "fast"}, "mode", "no fast tier"),
    ],
)
def test_what_cannot_be_searched_is_named(
    collection: Collection, options: dict[str, Any], name: str, says: str
) -> None:
    query = options.pop("query", "x")
    with pytest.raises(SearchRefused) as refused:
        search(None, query, collection=collection.name, **options)
    assert refused.value.name == name
    assert says in str(refused.value)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query", ["!!!", "'", '"', "a & | !", "<script>", "\\", "%s %(x)s", "🙂", "ﷺ" * 200, "-", "a:*"]
)
def test_any_text_may_be_searched_for(query: str) -> None:
    collection = searchable(["something"])
    for mode in ("hybrid", "vector", "text"):
        search(None, query, collection=collection.name, mode=mode)


# --- Who may find what -------------------------------------------------------------------------------------------


def test_a_document_of_a_group_is_found_by_its_members_alone(collection: Collection) -> None:
    group = Group.objects.create(name="drivers")
    put(collection, [{"id": "secret", "text": "The night train to Lisbon is late.", "groups": ["drivers"]}])
    ann, bob, boss = person("ann", MAY), person("bob", MAY), person("boss", is_superuser=True)
    bob.groups.add(group)

    for mode in ("hybrid", "vector", "text"):
        assert "secret" not in found(collection, "night train to Lisbon", ann, mode=mode)
        for user in (bob, boss, None):
            assert "secret" in found(collection, "night train to Lisbon", user, mode=mode)


def test_what_is_hidden_makes_no_room_for_less(db: None) -> None:
    """The nearest are all another group's; what this user may see is found all the same."""
    Group.objects.create(name="others")
    collection = searchable()
    put(
        collection,
        [{"id": f"h{n}", "text": f"the night train number {n}", "groups": ["others"]} for n in range(120)]
        + [{"id": f"v{n}", "text": f"quite another subject, say {n} apples"} for n in range(12)],
    )

    hits = found(collection, "the night train number", person("ann", MAY), mode="vector", k=10)

    assert len(hits) == 10
    assert all(one.startswith("v") for one in hits)


def test_a_collection_of_a_group_is_not_there_for_others(collection: Collection) -> None:
    collection.groups.add(Group.objects.create(name="drivers"))

    with pytest.raises(UnknownCollection):
        found(collection, "night", person("ann", MAY))
    with pytest.raises(UnknownCollection, match="unknown collection 'nowhere'"):
        search(None, "night", collection="nowhere")
    with pytest.raises(PermissionDenied, match=MAY):
        found(collection, "night", person("bob"))


# --- Filters, at the index ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("most_allowed", [50_000, 1])
def test_a_filter_that_lets_little_through_finds_that(
    db: None, monkeypatch: pytest.MonkeyPatch, most_allowed: int
) -> None:
    monkeypatch.setattr(scope, "MOST_ALLOWED", most_allowed)
    collection = searchable()
    put(
        collection,
        [{"id": f"a{n}", "text": f"the night train number {n}", "metadata": {"kind": "a"}} for n in range(300)]
        + [{"id": f"b{n}", "text": f"apples and pears, {n}", "metadata": {"kind": "b"}} for n in range(3)],
    )

    for mode in ("vector", "hybrid"):
        hits = found(collection, "the night train number", filters={"kind": "b"}, mode=mode)
        assert sorted(hits) == ["b0", "b1", "b2"]
    assert found(collection, "the night train number", filters={"kind": "c"}) == []


def test_a_filter_that_takes_too_long_to_look_up_is_told(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(collection, [{"id": f"n{n}", "text": f"swans {n}", "metadata": {"n": n}} for n in range(120)])
    really = Scope.sql
    monkeypatch.setattr(scope, "ALLOWED_SECONDS", 0.001)
    monkeypatch.setattr(searching, "MOST_ASKED", 100)
    slow = " AND pg_sleep(0.002) IS NOT NULL"
    monkeypatch.setattr(Scope, "sql", lambda self: (really(self)[0] + slow, really(self)[1]))

    answer = search(None, "a train", collection=collection.name, mode="vector", filters={"n": {"gte": 118}})

    assert {hit.id for hit in answer.hits} <= {"n118", "n119"}
    assert "cannot be looked up quickly" in answer.warnings[0]
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone()[0] == "0"


# --- Documents of several chunks ---------------------------------------------------------------------------------


def test_a_document_is_answered_once_by_its_best_chunk(db: None) -> None:
    collection = searchable(chunk_tokens=16, chunk_overlap=2)
    filler = "Bread is baked of flour, water and salt. " * 10
    text = f"{filler}The night train to Lisbon leaves at eight. {filler}"
    put(collection, [{"id": "long", "text": text}, {"id": "short", "text": "The train to Lisbon"}])

    whole = search(None, "night train to Lisbon leaves", collection=collection.name, mode="vector")
    parts = search(None, "night train to Lisbon leaves", collection=collection.name, mode="vector", by_document=False)

    assert sorted(hit.id for hit in whole.hits) == ["long", "short"]
    best = whole.hits[0]
    assert best.id == "long"
    assert "night train" in text[best.chunk["start"] : best.chunk["end"]]
    assert "night train" in best.snippet.text
    assert len({hit.chunk["id"] for hit in parts.hits}) == len(parts.hits) == 10


def test_one_long_document_does_not_crowd_out_the_others(db: None) -> None:
    collection = searchable(chunk_tokens=16, chunk_overlap=0)
    put(collection, [{"id": "long", "text": "The night train to Lisbon leaves at eight. " * 400}])
    put(collection, [{"id": f"d{n}", "text": f"A train leaves, number {n}"} for n in range(9)])

    assert len(found(collection, "the night train to Lisbon leaves at eight", mode="vector")) == 10


# --- The fast tier -----------------------------------------------------------------------------------------------


class _Other:
    """Another encoder, for the fast tier: that of the tests, turned."""

    def __init__(self) -> None:
        self._inner = encoders.load("ngram")
        self.identity = self._inner.identity

    def encode(self, texts: Any) -> Any:
        from dataclasses import replace

        made = self._inner.encode(texts)
        return replace(made, vectors=made.vectors[:, ::-1].copy())


@pytest.fixture
def fast(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> EmbeddingModel:
    """The fast model of the collection, whose vectors are not comparable with the main one's."""
    model = EmbeddingModel.objects.create(spec="turned", digest="f" * 64, dimension=ngram_model().dimension)
    other, really = _Other(), encoders.load_exactly
    monkeypatch.setattr(
        encoders, "load_exactly", lambda spec, digest: other if spec == "turned" else really(spec, digest)
    )
    really_load = encoders.load
    monkeypatch.setattr(encoders, "load", lambda spec="": other if spec == "turned" else really_load(spec))
    Collection.objects.filter(pk=collection.pk).update(fast_model=model)
    collection.refresh_from_db()
    embed(collection, model, "turned")
    return model


def test_a_new_document_is_found_by_the_fast_tier_until_the_model_comes_to_it(
    collection: Collection, fast: EmbeddingModel
) -> None:
    put(collection, [{"id": "new", "text": "Swans swim on the lake in winter."}], embedded=False)
    embed(collection, fast, "turned")

    before = search(None, "swans in winter", collection=collection.name, mode="vector")
    others = search(None, "bread is baked of flour", collection=collection.name, mode="vector")
    embed(collection, collection.model)
    reader.forget()
    after = search(None, "swans in winter", collection=collection.name, mode="vector")

    assert (before.hits[0].id, before.hits[0].tier, before.beside["pending"]) == ("new", "fast", 1)
    assert others.hits[0].id == "bread"
    assert [hit.id for hit in others.hits].index("new") > 1, "that few wait does not bring them to the top"
    assert (after.hits[0].id, after.hits[0].tier, after.beside["pending"]) == ("new", "main", 0)


def test_two_tier_search_has_the_model_order_what_the_fast_tier_finds(
    collection: Collection, fast: EmbeddingModel
) -> None:
    put(collection, [{"id": "new", "text": "The train to Lisbon was late today."}], embedded=False)
    embed(collection, fast, "turned")

    answer = search(None, "the night train to Lisbon", collection=collection.name, mode="fast")

    assert {hit.id: hit.tier for hit in answer.hits} == {
        "trains": "main",
        "new": "fast",
        "cats": "main",
        "dogs": "main",
        "bread": "main",
    }
    assert {hit.id for hit in answer.hits[:2]} == {"trains", "new"}


@pytest.mark.parametrize("how", DAMAGES)
def test_two_tier_search_leaves_a_damaged_vector_of_the_model_to_the_fast_tier(
    collection: Collection, fast: EmbeddingModel, how: str
) -> None:
    reader.snapshot(collection.pk)
    trains = Chunk.objects.get(document__external_id="trains")
    damage(ngram_model(), how, trains.pk)

    answer = search(None, "the night train to Lisbon", collection=collection.name, mode="fast")

    assert all(math.isfinite(hit.score) and abs(hit.score) < 1.1 for hit in answer.hits)
    assert {hit.id for hit in answer.hits} == set(TEXTS) - {"trains"}


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_no_score_that_is_not_finite_is_answered_whatever_an_engine_says(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, score: float, mode: str
) -> None:
    bad = Chunk.objects.get(document__external_id="trains").pk
    real = Tier.nearest

    def nearest(*args: Any) -> Any:
        ids, scores = real(*args)
        return ids, np.where(ids == bad, np.float32(score), scores)

    monkeypatch.setattr(Tier, "nearest", nearest)

    answer = search(None, "bread", collection=collection.name, mode=mode)

    assert json.dumps(answer.as_json(), allow_nan=False)
    assert {hit.id for hit in answer.hits} == set(TEXTS) - {"trains"}


# --- What goes wrong ---------------------------------------------------------------------------------------------


def test_without_the_encoder_words_answer_and_a_vector_search_says_why(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(spec: str, digest: str) -> Any:
        raise EncoderUnavailable("install the weights")

    monkeypatch.setattr(encoders, "load_exactly", missing)

    hybrid = search(None, "night train", collection=collection.name)

    assert [hit.id for hit in hybrid.hits] == ["trains", "cats"]
    assert hybrid.hits[0].tier == "text"
    assert "install the weights" in hybrid.warnings[0]
    with pytest.raises(SearchUnavailable, match="install the weights"):
        search(None, "night train", collection=collection.name, mode="vector")


def test_an_empty_collection_answers_with_nothing_and_says_so(db: None) -> None:
    collection = searchable(model=None)

    answer = search(None, "night train", collection=collection.name)

    assert answer.hits == []
    assert answer.index is None
    assert "nothing is embedded yet" in answer.warnings[0]


def test_queries_are_embedded_once(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    encoder = encoders.load("ngram")
    really = type(encoder).encode
    monkeypatch.setattr(type(encoder), "encode", lambda self, texts: (calls.extend(texts), really(self, texts))[1])

    for _ in range(3):
        found(collection, "night train")
    assert calls == ["night train"]

    monkeypatch.setattr(query_vectors, "MOST_KEPT", 2)
    for query in ("a", "b", "c", "a"):
        found(collection, query)
    assert calls == ["night train", "a", "b", "c", "a"]


@pytest.mark.django_db(transaction=True)
def test_a_search_over_an_index_finds_new_documents_and_no_deleted_ones() -> None:
    collection = searchable(TEXTS)
    assert swapped(collection) == 1
    index = search(None, "night train", collection=collection.name).index
    assert index is not None
    assert index["version"] == 1
    documents.delete(None, collection, ["trains"])
    gone = search(None, "night train to Lisbon", collection=collection.name)
    put(collection, [{"id": "new", "text": "The night train to Porto"}])
    for follower in reader._followers.values():
        follower.looked_at = float("-inf")

    after = search(None, "night train to Porto", collection=collection.name, mode="vector")

    assert "trains" not in [hit.id for hit in gone.hits]
    assert after.hits[0].id == "new"
    assert after.index is not None
    assert (after.index["version"], after.index["count"]) == (1, 4)
    assert after.beside == {"delta": 1, "tombstones": 1, "pending": 0}
