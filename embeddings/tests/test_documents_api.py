"""/api/v1/documents/: what it takes, what it answers, and to whom."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from embeddings.models import Collection, Document
from embeddings.services import documents
from embeddings.tests.factories import make_collection
from jobs.tests.api_client import caller, person, post, problem, root

pytestmark = pytest.mark.django_db
V1 = "/api/v1/documents/"
ALL = tuple(f"embeddings.{verb}_document" for verb in ("view", "add", "change", "delete"))


@pytest.fixture
def notes() -> Collection:
    return make_collection("notes", fast_encoder="")


def put(client: Client, body: Any, query: str = "?collection=notes") -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.put(f"{V1}{query}", data, content_type="application/json")


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


def test_documents_are_stored_shown_and_deleted(api: Client, notes: Collection) -> None:
    body = [{"id": "a/b c?", "text": "one", "metadata": {"k": [1]}}, {"id": "b", "text": "two"}]

    assert put(api, body).json() == {"created": 2, "updated": 0, "unchanged": 0, "errors": []}
    assert put(api, body).json() == {"created": 0, "updated": 0, "unchanged": 2, "errors": []}

    path = f"{V1}{quote('a/b c?')}/?collection=notes"
    shown = api.get(path).json()
    assert (shown["id"], shown["text"], shown["metadata"], shown["state"]) == ("a/b c?", "one", {"k": [1]}, "pending")
    assert [(piece["start"], piece["end"], piece["state"]) for piece in shown["pieces"]] == [(0, 3, "pending")]
    assert api.delete(path).status_code == 204
    assert "a/b c?" in problem(api.get(path), 404)["detail"]
    assert post(api, f"{V1}delete/?collection=notes", {"ids": ["b", "unknown"]}).json() == {"deleted": 1}
    assert not Document.objects.exists()


def test_the_usual_collection_is_meant_where_none_is_named(api: Client) -> None:
    Collection.objects.filter(name="documents").update(fast_encoder="")
    assert put(api, [{"id": "a", "text": "one"}], "").json()["created"] == 1

    assert ids(api.get(V1)) == ["a"]


def test_good_ones_are_stored_and_bad_ones_told(api: Client, notes: Collection) -> None:
    answer = put(api, '[{"id": "n", "text": "\\u0000"}, {"id": "s", "text": "\\ud800"}, {"id": "ok", "text": "x"}, 7]')

    assert answer.status_code == 200
    assert (answer.json()["created"], [error["index"] for error in answer.json()["errors"]]) == (1, [0, 1, 3])
    assert "NUL" in answer.json()["errors"][0]["error"]


def test_where_nothing_is_good_the_answer_is_a_problem_that_points_at_each(api: Client, notes: Collection) -> None:
    errors = problem(put(api, [{"id": "a", "text": ""}, {"id": 1, "text": "x"}]), 400)["errors"]

    assert [error["pointer"] for error in errors] == ["#/0", "#/1"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"id": "a", "text": "x"}, 400, "takes a list"),
        ("null", 400, "takes a list"),
        ("[NaN]", 400, "NaN is not JSON"),
        (b'[{"id": "\xff"}]', 400, "not UTF-8"),
        ("[" * 200 + "]" * 200, 400, "100 levels"),
        ('[{"id": "a"', 400, "not JSON"),
        ([{"id": str(number), "text": "x"} for number in range(1001)], 400, "1,000"),
    ],
)
def test_a_body_that_is_no_list_of_documents_is_refused(
    api: Client, notes: Collection, body: Any, status: int, said: str
) -> None:
    assert said in problem(put(api, body), status)["detail"]


def test_a_body_that_is_too_large_is_refused_as_such(
    api: Client, notes: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embeddings.api.document_views.DocumentsParser.max_bytes", 2_000_000)
    large = [{"id": str(number), "text": "x", "metadata": {"k": "x" * 60_000}} for number in range(20)]
    assert put(api, large).json()["created"] == 20

    assert "fewer documents" in problem(put(api, [*large, *large]), 413)["detail"]


@pytest.mark.parametrize(
    "query",
    [
        *("?state=lost", "?cursor=x", "?page_size=0", "?order=id", "?search=" + "x" * 256, "?search=%00"),
        *("?cursor=WyJuZXh0IiwiMjAyNi0xMS0yMVQwMDowMFoiLCJ4Il0", "?collection=" + "x" * 64),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(api: Client, query: str) -> None:
    problem(api.get(f"{V1}{query}"), 400)


@pytest.mark.parametrize("name", ["nots", "%00", "\ud83d\ude42".encode("utf-16", "surrogatepass").decode("utf-16")])
def test_an_unknown_collection_is_not_found(api: Client, notes: Collection, name: str) -> None:
    status = 400 if name == "%00" else 404
    problem(api.get(f"{V1}?collection={name}"), status)
    problem(put(api, [{"id": "a", "text": "x"}], f"?collection={name}"), status)


def test_the_list_is_paged_the_last_changed_first_and_by_id_when_searched(api: Client, notes: Collection) -> None:
    for name in ("b/2", "a/1", "b/1", "b/3"):
        put(api, [{"id": name, "text": name}])

    assert ids(api.get(f"{V1}?collection=notes")) == ["b/3", "b/1", "a/1", "b/2"]
    first = api.get(f"{V1}?collection=notes&page_size=3")
    rest = api.get(first.json()["next"])
    assert (ids(first), ids(rest)) == (["b/3", "b/1", "a/1"], ["b/2"])
    assert ids(api.get(rest.json()["previous"])) == ids(first)
    first = api.get(f"{V1}?collection=notes&search=b/&page_size=2")
    assert (ids(first), ids(api.get(first.json()["next"]))) == (["b/1", "b/2"], ["b/3"])
    assert ids(api.get(f"{V1}?collection=notes&state=pending&search=a")) == ["a/1"]
    assert ids(api.get(f"{V1}?collection=notes&state=embedded")) == []


@pytest.mark.parametrize(
    ("lacking", "call"),
    [
        ("view", lambda api: api.get(f"{V1}?collection=notes")),
        ("view", lambda api: api.get(f"{V1}a/?collection=notes")),
        ("add", lambda api: put(api, [{"id": "b", "text": "x"}])),
        ("change", lambda api: put(api, [{"id": "b", "text": "x"}])),
        ("delete", lambda api: api.delete(f"{V1}a/?collection=notes")),
        ("delete", lambda api: post(api, f"{V1}delete/?collection=notes", {"ids": ["a"]})),
    ],
)
def test_each_call_needs_its_permission(notes: Collection, lacking: str, call: Callable[[Client], Any]) -> None:
    documents.put(None, notes, [{"id": "a", "text": "x"}])
    without = [one for one in ALL if one != f"embeddings.{lacking}_document"]

    assert f"{lacking}_document" in problem(call(caller(person("ann", *without))), 403)["detail"]
    assert call(caller(person("bob", *ALL))).status_code < 300


@pytest.mark.parametrize("whole_collection", [True, False])
def test_what_is_for_a_group_is_not_there_for_others(notes: Collection, whole_collection: bool) -> None:
    team = Group.objects.create(name="team")
    if whole_collection:
        notes.groups.add(team)
    documents.put(None, notes, [{"id": "a", "text": "x", "groups": [] if whole_collection else ["team"]}])
    member, other = person("member", *ALL), person("other", *ALL)
    member.groups.add(team)
    inside, outside = caller(member), caller(other)

    assert ids(inside.get(f"{V1}?collection=notes")) == ["a"]
    listed = outside.get(f"{V1}?collection=notes")
    assert (listed.status_code == 404) if whole_collection else (ids(listed) == [])
    problem(outside.get(f"{V1}a/?collection=notes"), 404)
    problem(outside.delete(f"{V1}a/?collection=notes"), 404)
    problem(put(outside, [{"id": "a", "text": "mine"}]), 404 if whole_collection else 400)
    assert ids(root().get(f"{V1}?collection=notes")) == ["a"]
    assert Document.objects.get().text == "x"


@pytest.mark.parametrize("one", [1, True, 1.5, None, ["a"]])
def test_what_is_no_id_is_not_deleted(api: Client, notes: Collection, one: Any) -> None:
    api.put("/api/v1/documents/?collection=notes", [{"id": "1", "text": "x"}], content_type="application/json")

    refused = api.post("/api/v1/documents/delete/?collection=notes", {"ids": [one]}, content_type="application/json")

    assert refused.status_code == 400
    assert api.get("/api/v1/documents/1/?collection=notes").status_code == 200


def test_a_document_may_be_called_delete(api: Client, notes: Collection) -> None:
    put(api, [{"id": "delete", "text": "x"}])

    assert api.get(f"{V1}delete/?collection=notes").json()["id"] == "delete"
    assert api.delete(f"{V1}delete/?collection=notes").status_code == 204


def test_a_list_takes_as_many_statements_for_many_documents_as_for_few(
    api: Client, notes: Collection, django_assert_max_num_queries: Any
) -> None:
    Group.objects.create(name="team")
    put(api, [{"id": str(number), "text": "x", "groups": ["team"]} for number in range(30)])

    with django_assert_max_num_queries(12):
        assert len(ids(api.get(f"{V1}?collection=notes"))) == 30
