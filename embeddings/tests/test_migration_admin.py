"""The page of a collection's migration."""

import pytest
from django.contrib.auth.models import Group

from embeddings.encoders import registry
from embeddings.models import Collection, Document, ModelComparison
from embeddings.tests.factories import add_chunks, fill, make_collection, make_model
from jobs.models import Job
from jobs.tests.admin_helpers import client_with, page_of, said

pytestmark = pytest.mark.django_db

MAY = ("embeddings.view_collection", "embeddings.activate_index", "embeddings.view_modelcomparison")


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    # Nothing here loads it.
    monkeypatch.setitem(registry.KINDS, "test", lambda _: None)


@pytest.fixture
def collection() -> Collection:
    made = make_collection("books", encoder="ngram", fast_encoder="", model=make_model(spec="ngram"))
    fill(made, 4)
    return made


def page(*step: str) -> str:
    return page_of("embeddings_modelcomparison", "step" if step else "migration", "books", *step)


def test_a_migration_is_begun_asked_about_and_closed_on_the_page(collection):
    client = client_with(*MAY)
    assert 'name="encoder"' in client.get(page()).content.decode()

    begun = client.post(page("begin"), {"encoder": " test "})
    assert "test embeds the collection beside ngram now." in said(begun)
    assert Job.objects.filter(task="embeddings.embed_candidate").exists()
    text = client.get(page()).content.decode()
    assert "The candidate test has embedded nothing yet; wait for its run." in text
    assert "Switch to" not in text

    refused = client.post(page("switch"), {})
    assert "The candidate test has embedded nothing yet; wait for its run." in said(refused)
    asked = client.get(page("close")).content.decode()
    assert "must be embedded anew" in asked
    assert Collection.objects.get(name="books").candidate_encoder == "test"
    closed = client.post(page("close"), {})
    assert "The migration is closed; test is forgotten." in said(closed)


def test_both_answers_stand_side_by_side_and_are_escaped(collection):
    candidate = make_model(spec="test")
    Collection.objects.filter(pk=collection.pk).update(candidate=candidate, candidate_encoder="test")
    chunk = add_chunks(collection, ["a <script>"])[0]
    Document.objects.filter(pk=chunk.document_id).update(external_id="<b>d1</b>")
    answers = [[chunk.pk, 0.5], [0, 0.4]]
    ModelComparison.objects.create(
        collection=collection,
        current=collection.model,
        candidate=candidate,
        queries=3,
        overlap=0.5,
        overlap_p5=0.1,
        current_ms=1,
        candidate_ms=2,
        samples=[{"query": "bees?", "overlap": 0.5, "current": answers, "candidate": answers}],
    )
    client = client_with(*MAY)

    text = client.get(page()).content.decode()

    assert "3 queries share 50% of their top ten" in text
    assert "&lt;b&gt;d1&lt;/b&gt;" in text
    assert "<script>" not in text.split("Answers side by side")[1].split("</section>")[0]
    assert "2 answers are hidden or deleted." in text
    listed = client.get(page_of("embeddings_modelcomparison")).content.decode()
    assert "50%, over 3 queries" in listed


def test_what_does_not_do_is_said_and_changes_nothing(collection):
    client = client_with(*MAY)
    assert "unknown encoder" in said(client.post(page("begin"), {"encoder": "nonsense"})).lower()
    assert "has no second model" in said(client.post(page("compare"), {}))
    many = said(client.post(page("compare"), {"queries": "x" * 2000}))
    assert "Up to 1,000 questions" in many
    assert "There is no collection" in said(client.get(page("explode")))
    nowhere = page_of("embeddings_modelcomparison", "migration", "nowhere")
    assert "There is no collection 'nowhere'" in said(client.get(nowhere))


def test_each_page_needs_its_permission(collection):
    reader = client_with("embeddings.view_collection")
    text = reader.get(page())
    assert text.status_code == 200
    assert 'name="encoder"' not in text.content.decode()
    assert reader.post(page("begin"), {"encoder": "test"}).status_code == 403
    assert client_with(name="nobody").get(page()).status_code == 403
    collection.groups.add(Group.objects.create(name="readers"))
    assert "There is no collection" in said(reader.get(page()))
