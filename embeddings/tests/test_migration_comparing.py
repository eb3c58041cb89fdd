"""Comparing two models of a collection before it moves, and the jobs of a migration."""

from typing import Any

import pytest
from django.db.models.functions import Now

from embeddings.encoders import registry
from embeddings.encoders.base import EncoderUnavailable
from embeddings.models import (
    Chunk,
    ModelComparison,
)
from embeddings.services import (
    builds,
    candidates,
    comparing,
    comparison_samples,
    migration,
    pointer,
    runs,
)
from embeddings.services.migration_state import (
    CandidateNotReady,
    NoMigration,
    cover,
    status,
)
from embeddings.tests.factories import add_chunks, make_collection
from embeddings.tests.migrating import NEW, OLD, TEXTS, Words, again, embedded_by_old, prepare, words_known
from jobs import Discard
from jobs.models import Job
from jobs.operators.actors import Actor, command_actor
from jobs.tests.in_process import run_all

#: Builds read by connections of their own, and so only what is committed.
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def words(monkeypatch):
    with words_known(monkeypatch):
        yield


@pytest.fixture
def actor() -> Actor:
    return command_actor()


@pytest.fixture
def collection() -> Any:
    """Embedded by OLD, with its index in use."""
    return embedded_by_old()


# --- comparing ---


@committed
def test_shadow_queries_are_answered_by_both_and_their_agreement_is_kept(actor, collection):
    prepare(actor, collection)

    report = comparing.compare(collection.name, ["rain on stone", "trees"])

    kept = ModelComparison.objects.get(pk=report["comparison"])
    assert (kept.queries, kept.current, kept.candidate) == (2, collection.model, again(collection).candidate)
    assert 0 < kept.overlap < 1
    assert kept.overlap_p5 <= kept.overlap
    assert kept.current_ms > 0
    assert kept.candidate_ms > 0
    sample = kept.samples[0]
    assert sample["query"] in ("rain on stone", "trees")
    assert len(sample["current"]) == len(sample["candidate"]) == 10
    ids = set(Chunk.objects.filter(collection=collection).values_list("pk", flat=True))
    assert {chunk for side in ("current", "candidate") for chunk, _ in sample[side]} <= ids
    assert comparison_samples.shown(kept)[0]["current"][0]["document"].startswith("d")
    assert status(again(collection)).comparison == kept


@pytest.mark.long
@committed
def test_without_questions_texts_of_the_collection_are_asked_and_are_no_answers_to_themselves(actor, collection):
    prepare(actor, collection)

    report = comparing.compare(collection.name)

    kept = ModelComparison.objects.get(pk=report["comparison"])
    assert 5 < kept.queries <= len(TEXTS)
    assert not any(text in str(kept.samples) for text in TEXTS)
    for sample in comparison_samples.shown(kept):
        for side in ("current", "candidate"):
            assert sample["query"] not in [answer["text"] for answer in sample[side]]


@pytest.mark.long
@committed
def test_documents_that_have_gone_since_are_not_compared(actor, collection):
    prepare(actor, collection)
    Chunk.objects.filter(document__text__contains="rain").delete()

    comparing.compare(collection.name, ["rain"])

    texts = str(comparison_samples.shown(ModelComparison.objects.get())[0]["current"])
    assert "trees" in texts
    assert "rain" not in texts


@pytest.mark.long
@committed
def test_comparing_needs_an_index_of_both(actor, collection):
    with pytest.raises(NoMigration, match="begin a migration"):
        comparing.compare(collection.name)
    migration.begin(actor, collection.name, NEW)
    with pytest.raises(CandidateNotReady, match=f"no index of {NEW} has passed the gate yet"):
        comparing.compare(collection.name)
    with pytest.raises(Discard, match=f"no index of {NEW} has passed the gate yet"):
        candidates.compare(collection.name, None)


# --- by jobs ---


@committed
def test_begin_sends_jobs_that_embed_build_and_compare(actor, collection):
    migration.begin(actor, collection.name, NEW)

    run_all()

    sent = Job.objects.filter(task__startswith="embeddings.").exclude(task="embeddings.embed_batch")
    states = dict(sent.values_list("task", "state"))
    assert states == {
        "embeddings.embed_candidate": "succeeded",
        "embeddings.build_candidate": "succeeded",
        "embeddings.compare_models": "succeeded",
    }
    found = status(again(collection))
    assert (found.step, found.coverage.missing, found.why_not) == ("candidate", 0, "")
    assert found.comparison.queries > 5
    migration.switch(actor, collection.name)
    assert again(collection).active_version.model.spec == NEW


@pytest.mark.long
@committed
def test_a_candidate_that_cannot_be_loaded_fails_its_job_and_leaves_the_collection_as_it_is(
    actor, collection, monkeypatch
):
    def load(name: str):
        raise EncoderUnavailable("its weights are not here; fetch them")

    monkeypatch.setitem(registry.KINDS, "gone:", load)
    migration.begin(actor, collection.name, "gone:1")

    run_all()

    failed = Job.objects.get(task="embeddings.embed_candidate")
    assert failed.state == "scheduled", "for its next attempt"
    assert "its weights are not here; fetch them" in failed.error
    assert not Job.objects.filter(task="embeddings.build_candidate").exists()
    assert again(collection).active_version == collection.active_version
    assert "has embedded nothing yet" in status(again(collection)).why_not

    monkeypatch.setitem(registry.KINDS, "gone:", lambda name: Words("8"))
    Job.objects.filter(pk=failed.pk).update(run_at=Now())
    run_all()
    failed.refresh_from_db()
    assert failed.state == "succeeded"
    assert cover(again(collection), again(collection).candidate).missing == 0


@pytest.mark.long
@committed
def test_workers_take_a_collection_to_another_model(live_worker, until):
    from embeddings.tests import encoder_doubles

    registry.KINDS.setdefault("double:", encoder_doubles.Double)
    made = make_collection(encoder="double:one", fast_encoder="")
    add_chunks(made, TEXTS)
    runs.embed_all(made.name)
    builds.build(made.name)
    pointer.swap_to_newest(made.name)
    live_worker("embedding", "indexing", TASK_MODULES="jobs.tests.probe_tasks,embeddings.tests.encoder_doubles")

    migration.begin(command_actor(), made.name, "double:two")

    until(lambda: ModelComparison.objects.filter(collection=made).exists(), 60)
    assert ModelComparison.objects.get().overlap == 1.0, "both doubles make the same vectors"
    migration.switch(command_actor(), made.name)
    assert again(made).active_version.model.spec == "double:two"


@committed
def test_a_collection_without_an_index_gets_one_to_compare_the_candidates_with(actor):
    bare = make_collection(encoder=OLD, fast_encoder="")
    add_chunks(bare, TEXTS)
    moving = prepare(actor, bare)

    assert moving.active_version.model == moving.model
    candidates.compare(moving.name, None)
    assert status(moving).comparison is not None
