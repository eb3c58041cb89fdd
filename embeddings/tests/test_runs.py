"""Runs as a whole: who waits for them, what they find, and how people start and stop them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied
from django.db import connection

from embeddings import encoders, errors
from embeddings.models import (
    Collection,
    Document,
    EmbeddingBatch,
    EmbeddingRun,
    RunKind,
    RunState,
    SetAside,
    Vector,
)
from embeddings.services import model_rows, planning, rebuilding, runs
from embeddings.services.run_figures import figures_of
from embeddings.tasks import embed_all_documents
from embeddings.tests import encoder_doubles
from embeddings.tests.batch_runs import collection_of, texts
from embeddings.tests.factories import add_chunks, make_collection
from jobs.models import AuditEntry, Job, State
from jobs.operators.actors import Actor
from jobs.operators.jobs import cancel_job, retry_job
from jobs.tests.in_process import next_queued, run_all, run_job

pytestmark = pytest.mark.django_db
#: Jobs are run in the test's own process, which sees only what is committed.
runs_jobs = pytest.mark.django_db(transaction=True)
OPERATOR = Actor(name="olga", via="command")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.EMBEDDINGS, "BATCH_CHUNKS", 4)
    encoder_doubles.seen.clear()


def result_of(job_id: str) -> Any:
    return embed_all_documents.AsyncResult(job_id).result


def run_of(collection: Collection) -> EmbeddingRun:
    return EmbeddingRun.objects.get(collection=collection)


# --- waiting ---


@runs_jobs
def test_the_job_ends_when_its_run_does_and_tells_counts() -> None:
    collection = collection_of(*texts(10), "REFUSE")
    sent = embed_all_documents.delay(collection=collection.name)

    first = next_queued()
    assert first is not None
    run_job(first.pk)
    job = Job.objects.get(pk=sent.id)
    assert (job.state, job.progress_note) == (State.SCHEDULED, "0 of 11 chunks")
    run_all()

    job.refresh_from_db()
    assert job.state == State.SUCCEEDED
    assert job.attempts_used == 1, "waiting uses up no attempt"
    result = result_of(sent.id)
    assert (result["encoded"], result["set_aside"], result["unchanged"], result["tokens"]) == (10, 1, 0, 20)
    assert result["run"] == run_of(collection).pk
    assert result["documents_per_s"] > 0


@runs_jobs
def test_the_last_batch_wakes_the_job_that_waits() -> None:
    collection = collection_of("a")
    sent = embed_all_documents.delay(collection=collection.name)
    run_job(sent.id)
    Job.objects.filter(pk=sent.id).update(run_at="2100-01-01T00:00Z")
    run_all()

    assert Job.objects.get(pk=sent.id).state == State.SUCCEEDED


@runs_jobs
def test_an_unchanged_collection_is_done_at_once_without_a_batch() -> None:
    collection = collection_of(*texts(10))
    embed_all_documents(collection=collection.name)
    encoder_doubles.seen.clear()
    sent = embed_all_documents.delay(collection=collection.name)
    run_job(sent.id)

    result = result_of(sent.id)
    assert (result["encoded"], result["unchanged"]) == (0, 10)
    assert not encoder_doubles.seen
    assert not EmbeddingBatch.objects.exists()
    assert not Job.objects.filter(task="embeddings.embed_batch").exists()


def test_without_a_worker_it_is_done_in_place() -> None:
    collection = collection_of(*texts(10))

    assert embed_all_documents(collection=collection.name)["encoded"] == 10
    assert Vector.objects.count() == 10
    assert not Job.objects.exists()


def test_a_changed_document_alone_is_embedded_again() -> None:
    collection = collection_of(*texts(6))
    embed_all_documents(collection=collection.name)
    Document.objects.filter(text="text 3").delete()
    add_chunks(collection, ["text 3, changed"])
    encoder_doubles.seen.clear()

    result = embed_all_documents(collection=collection.name)
    assert (result["encoded"], result["unchanged"]) == (1, 5)
    assert encoder_doubles.seen == ["text 3, changed"]


@pytest.mark.long
@runs_jobs
def test_a_job_that_is_cancelled_while_it_waits_takes_its_run_along() -> None:
    collection = collection_of(*texts(40))
    sent = embed_all_documents.delay(collection=collection.name)
    run_job(sent.id)
    cancel_job(OPERATOR, sent.id)
    run_all()

    run = run_of(collection)
    assert run.state == RunState.CANCELLED
    assert run.error == f"its job {sent.id} was cancelled"
    assert run.encoded == 4, "the first batch to end notices"
    retry_job(OPERATOR, sent.id)
    run_all()
    assert Job.objects.get(pk=sent.id).state == State.SUCCEEDED
    assert Vector.objects.count() == 40


@runs_jobs
def test_a_run_that_is_cancelled_ends_the_job_that_waits_for_it() -> None:
    collection = collection_of(*texts(40))
    sent = embed_all_documents.delay(collection=collection.name)
    run_job(sent.id)
    runs.cancel(OPERATOR, run_of(collection).pk)
    run_all()

    job = Job.objects.get(pk=sent.id)
    assert (job.state, job.reason) == (State.DISCARDED, "cancelled by olga")
    with pytest.raises(errors.RunNotChanged, match="is cancelled"):
        runs.cancel(OPERATOR, run_of(collection).pk)


@pytest.mark.long
@runs_jobs
def test_a_run_that_fails_fails_the_job_and_its_next_attempt_makes_another() -> None:
    collection = collection_of("a", encoder="double:away")
    sent = embed_all_documents.delay(collection=collection.name)
    run_job(sent.id)
    for _ in range(4):
        batch = EmbeddingBatch.objects.get()
        Job.objects.filter(pk=batch.job_id).update(state=State.QUEUED)
        run_job(batch.job_id)
    Job.objects.filter(pk=sent.id).update(state=State.QUEUED)
    run_job(sent.id)

    job = Job.objects.get(pk=sent.id)
    assert job.state == State.SCHEDULED
    assert "RunFailed: EncoderUnavailable: the double is away; fetch it" in job.error
    assert run_of(collection).state == RunState.FAILED
    Job.objects.filter(pk=sent.id).update(state=State.QUEUED)
    run_job(sent.id)
    assert EmbeddingRun.objects.filter(state=RunState.RUNNING).count() == 1


@runs_jobs
def test_a_second_job_joins_the_run_that_is_open_and_adds_what_is_new() -> None:
    collection = collection_of(*texts(4))
    runs.catch_up(collection.name)
    add_chunks(collection, texts(3, "late"))
    sent = embed_all_documents.delay(collection=collection.name)
    run_job(sent.id)
    run_all()

    run = run_of(collection)
    assert (run.job_id, run.kind, run.total, run.encoded) == (sent.id, RunKind.CATCH_UP, 7, 7)
    assert sorted(encoder_doubles.seen) == sorted(texts(4) + texts(3, "late"))


def test_a_run_planned_twice_at_once_has_each_chunk_in_one_batch() -> None:
    collection = collection_of(*texts(8))
    runs.catch_up(collection.name)
    runs.catch_up(collection.name)
    runs.catch_up(collection.name)

    assert sum(EmbeddingBatch.objects.values_list("size", flat=True)) == 8
    assert run_of(collection).total == 8


def test_planning_an_unchanged_collection_reads_no_documents() -> None:
    """What an hourly run costs must not depend on how long the texts are."""
    collection = collection_of(*texts(5))
    embed_all_documents(collection=collection.name)
    run = run_of(collection)
    statements: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        embed_all_documents(collection=collection.name)
    assert run.model_id is not None
    assert not any("embeddings_document " in sql for sql in statements)
    assert len(statements) < 30


# --- several models ---


def test_a_migration_embeds_by_both_models() -> None:
    collection = collection_of(*texts(5), candidate_encoder="double:other")
    result = embed_all_documents(collection=collection.name)

    collection.refresh_from_db()
    assert collection.model is not None
    assert collection.candidate is not None
    assert Vector.objects.filter(model=collection.model).count() == 5
    assert Vector.objects.filter(model=collection.candidate).count() == 5
    assert [other["encoded"] for other in result["others"]] == [5]
    assert EmbeddingRun.objects.get(encoder="double:other").kind == RunKind.MIGRATION


@pytest.mark.long
@runs_jobs
def test_a_candidate_that_cannot_be_loaded_leaves_the_collection_its_own_model() -> None:
    collection = collection_of("a", candidate_encoder="double:missing")
    sent = embed_all_documents.delay(collection=collection.name)
    run_all()

    result = result_of(sent.id)
    assert result["encoded"] == 1
    assert result["others"][0]["error"] == "the double is not installed; install it"


def test_what_the_fast_model_could_not_embed_when_it_came_is_embedded_with_the_rest() -> None:
    collection = make_collection(encoder="double:plain", fast_encoder="double:fast")
    fast = model_rows.model_for(encoders.load("double:fast"))
    Collection.objects.filter(pk=collection.pk).update(fast_model=fast)
    add_chunks(collection, texts(6))

    result = embed_all_documents(collection=collection.name)
    assert [(other["encoder"], other["encoded"]) for other in result["others"]] == [("double:fast", 6)]
    assert Vector.objects.filter(model=fast).count() == 6


def test_a_run_of_the_fast_tier_may_be_of_any_table() -> None:
    collection = collection_of("a")

    run = runs.start(None, collection, RunKind.FAST, "static:" + "a" * 64)
    assert (run.kind, run.state) == (RunKind.FAST, RunState.PLANNING)
    assert Job.objects.get(pk=run.job_id).task == "embed_all_documents"


# --- people ---


@runs_jobs
def test_starting_joins_a_run_under_way_and_is_recorded() -> None:
    collection = collection_of(*texts(6))

    run = runs.start(OPERATOR, collection)
    assert runs.start(OPERATOR, collection).pk == run.pk
    assert (run.state, Job.objects.filter(task="embed_all_documents").count()) == (RunState.PLANNING, 1)
    run_all()

    run.refresh_from_db()
    assert (run.state, run.encoded) == (RunState.DONE, 6)
    assert Job.objects.get(pk=run.job_id).origin == "command"
    assert AuditEntry.objects.filter(action="run.start", target=str(run.pk)).count() == 2


def test_a_run_of_an_encoder_that_is_none_of_the_collection_is_refused() -> None:
    with pytest.raises(errors.RunRefused, match=r"ngram is no encoder of collection .* choose from: double:plain"):
        runs.start(OPERATOR, collection_of("a"), encoder="ngram")


def test_who_may_not_start_runs_is_refused(django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("v")
    user.user_permissions.add(Permission.objects.get(codename="view_embeddingrun"))
    actor, collection = Actor.of_user(user, "api"), collection_of("a")
    calls: list[Callable[[], Any]] = [
        lambda: runs.start(actor, collection),
        lambda: runs.cancel(actor, 1),
        lambda: runs.try_again(actor, collection),
    ]
    for call in calls:
        with pytest.raises(PermissionDenied, match=r"embeddings\.start_run"):
            call()
    with pytest.raises(PermissionDenied, match=r"embeddings\.build_index"):
        rebuilding.rebuild(actor, collection)


@pytest.mark.long
@runs_jobs
def test_what_was_set_aside_is_tried_again_when_asked() -> None:
    collection = collection_of("a", "REFUSE", "NAN")
    embed_all_documents(collection=collection.name)
    assert SetAside.objects.count() == 2

    tried = runs.try_again(OPERATOR, collection, [SetAside.objects.get(reason="the double refuses it").pk])
    assert tried.count == 1
    run_all()
    assert SetAside.objects.count() == 2, "it is refused again"
    assert tried.run is not None
    tried.run.refresh_from_db()
    assert (tried.run.total, tried.run.set_aside) == (1, 1)


def test_a_run_whose_job_ended_before_it_was_planned_does_not_stay_open() -> None:
    collection = collection_of("a")
    run = runs.start(OPERATOR, collection)
    cancel_job(OPERATOR, run.job_id)
    runs.catch_up(collection.name)

    run.refresh_from_db()
    assert run.state == RunState.FAILED
    assert EmbeddingRun.objects.filter(collection=collection, state=RunState.RUNNING).exists()


@runs_jobs
def test_figures_tell_what_remains_and_how_fast_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "window", lambda: 1)
    collection = collection_of(*texts(16))
    runs.catch_up(collection.name)
    run = run_of(collection)
    batch = EmbeddingBatch.objects.order_by("id").first()
    assert batch is not None
    run_job(batch.job_id)
    run.refresh_from_db()

    figures = figures_of([run])[run.pk]
    assert (figures.remaining, figures.fraction) == (12, 0.25)
    assert figures.batches == {"waiting": 2, "sent": 1, "done": 1, "split": 0}
    assert figures.recent_rate
    # Four took as long as it has been running, so the other twelve take three times as long; both are rounded.
    assert figures.eta_seconds == pytest.approx(3 * figures.seconds, abs=0.06)
