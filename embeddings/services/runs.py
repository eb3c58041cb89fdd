"""Runs: every chunk of a collection gets a vector of every model that the collection uses.

A job that waits for runs looks at them now and then, and snoozes in between; the last batch of a run wakes it. What
the runs are is in their rows alone, so the job may die, and be run again, at any point.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from celery import current_task
from django.db import transaction

from embeddings.encoders.base import EncoderUnavailable, ProviderBusy
from embeddings.encoders.built import not_waiting
from embeddings.encoders.registry import UnknownEncoder, check_spec
from embeddings.errors import RunNotChanged, RunRefused
from embeddings.models import BatchState, Collection, EmbeddingBatch, EmbeddingRun, RunKind, RunState, SetAside
from embeddings.models.run import OPEN_RUNS
from embeddings.services import batches, collections, endings, looking, planning, renewal, starting, unseen
from embeddings.services.run_lists import MAY_START, find_run
from embeddings.services.starting import Wanted
from jobs import Discard, Snooze, hasten, job
from jobs.ledger.door import sent_by
from jobs.ledger.errors import JobCancelled
from jobs.ledger.run import current_run
from jobs.operators.actors import Actor

logger = logging.getLogger(__name__)

#: Jobs that wait for runs. Any other that embeds a collection does so itself.
WAITING_TASKS = frozenset({"embed_all_documents", "embeddings.embed_candidate"})
#: How often a batch that is embedded in place is tried while its provider is busy.
MOST_WAITS = 20
#: Planning takes less.
PLAN_AGAIN_SECONDS = 2.0
SHORTEST_SNOOZE, LONGEST_SNOOZE = 0.3, 15.0
#: How much later than its end a run may be noticed, should its last batch not find the job asleep.
SNOOZE_SHARE = 0.1


class RunFailed(RuntimeError):
    """A run ended without having embedded what it was to embed; the message is its error."""


def embed_all(name: str, *, renew: bool = True) -> dict[str, Any]:
    """Embed all of a collection, by each of its models; in a job, by other jobs, which it waits for.

    Outside a job it is done in place, also what other jobs are at, and it sleeps while a provider is busy. Returns
    counts of chunks, of the collection's own model; those of others under `others`. Raises UnknownCollection,
    RunFailed, EncoderUnavailable, Snooze while it waits, and, if renew, Discard where the encoder has become another
    one and others of the collection's jobs see to that.
    """
    collection = collections.find(name)
    job_id = _own_job_id()
    if not job_id:
        return _report([_do_in_place(collection, wanted) for wanted in starting.wanted_by(collection)])
    try:
        if renew and not EmbeddingRun.objects.filter(job_id=job_id).exists():
            _renew(collection)
        return _wait_for(collection, job_id)
    except ProviderBusy as busy:
        raise Snooze(busy.seconds, str(busy)) from None
    except JobCancelled:
        for pk in EmbeddingRun.objects.filter(job_id=job_id, state__in=OPEN_RUNS).values_list("pk", flat=True):
            endings.cancel(pk, f"its job {job_id} was cancelled")
        endings.let_go(job_id)
        raise


def _renew(collection: Collection) -> None:
    with not_waiting():
        moves = renewal.look_after(collection)
    if moves:
        raise Discard(
            f"collection {collection.name!r} moves to its encoder as that is built now; see embeddings.embed_candidate"
        )


def _own_job_id() -> str:
    """Of the job that embeds; empty where it is called directly, in another job too."""
    run = current_run()
    task = current_task
    if run is None or not task or task.request.called_directly or task.request.id != run.job_id:
        return ""
    return run.job_id if task.name in WAITING_TASKS else ""


def catch_up(name: str) -> dict[str, Any]:
    """Have new documents embedded, by jobs that nobody waits for. Returns the runs, and how many chunks they found.

    Raises UnknownCollection, EncoderUnavailable; Snooze while another job builds the encoder or plans the run.
    """
    collection = collections.find(name)
    look_after_all(collection)
    found = {}
    for wanted in starting.wanted_by(collection, RunKind.CATCH_UP):
        try:
            with not_waiting():
                run = starting.planned(collection, wanted, only_new=True)
        except ProviderBusy as busy:
            raise Snooze(busy.seconds, str(busy)) from None
        except EncoderUnavailable as exc:
            if not starting.can_do_without(collection, wanted):
                raise
            logger.warning("Collection %s is not embedded by %s: %s", name, wanted.encoder, exc)
            continue
        if run is None:
            # Who plans it now may have looked before the documents of this job were there.
            raise Snooze(PLAN_AGAIN_SECONDS, "another job is planning the run")
        if not starting.forget_if_empty(run):
            found[wanted.encoder] = {"run": run.pk, "chunks": run.total}
    # What got its vector after this look is in none of the runs; what got it before they were planned neither.
    this = current_run()
    unseen.note_newest(collection.pk, this.job_id if this is not None else "")
    return {"runs": found}


def look_after_all(collection: Collection) -> None:
    """Deal with what befell open runs of a collection, also those that nobody waits for."""
    for run in EmbeddingRun.objects.filter(collection=collection, state__in=OPEN_RUNS).order_by("id"):
        if run.state == RunState.PLANNING:
            endings.fail_if_abandoned(run.pk)
        elif run.state == RunState.RUNNING:
            looking.look_after(run.pk)


# --- what people do ---


def start(actor: Actor | None, collection: Collection, kind: RunKind = RunKind.FULL, encoder: str = "") -> EmbeddingRun:
    """Have a collection embedded by one of its encoders (empty: its own), or join the run that does it already.

    actor: None for the program itself, which may name any encoder. Raises PermissionDenied (embeddings.start_run),
    RunRefused for an unknown encoder, and for one that the collection is not kept up for.
    """
    from embeddings.tasks import embed_all_documents

    if actor is not None:
        actor.require(MAY_START)
    try:
        wanted = Wanted(check_spec(encoder) if encoder else starting.own_encoder(collection), kind)
    except UnknownEncoder as exc:
        raise RunRefused(str(exc)) from None
    if actor is not None:
        wanted = _of_collection(collection, wanted.encoder)
    with transaction.atomic(), _sender(actor):
        run = starting.open_run(collection, wanted)
        if run.state == RunState.PLANNING and not starting.is_unfinished(run.job_id):
            run.job_id = embed_all_documents.delay(collection=collection.name).id
            EmbeddingRun.objects.filter(pk=run.pk).update(job_id=run.job_id)
            # It may have been waiting for other runs already.
            hasten(run.job_id)
        elif run.state == RunState.RUNNING and not run.job_id:
            # It joins the run, which grows by what has come since.
            embed_all_documents.delay(collection=collection.name)
        if actor is not None:
            actor.record("run.start", run.pk, collection=collection.name, encoder=run.encoder)
    return run


def _of_collection(collection: Collection, encoder: str) -> Wanted:
    wanted = {one.encoder: one for one in starting.wanted_by(collection)}
    if encoder not in wanted:
        raise RunRefused(
            f"{encoder} is no encoder of collection {collection.name!r}; choose from: {', '.join(wanted)}; "
            "a migration brings another one in"
        )
    return wanted[encoder]


def _sender(actor: Actor | None) -> AbstractContextManager[None]:
    return nullcontext() if actor is None else sent_by(actor.via, actor.name)


def cancel(actor: Actor, run_id: int) -> EmbeddingRun:
    """End a run: what has been embedded stays, no more batches are sent, and the job that waits for it is discarded.

    Raises PermissionDenied (embeddings.start_run), EmbeddingRun.DoesNotExist, RunNotChanged if it has ended.
    """
    actor.require(MAY_START)
    with transaction.atomic():
        run = find_run(run_id, actor.user)
        if not endings.cancel(run.pk, f"cancelled by {actor.name}"):
            raise RunNotChanged(f"run {run.pk} is {find_run(run_id).state}; only one under way can be cancelled")
        actor.record("run.cancel", run.pk, collection=run.collection.name, encoder=run.encoder)
    return find_run(run_id)


@dataclass(frozen=True)
class TriedAgain:
    """count: contents that are no longer set aside. run: the one that tries them; None if there were none."""

    count: int
    run: EmbeddingRun | None


def try_again(actor: Actor, collection: Collection, ids: Sequence[int] | None = None) -> TriedAgain:
    """Have contents that were set aside (all of the collection's, if ids is None) tried by a new run.

    Raises PermissionDenied (embeddings.start_run).
    """
    actor.require(MAY_START)
    with transaction.atomic():
        rows = SetAside.objects.filter(collection=collection)
        count, _ = (rows if ids is None else rows.filter(pk__in=ids)).delete()
        if not count:
            return TriedAgain(0, None)
        actor.record("set_aside.retry", collection.pk, name=collection.name, contents=count)
        return TriedAgain(count, start(actor, collection))


# --- waiting ---


def _wait_for(collection: Collection, job_id: str) -> dict[str, Any]:
    """One look at a job's runs. Raises Snooze unless all of them are done, and ProviderBusy."""
    mine = {run.encoder: run for run in EmbeddingRun.objects.filter(job_id=job_id, collection=collection)}
    wanted = {one.encoder: one for one in starting.wanted_by(collection)}
    wanted |= {spec: Wanted(spec, RunKind(run.kind)) for spec, run in mine.items() if spec not in wanted}
    runs = [_look(collection, one, mine.get(spec), job_id) for spec, one in wanted.items()]
    done = [run for run in runs if run is not None]
    waiting = [run for run in done if run.state in OPEN_RUNS]
    if waiting or len(done) < len(runs):
        _snooze(collection, waiting)
    own = done[0]
    if own.state in (RunState.CANCELLED, RunState.FAILED):
        endings.let_go(job_id)
        raise Discard(own.error) if own.state == RunState.CANCELLED else RunFailed(own.error)
    return _report(done)


def _look(collection: Collection, wanted: Wanted, run: EmbeddingRun | None, job_id: str) -> EmbeddingRun | None:
    """The job's run by an encoder, as it is now; planned, or joined, if it has none yet. None: look again."""
    if run is None or run.state == RunState.PLANNING:
        try:
            with not_waiting():
                return starting.planned(collection, wanted, job_id=job_id)
        except ProviderBusy:
            raise
        except EncoderUnavailable as exc:
            if not starting.can_do_without(collection, wanted):
                raise
            return starting.note_failure(collection, wanted, job_id, str(exc))
    if run.state == RunState.RUNNING:
        looking.look_after(run.pk)
        run.refresh_from_db()
    return run


def _snooze(collection: Collection, waiting: list[EmbeddingRun]) -> None:
    """Report how far the runs are, and wait; longer for those that go on for longer."""
    total = sum(run.total for run in waiting)
    ended = sum(run.encoded + run.set_aside for run in waiting)
    note = f"{ended:,} of {total:,} chunks" if total else "for another job's run"
    job.progress(min(1.0, ended / total) if total else 0.0, note)
    seconds = endings.seconds_since_start(collection.pk) * SNOOZE_SHARE
    raise Snooze(min(max(seconds, SHORTEST_SNOOZE), LONGEST_SNOOZE), note)


# --- without a worker ---


def _do_in_place(collection: Collection, wanted: Wanted) -> EmbeddingRun:
    try:
        return _embed_in_place(collection, wanted)
    except EncoderUnavailable as exc:
        if wanted.is_side_line or not starting.can_do_without(collection, wanted):
            raise
        return starting.note_failure(collection, wanted, "", str(exc))


def _embed_in_place(collection: Collection, wanted: Wanted) -> EmbeddingRun:
    """Do a run in this process."""
    run = starting.open_run(collection, wanted)
    run.model = starting.model_of(collection, wanted)
    planning.plan(run)
    batches.go_on(run.pk, in_place=True)
    while batch := _next_in_place(run.pk):
        _embed_patiently(batch)
    run.refresh_from_db()
    return run


def _next_in_place(run_id: int) -> EmbeddingBatch | None:
    """An open batch, at last those whose jobs are under way: of two that embed one, the second changes nothing."""
    if not EmbeddingRun.objects.filter(pk=run_id, state=RunState.RUNNING).exists():
        return None
    claimed = planning.claim_waiting(run_id, 1)
    sent = EmbeddingBatch.objects.filter(run=run_id, state=BatchState.SENT).order_by("id")
    return claimed[0] if claimed else sent.first()


def _embed_patiently(batch: EmbeddingBatch) -> None:
    """Wait while the provider is busy, where there is no job to be run again later. Raises EncoderUnavailable."""
    for _ in range(MOST_WAITS):
        try:
            batches.embed(batch.run_id, batch.first_id, batch.last_id, in_place=True)
        except Snooze as busy:
            why = busy.why
            time.sleep(min(busy.seconds, LONGEST_SNOOZE))
        else:
            return
    raise EncoderUnavailable(f"given up after {MOST_WAITS} tries: {why}; call it again to go on")


# --- reports ---


def _report(runs: list[EmbeddingRun]) -> dict[str, Any]:
    own, *others = [_counts(run) for run in runs]
    return {**own, "others": others} if others else own


def _counts(run: EmbeddingRun) -> dict[str, Any]:
    seconds = (run.finished_at - run.created_at).total_seconds() if run.finished_at else 0.0
    ended = run.encoded + run.set_aside + run.unchanged
    counts: dict[str, Any] = {
        "run": run.pk,
        "encoder": run.encoder,
        "encoded": run.encoded,
        "unchanged": run.unchanged,
        "set_aside": run.set_aside,
        "tokens": run.tokens,
        "cpu_seconds": round(run.cpu_seconds, 3),
        "seconds": round(seconds, 3),
        "documents_per_s": round(ended / seconds, 1) if seconds > 0 else 0.0,
    }
    return counts | ({"error": run.error} if run.state == RunState.FAILED else {})
