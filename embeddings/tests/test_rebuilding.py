"""Chains that embed, build and swap: asked for, each hour, and when much is new."""

from uuid import uuid4

import pytest
from django.db.models import F
from django.db.models.functions import Now

from embeddings.models import (
    Collection,
    EmbeddingRun,
    RunKind,
    RunState,
    VersionState,
)
from embeddings.services import rebuilding, runs, versions
from embeddings.tasks import build_faiss_index, hot_swap_index
from embeddings.tests.batch_runs import collection_of, texts
from embeddings.tests.factories import add_chunks, make_model
from jobs.models import Job, State
from jobs.operators.actors import Actor
from jobs.tests.in_process import next_queued, run_all, run_job

pytestmark = pytest.mark.django_db
#: Jobs are run in the test's own process, which sees only what is committed.
runs_jobs = pytest.mark.django_db(transaction=True)
OPERATOR = Actor(name="olga", via="command")


def _ran(ids: list[str]) -> list[str]:
    return [Job.objects.get(pk=pk).task for pk in ids]


def test_a_rebuild_sends_embedding_building_and_swapping_in_turn() -> None:
    collection = collection_of(*texts(5))
    job_id = rebuilding.rebuild(OPERATOR, collection)

    job = Job.objects.get(pk=job_id)
    assert (job.task, job.kwargs) == ("embed_all_documents", {"collection": collection.name})
    assert [step["task"] for step in reversed(job.embed["chain"])] == ["build_faiss_index", "hot_swap_index"]
    assert rebuilding.rebuild(OPERATOR, collection) == job_id, "the same is under way"


def test_the_hourly_job_sends_a_chain_for_each_collection_that_has_something_once() -> None:
    filled, _ = collection_of("a"), collection_of()

    assert rebuilding.rebuild_all() == {"sent": [filled.name], "still_under_way": []}
    assert rebuilding.rebuild_all() == {"sent": [], "still_under_way": [filled.name]}
    assert Job.objects.count() == 1


def test_a_run_asked_for_by_itself_does_not_keep_the_hourly_chain_away() -> None:
    collection = collection_of("a")
    runs.start(OPERATOR, collection)

    assert rebuilding.rebuild_all()["sent"] == [collection.name]
    build_faiss_index.delay(collection=collection.name)
    assert rebuilding.rebuild_all()["sent"] == []


@pytest.mark.long
@runs_jobs
def test_much_that_is_new_has_the_index_rebuilt_before_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "LEAST_BESIDE", 5)
    collection = collection_of(*texts(4))
    runs.catch_up(collection.name)
    assert _ran(run_all()) == ["embeddings.embed_batch"]

    add_chunks(collection, texts(4, "more"))
    runs.catch_up(collection.name)
    job = next_queued()
    assert job is not None
    run_job(job.pk)
    following = next_queued()
    assert following is not None
    assert following.task == "build_faiss_index"
    assert following.embed["chain"][0]["task"] == "hot_swap_index"


def much_is_new(collection: Collection, count: int = rebuilding.LEAST_BESIDE) -> None:
    """A run that has just ended, and the model that it was by."""
    if collection.model is None:
        collection.model = make_model()
        collection.save()
    ended = {"state": RunState.DONE, "finished_at": Now(), "kind": RunKind.CATCH_UP}
    EmbeddingRun.objects.create(collection=collection, model=collection.model, encoded=count, **ended)


def test_a_run_that_ends_while_a_chain_is_under_way_has_the_index_rebuilt_when_that_ends() -> None:
    collection = collection_of()
    build = build_faiss_index.delay(collection=collection.name)
    much_is_new(collection)
    assert rebuilding.rebuild_if_much_is_new(collection) is None
    # Its build began before the run ended.
    Job.objects.filter(pk=build.id).update(state=State.SUCCEEDED, started_at=F("created_at"), finished_at=Now())

    done = hot_swap_index(collection=collection.name)

    following = Job.objects.get(pk=done["rebuilt_by"])
    assert (following.task, following.embed["chain"][0]["task"]) == ("build_faiss_index", "hot_swap_index")
    assert "rebuilt_by" not in hot_swap_index(collection=collection.name), "it is under way"


def test_a_build_that_found_nothing_changed_is_not_sent_again_until_more_comes() -> None:
    collection = collection_of()
    much_is_new(collection)
    build = build_faiss_index.delay(collection=collection.name)
    Job.objects.filter(pk=build.id).update(state=State.SUCCEEDED, started_at=Now(), finished_at=Now())
    assert "rebuilt_by" not in hot_swap_index(collection=collection.name)

    much_is_new(collection)
    assert "rebuilt_by" in hot_swap_index(collection=collection.name)


def test_a_refused_build_counts_as_one_too() -> None:
    collection = collection_of()
    much_is_new(collection)
    assert collection.model is not None
    versions.end(versions.begin(collection, collection.model, {}), VersionState.REFUSED, "worse")

    assert rebuilding.rebuild_if_much_is_new(collection) is None


def test_a_swap_that_runs_and_has_looked_already_keeps_no_rebuild_away() -> None:
    collection = collection_of()
    much_is_new(collection)
    swap = hot_swap_index.delay(collection=collection.name)
    assert rebuilding.rebuild_if_much_is_new(collection) is None, "it looks when it runs"

    Job.objects.filter(pk=swap.id).update(state=State.RUNNING, claim_id=uuid4())
    assert rebuilding.rebuild_if_much_is_new(collection)
