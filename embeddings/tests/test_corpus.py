"""Other parts of the system keep and search documents of their own."""

import math

import pytest

from embeddings.corpus import Corpus
from embeddings.models import Chunk, Collection, Document
from embeddings.services.asking import SearchRefused
from embeddings.services.collections import UnknownCollection
from embeddings.services.document_lists import UnknownDocument
from embeddings.serving import reader
from embeddings.tests.searching_helpers import DAMAGES, damage, embed, ngram_model

pytestmark = pytest.mark.django_db

ISSUES = {
    "12": "Login fails with error 500 after the password was reset",
    "13": "After a reset of the password, the login page shows error 500",
    "14": "Dark colours for the calendar",
    "15": "Login fails with error 500 on Tuesdays, and the password is refused",
}


@pytest.fixture
def issues() -> Corpus:
    corpus = Corpus.ensure("issues", description="Issues", fast_encoder="")
    Collection.objects.filter(name="issues").update(model=ngram_model())
    result = corpus.put(
        {"id": key, "text": text, "metadata": {"state": "closed" if key == "15" else "open"}}
        for key, text in ISSUES.items()
    )
    assert (result.created, result.errors) == (4, [])
    embed(Collection.objects.get(name="issues"), ngram_model())
    return corpus


def test_a_collection_is_made_once() -> None:
    assert Corpus.ensure("todos", language="english").name == "todos"
    assert Corpus.ensure("todos", language="german").name == "todos"
    assert Collection.objects.get(name="todos").language == "english"


def test_documents_are_found_and_deleted(issues: Corpus) -> None:
    assert issues.search("login error", k=1)[0].id in {"12", "13", "15"}
    assert {hit.id for hit in issues.search("login error 500", filters={"state": "closed"})} == {"15"}

    assert issues.delete(["12", "13", "15", "none"]) == 3
    assert {hit.id for hit in issues.search("login error 500")} == {"14"}


def test_a_single_document_or_id_is_not_taken_for_a_list(issues: Corpus) -> None:
    with pytest.raises(TypeError, match="list of ids, not a str; put"):
        issues.delete("12")
    for one in ("abc", {"id": "abc", "text": "x"}):
        with pytest.raises(TypeError, match="list of documents"):
            issues.put(one)  # type: ignore[arg-type]  # that is the point
    assert Document.objects.count() == len(ISSUES)


def test_similar_documents_leave_out_the_one_itself(issues: Corpus) -> None:
    assert issues.similar("12", k=2)[0].id in {"13", "15"}
    assert {hit.id for hit in issues.similar("12", k=10)} == {"13", "14", "15"}
    assert [hit.id for hit in issues.similar("12", filters={"state": "open"})] == ["13", "14"]


def test_similar_to_a_text_of_any_length(issues: Corpus) -> None:
    assert issues.similar(text="The password was reset, and the login fails " * 2_000, k=1)[0].id in {"12", "13"}


def test_a_document_that_is_not_embedded_yet_has_similar_ones(issues: Corpus) -> None:
    issues.put([{"id": "16", "text": "Dark colours for the calendar, please"}])
    reader.forget()
    assert issues.similar("16", k=1)[0].id == "14"


def test_a_long_document_is_compared_by_all_of_its_chunks(issues: Corpus) -> None:
    issues.put([{"id": "long", "text": "Dark colours for the calendar. " * 300}])
    embed(Collection.objects.get(name="issues"), ngram_model())
    reader.forget()
    assert Document.objects.get(external_id="long").chunks.count() > 3
    assert issues.similar("long", k=1)[0].id == "14"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_vector_is_nothing_to_compare_by(issues: Corpus, how: str) -> None:
    damage(ngram_model(), how, Chunk.objects.get(document__external_id="12").pk)

    hits = issues.similar("12", k=10)

    assert [hit.id for hit in hits] == ["13", "15", "14"]
    assert all(math.isfinite(hit.score) for hit in hits)


def test_what_is_not_there_is_named(issues: Corpus) -> None:
    with pytest.raises(UnknownDocument):
        issues.similar("99")
    with pytest.raises(UnknownCollection, match="'nowhere'"):
        Corpus("nowhere").search("x")
    with pytest.raises(ValueError, match="one of both"):
        issues.similar()
    with pytest.raises(SearchRefused, match="give the text"):
        issues.similar(text=" ")
    with pytest.raises(SearchRefused, match="from 1 to 100"):
        issues.similar("12", k=0)
