"""Filters on metadata let through what they say, and refuse what they do not know."""

from typing import Any

import pytest

from embeddings.models import Collection
from embeddings.services import filters
from embeddings.services.filters import FilterRefused, condition
from embeddings.services.query_text import words_of
from embeddings.services.scope import Scope
from embeddings.services.snippets import pattern_of, snippet
from embeddings.tests.searching_helpers import put, searchable

METADATA: dict[str, dict[str, Any]] = {
    "a": {"lang": "de", "year": 2019, "tags": ["red", "blue"], "author": {"name": "Ann", "born": 1970}},
    "b": {"lang": "en", "year": 2021.5, "tags": ["red"], "author": {"name": "Bob"}, "a.b": 1},
    "c": {"lang": None, "year": "2020", "tags": [], "at": "2026-01-31T08:00Z", "ok": True},
    "d": {},
}


@pytest.fixture
def collection(db: None) -> Collection:
    collection = searchable()
    put(collection, [{"id": key, "text": key, "metadata": value} for key, value in METADATA.items()], embedded=False)
    return collection


def matching(collection: Collection, given: Any) -> str:
    from embeddings.models import Document

    scope = Scope(collection.pk, None, condition(given))
    found = scope.allowed_ids()
    assert found is not None
    return "".join(
        Document.objects.filter(chunks__in=found.tolist()).order_by("external_id").values_list("external_id", flat=True)
    )


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, "abcd"),
        ({}, "abcd"),
        ({"lang": "de"}, "a"),
        ({"lang": None}, "c"),
        ({"ok": True}, "c"),
        ({"year": 2019}, "a"),
        ({"year": 2019.0}, "a"),
        ({"year": "2020"}, "c"),
        ({"tags": "red"}, "ab"),
        ({"tags": ["red"]}, "b"),
        ({"tags": []}, "c"),
        ({"author.name": "Ann"}, "a"),
        ({"author": {"eq": {"name": "Bob"}}}, "b"),
        ({"a.b": 1}, ""),
        ({r"a\.b": 1}, "b"),
        ({"lang": {"ne": "de"}}, "bcd"),
        ({"lang": {"in": ["de", "en"]}}, "ab"),
        ({"lang": {"in": []}}, ""),
        ({"lang": {"not_in": ["de"]}}, "bcd"),
        ({"tags": {"in": ["blue", "green"]}}, "a"),
        ({"year": {"in": [*range(3000, 3030), 2019]}}, "a"),
        ({"tags": {"in": [*map(str, range(30)), "blue"]}}, "a"),
        ({"year": {"gte": 2019}}, "ab"),
        ({"year": {"gt": 2019, "lte": 2021.5}}, "b"),
        ({"year": {"lt": "2021"}}, "c"),
        ({"author.born": {"lt": 10**200}}, "a"),
        ({"at": {"gte": "2026-01-01", "lt": "2026-02-01"}}, "c"),
        ({"lang": {"prefix": "d"}}, "a"),
        ({"author.born": {"exists": True}}, "a"),
        ({"lang": {"exists": False}}, "d"),
        ({"lang": "en", "year": {"gt": 2020}}, "b"),
        ({"lang": "'; DROP TABLE embeddings_document; --"}, ""),
        ({"%s' OR TRUE --": {"gt": 1}}, ""),
        ({'"}': "x"}, ""),
    ],
)
def test_what_a_filter_lets_through(collection: Collection, given: Any, found: str) -> None:
    assert matching(collection, given) == found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "it takes an object"),
        ("lang=de", "it takes an object"),
        ({"": 1}, "the key '' is none"),
        ({"a..b": 1}, "the key 'a..b' is none"),
        ({1: 1}, "no text"),
        ({"a": {}}, "'a' has no operator; choose from: eq, ne"),
        ({"a": {"like": "x"}}, "unknown operator 'like'; choose from"),
        ({"a": {"in": "x"}}, "it takes a list"),
        ({"a": {"in": [0] * 1001}}, "up to 1,000"),
        ({"a": {"gt": None}}, "a number or a text"),
        ({"a": {"gt": True}}, "a number or a text"),
        ({"a": {"gt": [1]}}, "a number or a text"),
        ({"a": {"exists": 1}}, "true or false"),
        ({"a": {"prefix": 1}}, "it takes a text"),
        ({"a": float("nan")}, "not JSON"),
        ({"a": float("inf")}, "not JSON"),
        ({"a": 10**400}, "300 digits"),
        ({"a": "x\x00"}, "cannot keep"),
        ({"a\ud800": 1}, "cannot keep"),
        ({"a": object()}, "not JSON"),
        ({"a": [[[[[[[[[1]]]]]]]]]}, "levels deep"),
        ({"a": "x" * 40_000}, "up to 32,768"),
        ({f"k{n}": 1 for n in range(21)}, "21 conditions"),
    ],
)
def test_what_is_no_filter_is_named(given: Any, says: str) -> None:
    with pytest.raises(FilterRefused) as refused:
        condition(given)
    assert says in str(refused.value)


def test_equal_values_are_found_by_the_index_on_metadata() -> None:
    sql, _ = condition({"lang": "de", "tags": {"in": ["a", "b"]}})
    assert sql.count("d.metadata @> %s::jsonb") == 6
    assert filters.FEW_VALUES == 20


# --- Snippets ----------------------------------------------------------------------------------------------------


def test_a_snippet_is_the_sentences_with_most_words_of_the_query() -> None:
    text = "Nothing here. " * 40 + "The night train to Lisbon leaves at eight. Tickets cost little. " + "More. " * 90

    found = snippet(text, pattern_of("tickets for the night train"))

    assert "The night train to Lisbon leaves at eight. Tickets cost little." in found.text
    assert found.text.startswith("… ")
    assert found.text.endswith(" …")
    assert len(found.text) <= 250
    assert [found.text[start:end] for start, end in found.marks] == ["night", "train", "Tickets"]


def test_other_forms_of_a_word_are_marked() -> None:
    found = snippet("It was tested by testing tests of a protest.", pattern_of("test"))
    assert [found.text[start:end] for start, end in found.marks] == ["tested", "testing", "tests"]


def test_common_words_and_parts_of_other_words_are_not_marked() -> None:
    found = snippet("A filename is what a file has; the files of a profile.", pattern_of("the name of a file"))
    assert [found.text[start:end] for start, end in found.marks] == ["file", "files"]
    assert words_of("of the") == ["of", "the"], "there are no others"


def test_one_long_sentence_is_cut_around_the_first_word() -> None:
    found = snippet("word " * 200 + "needle " + "word " * 200, pattern_of("needle"))
    assert "needle" in found.text
    assert len(found.text) <= 250


def test_html_is_escaped() -> None:
    found = snippet("<b>needle</b> & <script>x</script>", pattern_of("needle script"))
    assert str(found.html()) == (
        "&lt;b&gt;<mark>needle</mark>&lt;/b&gt; &amp; &lt;<mark>script</mark>&gt;x&lt;/<mark>script</mark>&gt;"
    )


def test_excluded_words_are_not_looked_for() -> None:
    assert words_of('night -train -"to Lisbon" well-known') == ["night", "well", "known"]
    assert snippet("night and train", pattern_of("-night")).marks == ()


@pytest.mark.parametrize("text", ["", " \n ", "…", "x" * 5000])
def test_any_text_has_a_snippet(text: str) -> None:
    assert len(snippet(text, pattern_of("x")).text) <= 250
