"""Samples of a comparison: none outlives its document, and each reader sees their own part of them."""

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.core.management import call_command

from embeddings.models import Chunk, Collection, Document, ModelComparison
from embeddings.services import comparison_samples
from embeddings.tests.factories import add_chunks, make_collection, make_model
from jobs.tests.admin_helpers import client_with, page_of
from jobs.tests.api_client import caller, person

pytestmark = pytest.mark.django_db

OPEN, SECRET = "The weather is rather mild. And so on.", "The merger closes in March. And so on."
MAY = ("embeddings.view_collection", "embeddings.activate_index", "embeddings.view_modelcomparison")
PATH = "/api/v1/collections/books/migration/"


@pytest.fixture
def collection() -> Collection:
    return make_collection(
        "books",
        encoder="ngram",
        fast_encoder="",
        model=make_model(spec="ngram"),
        candidate=make_model(spec="test"),
        candidate_encoder="test",
    )


@pytest.fixture
def chunks(collection: Collection) -> list[Chunk]:
    """Of a document that all see, and of one that the group "board" sees."""
    made = add_chunks(collection, [OPEN, SECRET])
    board = Group.objects.create(name="board")
    for chunk, name, groups in zip(made, ("weather", "merger"), ([], [board.pk]), strict=True):
        Document.objects.filter(pk=chunk.document_id).update(external_id=name, group_ids=groups)
    return made


def compared(collection: Collection, samples: list[dict[str, Any]]) -> ModelComparison:
    assert collection.model is not None
    assert collection.candidate is not None
    return ModelComparison.objects.create(
        collection=collection,
        current=collection.model,
        candidate=collection.candidate,
        queries=2,
        overlap=0.5,
        overlap_p5=0.1,
        current_ms=1,
        candidate_ms=2,
        samples=samples,
    )


@pytest.fixture
def comparison(collection: Collection, chunks: list[Chunk]) -> ModelComparison:
    answers = [(chunk.pk, 0.5) for chunk in chunks]
    samples = [comparison_samples.kept(f"of {n}", chunk.pk, 1, answers, answers) for n, chunk in enumerate(chunks)]
    return compared(collection, [*samples, comparison_samples.kept("asked by hand", None, 1, answers, [])])


def test_the_text_of_a_document_is_not_kept_and_a_question_is(comparison: ModelComparison) -> None:
    assert [sample.get("query") for sample in comparison.samples] == [None, None, "asked by hand"]
    assert "weather" not in str(comparison.samples)
    assert "merger" not in str(comparison.samples)


def test_who_may_not_see_a_document_sees_it_neither_as_query_nor_as_answer(comparison: ModelComparison) -> None:
    shown = comparison_samples.shown(comparison, person("ann"))

    assert [sample["query"] for sample in shown] == ["The weather is rather mild.", None, "asked by hand"]
    assert [[one["document"] for one in sample["current"]] for sample in shown] == [["weather"], [], ["weather"]]
    assert [sample["left_out"] for sample in shown] == [2, 4, 1]
    member = person("bob")
    member.groups.add(Group.objects.get(name="board"))
    assert [one["text"] for one in comparison_samples.shown(comparison, member)[1]["current"]] == [OPEN, SECRET]


@pytest.mark.parametrize("gone", [False, True])
def test_neither_the_api_nor_the_page_tells_what_is_hidden_or_deleted(comparison: ModelComparison, gone: bool) -> None:
    if gone:
        Chunk.objects.filter(document__external_id="merger").delete()
        Document.objects.filter(external_id="merger").delete()
    answer = caller(person("ann", *MAY)).get(PATH)
    page = client_with(*MAY, name="bob").get(page_of("embeddings_modelcomparison", "migration", "books"))

    assert [one["query"] for one in answer.json()["comparison"]["samples"]] == [
        "The weather is rather mild.",
        None,
        "asked by hand",
    ]
    assert "(hidden or deleted)" in page.content.decode()
    for text in (answer.content.decode(), page.content.decode()):
        assert "merger" not in text
        assert "weather" in text


def test_the_command_sees_all_that_is_there(comparison: ModelComparison, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("migrate_model", "books", "status", "--json")
    assert "The merger closes in March." in capsys.readouterr().out
    Document.objects.filter(external_id="merger").delete()
    call_command("migrate_model", "books", "status", "--json")
    assert "merger" not in capsys.readouterr().out


def test_samples_that_hold_texts_are_emptied_by_the_migration_and_never_shown(collection: Collection) -> None:
    answer = {"document": "merger", "text": SECRET, "score": 0.5}
    old = compared(collection, [{"query": SECRET, "overlap": 1, "current": [answer], "candidate": []}])
    assert comparison_samples.shown(old) == []

    importlib.import_module("embeddings.migrations.0008_samples_without_texts").empty(apps, None)

    old.refresh_from_db()
    assert old.samples == []
