"""Searches by words: which words count, and that none of them keeps Postgres busy."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from embeddings.models import Collection
from embeddings.services import words
from embeddings.services.asking import SearchUnavailable
from embeddings.services.query_text import MOST_WORDS, for_postgres, parts_of
from embeddings.services.scope import Scope
from embeddings.services.searching import search
from embeddings.tests.searching_helpers import put, searchable
from jobs.tests.api_client import caller, person

HELP = {
    "gzip": "To compress files, gzip is what most people take.",
    "tar": "Many files are put into one file by tar, with a list of them.",
    "tea": "Tea is made with a pot and hot water.",
}


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("a b " * 500, "a b"),
        ("-a " * 600, "-a"),
        ("the " * 499, "the"),
        ("the or of or a or to " * 80, "the or of or a or to"),
        ('"night train" -Lisbon or OR "night train" Lisbon', '"night train" -Lisbon or Lisbon'),
        ("or night or", "night"),
        ('"not closed', '"not closed"'),
        ("! & | ''", ""),
    ],
)
def test_each_word_is_asked_for_once(query: str, asked: str) -> None:
    assert for_postgres(query, "english") == asked


@pytest.mark.parametrize("query", [" ".join(f"w{n}" for n in range(300)), "a-" * 900, '"' + "x y " * 400, "-a" * 600])
def test_a_query_counts_with_its_first_words(query: str) -> None:
    assert sum(len(part.words()) for part in parts_of(query)) == MOST_WORDS


def test_common_words_are_left_out_where_postgres_knows_none() -> None:
    assert for_postgres("How do I compress a file with gzip?", "simple") == "compress file gzip?"
    assert for_postgres('"to be" or not -the', "simple") == '"to be" -the'
    assert for_postgres("to be or not to be", "simple") == "to be or not"


def test_a_question_is_answered_by_words_before_anything_is_embedded(db: None) -> None:
    collection = searchable(model=None)
    put(collection, [{"id": key, "text": text} for key, text in HELP.items()], embedded=False)

    answer = search(None, "compress a file with gzip", collection=collection.name)

    assert [hit.id for hit in answer.hits] == ["gzip"]
    assert "nothing is embedded yet" in answer.warnings[0]


def test_other_forms_of_words_are_found_in_the_collection_that_is_there_from_the_start(db: None) -> None:
    Collection.objects.filter(name="documents").delete()
    import_module("embeddings.migrations.0003_first_collection").make(apps, None)
    collection = Collection.objects.get(name="documents")
    put(collection, [{"id": "money", "text": "A refund is paid within a week."}], embedded=False)

    assert [hit.id for hit in search(None, "how do refunds work").hits] == ["money"]


def test_short_words_do_not_have_to_match(db: None) -> None:
    collection = searchable(HELP)
    assert [hit.id for hit in search(None, "compress xz gzip qq", collection=collection.name, mode="text").hits] == [
        "gzip"
    ]


# --- What takes Postgres too long --------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up by words takes longer than a search waits for it."""
    really = Scope.named_sql

    def slowly(self: Scope) -> tuple[str, dict[str, Any]]:
        sql, parameters = really(self)
        return f"{sql} AND pg_sleep(0.5) IS NOT NULL", parameters

    monkeypatch.setattr(Scope, "named_sql", slowly)
    monkeypatch.setattr(words, "SECONDS", 0.05)


def test_words_that_take_too_long_leave_the_hits_by_vector(db: None, slow: None) -> None:
    collection = searchable(HELP)

    answer = search(None, "a pot of tea", collection=collection.name)

    assert answer.hits[0].id == "tea"
    assert answer.hits[0].tier == "main"
    assert "fewer or rarer words" in answer.warnings[0]
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone()[0] == "0"


def test_words_alone_that_take_too_long_are_told_as_what_they_are(db: None, slow: None) -> None:
    collection = searchable(HELP)
    with pytest.raises(SearchUnavailable, match="fewer or rarer words"):
        search(None, "tea", collection=collection.name, mode="text")

    asked = {"q": "tea", "collection": collection.name, "mode": "text"}
    refused = caller(person("ann", "embeddings.search_collection")).get("/api/v1/search/", asked)

    assert refused.status_code == 503
    assert refused.json()["type"].endswith(":search-unavailable")
    assert "fewer or rarer words" in refused.json()["detail"]
