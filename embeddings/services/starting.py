"""How a run begins: which encoders a collection is kept up for, and the one open run of each."""

from dataclasses import dataclass

from embeddings import encoders
from embeddings.models import Collection, EmbeddingModel, EmbeddingRun, RunKind, RunState
from embeddings.models.run import OPEN_RUNS
from embeddings.services import batches, endings, fast, planning
from jobs.models import Job
from jobs.models.job import UNFINISHED

MOST_ROUNDS = 5


@dataclass(frozen=True)
class Wanted:
    """An encoder by which a collection is to be embedded, and why."""

    encoder: str
    kind: RunKind

    @property
    def is_side_line(self) -> bool:
        """Whether the collection can do without it."""
        return self.kind in (RunKind.MIGRATION, RunKind.FAST)


def wanted_by(collection: Collection, kind: RunKind = RunKind.FULL) -> list[Wanted]:
    """The encoders that a collection is kept up for: its own, those before and after it, its fast one."""
    own = own_encoder(collection)
    beside = {spec: RunKind.MIGRATION for spec in (collection.candidate_encoder, collection.previous_encoder) if spec}
    if collection.fast_model is not None and collection.fast_encoder and kind == RunKind.FULL:
        # New documents have its vectors already, unless it could not be used where they came in.
        beside.setdefault(fast.exact_spec(collection.fast_model), RunKind.FAST)
    return [Wanted(own, kind), *(Wanted(spec, why) for spec, why in beside.items() if spec != own)]


def can_do_without(collection: Collection, wanted: Wanted) -> bool:
    """Whether the others go on without it: what a collection moves away from may be gone."""
    return wanted.is_side_line or bool(collection.candidate_encoder)


def own_encoder(collection: Collection) -> str:
    return collection.encoder or encoders.default_spec()


def planned(collection: Collection, wanted: Wanted, *, job_id: str = "", only_new: bool = False) -> EmbeddingRun | None:
    """An open run of this collection and encoder, planned now: a new one, or the one that is there, which grows.

    job_id: who waits for it. None if another job waits for it already, or it is being planned by somebody else.
    only_new: look at the newest chunks alone. Raises EncoderUnavailable.
    """
    model = model_of(collection, wanted)
    for _ in range(MOST_ROUNDS):
        run = open_run(collection, wanted, job_id)
        if job_id and run.job_id not in ("", job_id) and is_unfinished(run.job_id):
            return None
        if run.model_id not in (None, model.pk):
            endings.fail(run.pk, f"{wanted.encoder} has become another model; a new run follows")
            continue
        after = _last_planned(run) - planning.LOOK_BACK_CHUNKS if only_new else 0
        run.model = model
        if planning.plan(run, after_id=max(0, after), job_id=job_id):
            batches.go_on(run.pk)
            run.refresh_from_db()
            return run
        if EmbeddingRun.objects.filter(pk=run.pk, state__in=OPEN_RUNS).exists():
            return None
    return None


def open_run(collection: Collection, wanted: Wanted, job_id: str = "") -> EmbeddingRun:
    """The open run of a collection and encoder, made if there is none."""
    EmbeddingRun.objects.bulk_create(
        [EmbeddingRun(collection=collection, encoder=wanted.encoder, kind=wanted.kind, job_id=job_id)],
        ignore_conflicts=True,
    )
    found = EmbeddingRun.objects.filter(collection=collection, encoder=wanted.encoder, state__in=OPEN_RUNS).first()
    # It ended between the two statements.
    return found if found is not None else open_run(collection, wanted, job_id)


def model_of(collection: Collection, wanted: Wanted) -> EmbeddingModel:
    """The model of an encoder as it is here, which is loaded for that. Raises EncoderUnavailable."""
    from embeddings.services import model_rows

    if wanted.encoder == own_encoder(collection):
        own = model_rows.resolve(collection)
        if collection.candidate_encoder:
            # Perhaps it moves to another one because this one is gone: told here, its batches need not find out.
            encoders.load_exactly(own.spec, own.digest)
        return own
    if collection.fast_model is not None and wanted.encoder == fast.exact_spec(collection.fast_model):
        return collection.fast_model
    if wanted.encoder == collection.previous_encoder and collection.previous is not None:
        return collection.previous
    model = model_rows.model_for(encoders.load(wanted.encoder))
    if wanted.encoder == collection.candidate_encoder and collection.candidate_id != model.pk:
        Collection.objects.filter(pk=collection.pk, candidate_encoder=wanted.encoder).update(candidate=model)
    return model


def note_failure(collection: Collection, wanted: Wanted, job_id: str, error: str) -> EmbeddingRun:
    """A run that could not be planned; the others go on."""
    run = open_run(collection, wanted, job_id)
    endings.fail(run.pk, error)
    run.refresh_from_db()
    return run


def _last_planned(run: EmbeddingRun) -> int:
    """Up to which chunk the latest runs of this collection and encoder were planned."""
    latest = EmbeddingRun.objects.filter(collection=run.collection_id, encoder=run.encoder, planned_to__gt=0)
    return latest.order_by("-id").values_list("planned_to", flat=True).first() or 0


def forget_if_empty(run: EmbeddingRun) -> bool:
    """Remove a run that found nothing, so that a stream of small changes does not bury the others."""
    deleted, _ = EmbeddingRun.objects.filter(
        pk=run.pk, kind=RunKind.CATCH_UP, state=RunState.DONE, total=0, job_id=""
    ).delete()
    return bool(deleted)


def is_unfinished(job_id: str) -> bool:
    return bool(job_id) and Job.objects.filter(pk=job_id, state__in=UNFINISHED).exists()
