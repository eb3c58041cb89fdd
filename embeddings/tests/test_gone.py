"""What becomes of jobs whose collection is deleted before they run."""

import pytest

from embeddings import tasks
from embeddings.models import Collection
from embeddings.services import collections
from embeddings.services.collections import UnknownCollection
from embeddings.tests import encoder_doubles
from embeddings.tests.factories import add_chunks, make_collection
from jobs.models import Attempt, Job, State
from jobs.operators.actors import Actor
from jobs.tests.in_process import run_job

pytestmark = pytest.mark.django_db(transaction=True)
OPERATOR = Actor(name="olga", via="command")


@pytest.fixture
def collection() -> Collection:
    encoder_doubles.seen.clear()
    made = make_collection("notes", encoder="double:plain", fast_encoder="")
    add_chunks(made, ["a"])
    return made


def deleted(collection: Collection) -> None:
    collection.documents.all().delete()
    collections.delete(OPERATOR, collection)
    assert not Collection.objects.filter(name="notes").exists()


def test_jobs_of_a_deleted_collection_are_discarded(collection: Collection) -> None:
    deleted(collection)
    sent = {
        name: getattr(tasks, name).delay(collection="notes", **more).id
        for name, more in {
            "embed_all_documents": {},
            "build_faiss_index": {},
            "hot_swap_index": {},
            "catch_up": {},
            "build_candidate": {"encoder": "double:plain"},
            "compare_models": {},
            "recut": {},
        }.items()
    }
    Job.objects.filter(pk__in=sent.values()).update(state=State.QUEUED, run_at="2026-01-01T00:00Z")
    for job_id in sent.values():
        run_job(job_id)

    ended = Job.objects.filter(pk__in=sent.values()).values_list("task", "state", "reason")
    assert {one[1:] for one in ended} == {(State.DISCARDED, "collection 'notes' was deleted")}, list(ended)


@pytest.mark.parametrize("task", ["embed_all_documents", "build_faiss_index", "hot_swap_index"])
def test_a_job_for_a_collection_that_never_was_fails_at_once_and_says_so(task: str) -> None:
    sent = getattr(tasks, task).delay(collection="notse")
    run_job(sent.id)

    job = Job.objects.get(pk=sent.id)
    assert job.state == State.FAILED
    assert "unknown collection 'notse'" in job.error
    assert Attempt.objects.filter(job=job).count() == 1


def test_called_directly_it_is_unknown_as_ever() -> None:
    with pytest.raises(UnknownCollection, match="notse"):
        tasks.embed_all_documents(collection="notse")
