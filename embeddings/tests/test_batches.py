"""A run's batches: what they embed, what they leave out, and what remains when they are cut off."""

import hashlib
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from embeddings import encoders
from embeddings.encoders.base import EncoderUnavailable
from embeddings.models import (
    BatchState,
    Chunk,
    Collection,
    Document,
    EmbeddingBatch,
    EmbeddingModel,
    EmbeddingRun,
    RunKind,
    RunState,
    SetAside,
    Vector,
)
from embeddings.services import batches, endings, looking, planning, runs, starting
from embeddings.services.pending import read_pending
from embeddings.tests import encoder_doubles
from embeddings.tests.batch_runs import collection_of, embed_sent, end_job, planned, texts
from jobs import Snooze
from jobs.tests.in_process import killed_at

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.EMBEDDINGS, "BATCH_CHUNKS", 4)
    encoder_doubles.seen.clear()


def test_every_chunk_gets_a_vector_and_the_run_ends_with_its_last_batch() -> None:
    collection = collection_of(*(f"text {i}" for i in range(10)))

    run = planned(collection)
    assert (run.state, run.total, run.encoded) == (RunState.RUNNING, 10, 0)
    embed_sent(run)

    run.refresh_from_db()
    assert (run.state, run.encoded, run.set_aside, run.remaining) == (RunState.DONE, 10, 0, 0)
    assert run.tokens == 20
    assert run.dollars == pytest.approx(0.01)
    assert run.finished_at is not None
    assert Vector.objects.filter(model=run.model).count() == 10
    assert not EmbeddingBatch.objects.filter(run=run).exists(), "what is done is not kept"


def test_a_batch_done_already_is_not_done_again() -> None:
    run = planned(collection_of(*(f"text {i}" for i in range(8))))
    first = EmbeddingBatch.objects.order_by("id").first()
    assert first is not None
    batches.embed(run.pk, first.first_id, first.last_id)

    assert batches.embed(run.pk, first.first_id, first.last_id) == batches.NOTHING
    assert len(encoder_doubles.seen) == 4
    run.refresh_from_db()
    assert run.encoded == 4


def test_of_two_jobs_of_a_batch_the_first_to_finish_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    run = planned(collection_of(*(f"text {i}" for i in range(4))))
    batch = EmbeddingBatch.objects.get(run=run)
    encode = batches._encode

    def frozen(*args: Any) -> Any:
        work = encode(*args)
        monkeypatch.setattr(batches, "_encode", encode)
        assert batches.embed(run.pk, batch.first_id, batch.last_id)["encoded"] == 4
        return work

    monkeypatch.setattr(batches, "_encode", frozen)
    assert batches.embed(run.pk, batch.first_id, batch.last_id) == batches.NOTHING
    run.refresh_from_db()
    assert (run.encoded, run.state) == (4, RunState.DONE)


def test_a_content_is_embedded_once_however_many_chunks_have_it() -> None:
    run = planned(collection_of("same", "same", "other", "same"))
    embed_sent(run)

    assert sorted(encoder_doubles.seen) == ["other", "same"]
    run.refresh_from_db()
    assert run.encoded == 4


def test_what_another_run_has_embedded_meanwhile_is_not_embedded_again() -> None:
    run = planned(collection_of("a", "b"))
    embed_sent(planned(collection_of("a")))
    embed_sent(run)

    assert sorted(encoder_doubles.seen) == ["a", "b"]
    run.refresh_from_db()
    assert (run.state, run.encoded) == (RunState.DONE, 2)


@pytest.mark.parametrize("table", ["vector", "setaside"])
def test_a_batch_looks_up_its_own_contents_though_there_are_no_statistics_of_the_model(table: str) -> None:
    run = planned(collection_of(*texts(4)))
    assert run.model is not None
    other = EmbeddingModel.objects.create(spec="other", digest="0" * 64, dimension=8)
    fill_by_hash(table, other, 1)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE embeddings_{table}")
    fill_by_hash(table, run.model, 3000)
    batch = EmbeddingBatch.objects.get(run=run)

    before = rows_read(table)
    pending = read_pending(run.collection_id, run.model.pk, batch.first_id, batch.last_id)

    assert len(pending.texts) == 4
    assert rows_read(table) - before <= len(pending.texts)


def fill_by_hash(table: str, model: EmbeddingModel, count: int) -> None:
    """Vectors, or contents set aside, of texts that no chunk has."""
    columns, values = {
        "vector": ("vector", "'\\x00'"),
        "setaside": ("chunk_id, collection_id, reason", f"0, {Collection.objects.latest('pk').pk}, ''"),
    }[table]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO embeddings_{table} (model_id, content_sha, {columns})
            SELECT {model.pk}, sha256(number::text::bytea), {values} FROM generate_series(1, {count}) AS number
            """
        )


def rows_read(table: str) -> int:
    """How many rows of a table the test's transaction has looked at so far."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = %s",
            [f"embeddings_{table}"],
        )
        return int(cursor.fetchone()[0])


def test_a_document_that_is_deleted_meanwhile_counts_as_done() -> None:
    collection = collection_of("a", "b", "c")
    run = planned(collection)
    Document.objects.filter(collection=collection, text="b").delete()
    embed_sent(run)

    run.refresh_from_db()
    assert (run.state, run.encoded, Vector.objects.count()) == (RunState.DONE, 3, 2)


def test_chunks_are_cut_out_of_their_document_by_characters() -> None:
    collection = collection_of("Äpfel 🍎 und Birnen")
    document = Document.objects.get(collection=collection)
    Chunk.objects.filter(document=document).delete()
    text, parts = document.text, [(0, 5), (6, 7), (8, 18)]

    for position, (start, end) in enumerate(parts):
        Chunk.objects.create(
            document=document,
            collection=collection,
            position=position,
            start=start,
            end=end,
            n_tokens=1,
            content_sha=hashlib.sha256(text[start:end].encode()).digest(),
        )
    model_id = starting.model_of(collection, starting.wanted_by(collection)[0]).pk

    pending = read_pending(collection.pk, model_id, 0, 2**62)
    assert pending.texts == ["Äpfel", "🍎", "und Birnen"]
    assert not pending.damaged


def test_a_chunk_whose_text_is_not_what_its_hash_says_is_set_aside() -> None:
    collection = collection_of("a", "b")
    Document.objects.filter(text="a").update(text="x")
    run = planned(collection)
    embed_sent(run)

    assert "not what its hash says" in SetAside.objects.get().reason
    assert encoder_doubles.seen == ["b"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("REFUSE this", "the double refuses it"),
        ("NAN this", "its vector is not finite"),
        ("FAIL this", "RuntimeError: the double fell over"),
    ],
)
def test_a_text_that_cannot_be_embedded_is_set_aside_and_the_others_are_embedded(text: str, reason: str) -> None:
    collection = collection_of("a", "b", text, "c", "d")
    run = planned(collection)
    embed_sent(run)

    assert SetAside.objects.get(collection=collection).reason == reason
    run.refresh_from_db()
    assert (run.state, run.encoded, run.set_aside) == (RunState.DONE, 4, 1)
    runs.catch_up(collection.name)
    assert EmbeddingRun.objects.count() == 1, "it is not tried again by itself"


def test_an_encoder_that_can_embed_nothing_fails_the_job_instead_of_the_texts() -> None:
    run = planned(collection_of("a", "b", "c", encoder="double:broken"))
    batch = EmbeddingBatch.objects.get(run=run)

    with pytest.raises(RuntimeError, match="fell over"):
        batches.embed(run.pk, batch.first_id, batch.last_id)
    assert not SetAside.objects.exists()


def test_an_encoder_that_is_away_fails_the_run_and_not_the_texts() -> None:
    run = planned(collection_of("a", "b", encoder="double:away"))
    batch = EmbeddingBatch.objects.get(run=run)
    with pytest.raises(EncoderUnavailable):
        batches.embed(run.pk, batch.first_id, batch.last_id)

    end_job(batch.job_id, "failed", "EncoderUnavailable: fetch it", "embeddings.encoders.base.EncoderUnavailable")
    assert looking.look_after(run.pk) == RunState.FAILED
    run.refresh_from_db()
    assert run.error == "EncoderUnavailable: fetch it"
    assert not SetAside.objects.exists()


def test_a_busy_provider_is_left_alone_for_as_long_as_it_asks() -> None:
    run = planned(collection_of("a", encoder="double:busy"))
    batch = EmbeddingBatch.objects.get(run=run)

    with pytest.raises(Snooze) as snooze:
        batches.embed(run.pk, batch.first_id, batch.last_id)
    assert snooze.value.seconds == 7


def test_a_batch_whose_job_failed_is_split_until_the_text_is_found() -> None:
    run = planned(collection_of(*(f"text {i}" for i in range(7)), "EXIT"))
    for _ in range(20):
        for batch in EmbeddingBatch.objects.filter(run=run, state=BatchState.SENT).order_by("id"):
            texts = read_pending(run.collection_id, run.model_id or 0, batch.first_id, batch.last_id).texts
            if "EXIT" in texts:
                end_job(batch.job_id, "failed", "WorkerLostError: it took its process with it")
            else:
                batches.embed(run.pk, batch.first_id, batch.last_id)
        if looking.look_after(run.pk) != RunState.RUNNING:
            break

    run.refresh_from_db()
    assert (run.state, run.encoded, run.set_aside) == (RunState.DONE, 7, 1)
    assert SetAside.objects.get().reason == "WorkerLostError: it took its process with it"
    assert sorted(encoder_doubles.seen) == [f"text {i}" for i in range(7)]


def test_a_run_that_embeds_nothing_at_all_fails_before_it_sets_much_aside() -> None:
    run = planned(collection_of(*(f"text {i}" for i in range(64))))
    state: RunState | None = RunState.RUNNING
    for _ in range(20):
        for batch in EmbeddingBatch.objects.filter(run=run, state=BatchState.SENT):
            end_job(batch.job_id, "failed", "RuntimeError: out of order")
        state = looking.look_after(run.pk)
        if state != RunState.RUNNING:
            break

    assert state == RunState.FAILED
    assert SetAside.objects.count() < looking.MOST_FAILED_BATCHES
    run.refresh_from_db()
    assert "out of order" in run.error


@pytest.mark.parametrize(
    ("state", "error_class"),
    [("succeeded", ""), ("failed", "django.db.utils.OperationalError")],
)
def test_a_batch_whose_job_ended_for_other_reasons_than_its_texts_is_sent_again(state: str, error_class: str) -> None:
    run = planned(collection_of("a"))
    batch = EmbeddingBatch.objects.get(run=run)
    end_job(batch.job_id, state, "gone", error_class)
    looking.look_after(run.pk)

    again = EmbeddingBatch.objects.get(run=run)
    assert again.pk == batch.pk
    assert again.job_id != batch.job_id
    embed_sent(run)
    run.refresh_from_db()
    assert (run.state, run.encoded) == (RunState.DONE, 1)


def test_a_cancelled_run_sends_nothing_more_and_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "window", lambda: 2)
    run = planned(collection_of(*(f"text {i}" for i in range(16))))
    sent = list(EmbeddingBatch.objects.filter(run=run, state=BatchState.SENT))
    batches.embed(run.pk, sent[0].first_id, sent[0].last_id)
    endings.cancel(run.pk, "enough")

    assert batches.embed(run.pk, sent[1].first_id, sent[1].last_id) == batches.NOTHING
    run.refresh_from_db()
    assert (run.state, run.encoded, run.error) == (RunState.CANCELLED, 4, "enough")
    assert Vector.objects.count() == 4
    assert not EmbeddingBatch.objects.filter(run=run, state=BatchState.WAITING).exists()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_batch_killed_at_any_statement_is_done_by_the_next_job_of_it() -> None:
    """At each statement in turn: nothing is lost, and nothing counted twice."""
    for number in range(1, 100):
        encoder_doubles.seen.clear()
        collection = collection_of(*(f"text {number} {i}" for i in range(6)))
        run = planned(collection)
        first, second = EmbeddingBatch.objects.filter(run=run).order_by("id")
        with killed_at(number) as was_killed:
            batches.embed(run.pk, first.first_id, first.last_id)
        for batch in (first, second):
            batches.embed(run.pk, batch.first_id, batch.last_id)
        run.refresh_from_db()
        assert (run.state, run.encoded) == (RunState.DONE, 6), f"killed at statement {number}"
        assert Vector.objects.filter(model=run.model).count() >= 6
        assert len(encoder_doubles.seen) <= 6 + 4
        if not was_killed():
            return
    raise AssertionError("a batch has ever more statements")


def test_the_encoder_of_a_run_must_be_the_one_it_was_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    run = planned(collection_of("a"))
    batch = EmbeddingBatch.objects.get(run=run)
    assert run.model is not None
    type(run.model).objects.filter(pk=run.model.pk).update(digest="f" * 64)

    with pytest.raises(EncoderUnavailable, match="double:plain"):
        batches.embed(run.pk, batch.first_id, batch.last_id)
    assert encoders.load("double:plain")
    assert run.kind == RunKind.CATCH_UP
