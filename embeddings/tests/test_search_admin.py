"""The search page of the admin."""

import re

import pytest
from django.contrib.auth.models import Group

from embeddings.models import Collection
from embeddings.tests.searching_helpers import put, searchable
from jobs.tests.admin_helpers import client_with

PATH = "/admin/embeddings/search/"
MAY = "embeddings.search_collection"


@pytest.fixture
def collection(db: None) -> Collection:
    collection = searchable(name="travel")
    put(
        collection,
        [
            {"id": "<trains>", "text": "The night train <script>alert(1)</script> leaves.", "metadata": {"a": "<i>"}},
            {"id": "bread", "text": "Bread is baked early in the morning."},
        ],
    )
    return collection


def test_the_page_shows_hits_with_their_scores_explained(collection: Collection) -> None:
    client = client_with(MAY)

    page = client.get(PATH, {"q": "night train", "collection": "travel", "mode": "hybrid", "k": "5"}).content.decode()

    assert "1st by vector" in page
    assert page.count("which adds 0.0164") == 2
    assert "which adds 0.0161; together 0.0161" in page, "what was found by vector alone"
    assert "1st by words" in page
    assert "<mark>night</mark>" in page
    assert "<script>alert(1)" not in page
    assert "<i>" not in page
    assert "&lt;trains&gt;" in page
    assert "none yet: vectors are compared one by one" in page
    assert "/api/v1/search/?q=night+train" in page


def test_what_was_left_out_is_shown_as_what_was_used(collection: Collection) -> None:
    for asked in ({"q": "bread"}, {"q": "bread", "k": "", "mode": ""}):
        page = client_with(MAY, name=f"ann{len(asked)}").get(PATH, {**asked, "collection": "travel"}).content.decode()
        assert re.search(r'<input type="number" name="k" value="10"', page)
        assert "1. bread" in page


def test_documents_are_linked_for_those_who_may_see_them(collection: Collection) -> None:
    page = client_with(MAY, "embeddings.view_document").get(PATH, {"q": "bread", "collection": "travel"})
    assert 'href="/admin/embeddings/document/' in page.content.decode()
    without = client_with(MAY, name="bob").get(PATH, {"q": "bread", "collection": "travel"})
    assert 'href="/admin/embeddings/document/' not in without.content.decode()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"q": ""}, "give the text to search for"),
        ({"q": "x", "k": "0"}, "greater than or equal to 1"),
        ({"q": "x", "k": "a"}, "Enter a whole number"),
        ({"q": "x", "mode": "best"}, "Select a valid choice"),
        ({"q": "x", "mode": "fast"}, "no fast tier"),
        ({"q": "x", "filter": "{"}, "This is not JSON"),
        ({"q": "x", "filter": '{"a": {"like": 1}}'}, "unknown operator"),
        ({"q": "x", "collection": "nowhere"}, "Select a valid choice"),
        ({"q": "a\x00"}, "Null characters"),
    ],
)
def test_what_cannot_be_searched_is_said_at_its_field(collection: Collection, asked: dict[str, str], says: str) -> None:
    answer = client_with(MAY).get(PATH, {"collection": "travel", **asked})
    assert answer.status_code == 200
    assert says in answer.content.decode()


def test_the_page_is_in_the_sidebar_of_those_who_may_search(collection: Collection) -> None:
    link = f'href="{PATH}"'
    assert link in client_with(MAY).get(PATH).content.decode()
    bob = client_with("jobs.view_job", name="bob")
    assert link not in bob.get("/admin/").content.decode()
    assert bob.get(PATH).status_code == 403


def test_collections_of_other_groups_are_not_offered(collection: Collection) -> None:
    collection.groups.add(Group.objects.create(name="drivers"))
    assert ">travel<" not in client_with(MAY).get(PATH).content.decode()
