"""Search by REST: what it answers, and how it refuses."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from embeddings import encoders
from embeddings.encoders.base import EncoderUnavailable
from embeddings.models import Chunk, Collection
from embeddings.tests.searching_helpers import DAMAGES, damage, ngram_model, put, searchable
from jobs.tests.api_client import caller, person, post, problem

PATH = "/api/v1/search/"
MAY = "embeddings.search_collection"


@pytest.fixture
def collection(db: None) -> Collection:
    collection = searchable(name="travel")
    put(
        collection,
        [
            {"id": "trains", "text": "The night train to Lisbon <b>leaves</b> at eight.", "metadata": {"year": 2024}},
            {"id": "bread", "text": "Bread is baked early in the morning.", "metadata": {"year": 2020}},
        ],
    )
    return collection


@pytest.fixture
def client(collection: Collection) -> Client:
    return caller(person("ann", MAY))


def test_a_search_answers_with_hits_index_and_timing(client: Client) -> None:
    answer = client.get(PATH, {"q": "night train", "collection": "travel", "k": "1", "highlight": "true"}).json()

    [hit] = answer["hits"]
    assert (hit["id"], hit["rank"], hit["tier"], hit["metadata"]) == ("trains", 1, "main", {"year": 2024})
    assert hit["snippet"] == "The night train to Lisbon <b>leaves</b> at eight."
    assert hit["snippet_html"].startswith("The <mark>night</mark> <mark>train</mark> to Lisbon &lt;b&gt;")
    assert hit["chunk"].keys() == {"id", "position", "start", "end"}
    assert hit["explain"].keys() == {"vector", "text", "fused"}
    assert answer.keys() == {"collection", "mode", "hits", "index", "beside", "timing", "warnings"}


def test_a_filter_and_other_parameters(client: Client) -> None:
    asked = {"q": "bread", "collection": "travel", "filter": json.dumps({"year": {"gte": 2021}}), "explain": "false"}

    answer = client.get(PATH, {**asked, "group": "0", "mode": "vector"}).json()

    assert [hit["id"] for hit in answer["hits"]] == ["trains"]
    assert "explain" not in answer["hits"][0]
    assert "snippet_html" not in answer["hits"][0]
    assert answer["mode"] == "vector"


def test_the_same_by_post(client: Client) -> None:
    body = {"q": "bread " * 300, "collection": "travel", "filter": {"year": 2020}, "k": 5}

    assert [hit["id"] for hit in post(client, PATH, body).json()["hits"]] == ["bread"]
    assert "unknown field" in problem(post(client, PATH, {"q": "x", "limit": 3}), 400)["detail"]
    assert "must be a whole number" in problem(post(client, PATH, {"q": "x", "k": "3"}), 400)["detail"]
    assert "U+D800" in problem(post(client, PATH, '{"q": "a\\ud800", "collection": "travel"}'), 400)["detail"]


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_vectors_are_left_out_and_told(
    client: Client, collection: Collection, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    trains = Chunk.objects.get(document__external_id="trains")
    damage(ngram_model(), how, trains.pk)

    for mode, expected in (("vector", {"bread"}), ("hybrid", {"bread", "trains"})):
        response = post(client, PATH, {"q": "night train", "collection": "travel", "mode": mode})
        assert response.status_code == 200
        assert {hit["id"] for hit in response.json()["hits"]} == expected
        assert response.json()["warnings"] == [
            "damaged vectors are left out (1 in all); rebuild the index, which embeds their texts again"
        ]
    only = {"year": {"gte": 2021}}
    narrow = post(client, PATH, {"q": "bread", "collection": "travel", "mode": "vector", "filter": only})
    assert narrow.json()["hits"] == []
    told = [one.getMessage() for one in caplog.records if "damaged and left out" in one.getMessage()]
    assert len(told) == 1
    assert f"(1 in all, such as chunk {trains.pk}'s)" in told[0]


@pytest.mark.parametrize(
    ("parameters", "name", "says"),
    [
        ({}, "q", "give the text"),
        ({"q": "  "}, "q", "give the text"),
        ({"q": "x" * 2001}, "q", "2,001 characters"),
        ({"q": "a\x00"}, "q", "Null characters"),
        ({"q": "x", "k": "0"}, "k", "from 1 to 100"),
        ({"q": "x", "k": "1000"}, "k", "from 1 to 100"),
        ({"q": "x", "k": "many"}, "k", "integer"),
        ({"q": "x", "k": "9" * 5000}, "k", ""),
        ({"q": "x", "mode": "best"}, "mode", "choose from"),
        ({"q": "x", "mode": "fast"}, "mode", "no fast tier"),
        ({"q": "x", "filter": "{"}, "filter", "not JSON"),
        ({"q": "x", "filter": "[1]"}, "filter", "an object"),
        ({"q": "x", "filter": "NaN"}, "filter", "NaN"),
        ({"q": "x", "filter": "[" * 3000}, "filter", ""),
        ({"q": "x", "filter": '{"a": {"between": [1, 2]}}'}, "filter", "unknown operator 'between'"),
        ({"q": "x", "filter": '{"a": "\\u0000"}'}, "filter", "cannot keep"),
        ({"q": "x", "explain": "maybe"}, "explain", "boolean"),
        ({"q": "x", "group": "2"}, "group", "boolean"),
        ({"q": "x", "collection": ""}, "collection", "blank"),
        ({"q": "x", "limit": "5"}, "limit", "unknown parameter"),
    ],
)
def test_bad_parameters_are_named(client: Client, parameters: dict[str, str], name: str, says: str) -> None:
    body = problem(client.get(PATH, {"collection": "travel", **parameters}), 400)

    assert [error["pointer"] for error in body["errors"]] == [f"#/{name}"]
    assert says in body["detail"]


def test_a_collection_that_is_not_there_and_one_of_others_look_alike(client: Client, collection: Collection) -> None:
    collection.groups.add(Group.objects.create(name="drivers"))

    hidden = problem(client.get(PATH, {"q": "x", "collection": "travel"}), 404)
    missing = problem(client.get(PATH, {"q": "x", "collection": "nowhere"}), 404)

    assert hidden["detail"].replace("travel", "nowhere") == missing["detail"]
    assert "documents" in missing["detail"]


def test_who_may_search(collection: Collection) -> None:
    problem(Client().get(PATH, {"q": "x"}), 401)
    assert MAY in problem(caller(person("bob")).get(PATH, {"q": "x", "collection": "travel"}), 403)["detail"]


def test_without_the_encoder_a_vector_search_is_unavailable(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(spec: str, digest: str) -> Any:
        raise EncoderUnavailable("install the weights")

    monkeypatch.setattr(encoders, "load_exactly", missing)

    asked = {"q": "night train", "collection": "travel"}
    assert "install the weights" in problem(client.get(PATH, {**asked, "mode": "vector"}), 503)["detail"]
    assert "install the weights" in client.get(PATH, asked).json()["warnings"][0]
