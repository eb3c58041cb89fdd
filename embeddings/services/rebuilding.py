"""The chain that brings a collection's index up to date: embed_all_documents → build_faiss_index → hot_swap_index."""

from datetime import datetime
from typing import Any

from celery import chain
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from embeddings.models import Collection, Document, EmbeddingRun, IndexVersion
from embeddings.services import pointer
from jobs.ledger.door import sent_by
from jobs.models import Job, State
from jobs.models.job import UNFINISHED
from jobs.operators.actors import Actor

PERMISSION = "embeddings.build_index"
STEPS = ("embed_all_documents", "build_faiss_index", "hot_swap_index")
#: What lies beside an index is searched exactly, which costs more with every chunk of it.
MOST_BESIDE = 20_000
MOST_SHARE_BESIDE = 0.1
#: A small index is rebuilt by the hour; what lies beside it costs nothing.
LEAST_BESIDE = 1_000
_BESIDE = """
    SELECT count(*) FROM (
        SELECT 1 FROM embeddings_document AS d JOIN embeddings_chunk AS c ON c.document_id = d.id
        WHERE d.collection_id = %(collection)s AND d.updated_at > COALESCE(%(since)s, '-infinity'::timestamptz)
          AND EXISTS (SELECT 1 FROM embeddings_change AS n WHERE n.chunk_id = c.id AND n.model_id = %(model)s)
        LIMIT %(most)s) AS beside
"""


def rebuild_all() -> dict[str, Any]:
    """Send the chain for every collection that has documents or an index, unless its earlier one is unfinished."""
    from embeddings.services import runs

    sent: list[str] = []
    skipped: list[str] = []
    filled = Q(Exists(Document.objects.filter(collection=OuterRef("pk")))) | Q(active_version__isnull=False)
    for collection in Collection.objects.filter(filled).order_by("name"):
        # Also what nobody waits for, and would otherwise stay as it is.
        runs.look_after_all(collection)
        _, is_new = send_chain(collection)
        (sent if is_new else skipped).append(collection.name)
    return {"sent": sent, "still_under_way": skipped}


def rebuild(actor: Actor, collection: Collection) -> str:
    """Send the chain for one collection. Returns the id of its first job, or of the unfinished one that does the same.

    Raises PermissionDenied (embeddings.build_index).
    """
    actor.require(PERMISSION)
    with transaction.atomic(), sent_by(actor.via, actor.name):
        job_id, is_new = send_chain(collection)
        actor.record("index.rebuild", collection.pk, name=collection.name, job=job_id, is_new=is_new)
    return job_id


def send_chain(collection: Collection, steps: tuple[str, ...] = STEPS) -> tuple[str, bool]:
    """Send steps of the chain. Returns the first job's id and True, or that of an unfinished chain's and False."""
    with transaction.atomic():
        _take_turns(collection.pk)
        under_way = unfinished_step(collection)
        return (under_way, False) if under_way is not None else (_send(collection, steps), True)


def _send(collection: Collection, steps: tuple[str, ...]) -> str:
    from embeddings import tasks

    last = chain(*(getattr(tasks, step).si(collection=collection.name) for step in steps)).apply_async()
    while last.parent is not None:
        last = last.parent
    return str(last.id)


def unfinished_step(collection: Collection) -> str | None:
    """The id of an unfinished job of this collection's chain. embed_all_documents alone counts only with its rest."""
    return _unfinished(collection).order_by("created_at").values_list("pk", flat=True).first()


def _unfinished(collection: Collection) -> QuerySet[Job]:
    rest = Q(task__in=STEPS[1:]) | Q(task=STEPS[0], embed__chain__isnull=False)
    return Job.objects.filter(_of(collection), rest, queue__in=("embedding", "indexing"), state__in=UNFINISHED)


def _of(collection: Collection) -> Q:
    return Q(kwargs__collection=collection.name) | Q(args__0=collection.name)


def swap(name: str) -> dict[str, Any]:
    """End the chain: put the newest versions in use, and look whether much came while they were built.

    Raises Collection.DoesNotExist, IndexDamaged, StoreUnavailable.
    """
    done = pointer.swap_to_newest(name)
    next_job = rebuild_if_much_is_new(Collection.objects.get(name=name))
    return done if next_job is None else {**done, "rebuilt_by": next_job}


def rebuild_if_much_is_new(collection: Collection) -> str | None:
    """Send build → swap when much was embedded since an index was last built. Returns the first job's id.

    None while a chain is under way: it looks again at its end.
    """
    with transaction.atomic():
        # Before anything is read: else a run and a chain that end at once may each miss the other.
        _take_turns(collection.pk)
        # A swap that runs is past its look, or looks when this transaction has ended.
        if _unfinished(collection).exclude(task=STEPS[-1], state=State.RUNNING).exists():
            return None
        return _send(collection, STEPS[1:]) if _is_much_new(collection) else None


def _is_much_new(collection: Collection) -> bool:
    collection.refresh_from_db()
    active = collection.active_version
    since = EmbeddingRun.objects.filter(collection=collection, model_id=collection.model_id)
    built = _last_build(collection)
    if built is not None:
        since = since.filter(finished_at__gt=built)
    share = MOST_SHARE_BESIDE * active.count if active is not None else 0
    much = max(LEAST_BESIDE, int(min(share, MOST_BESIDE)) + 1)
    new = since.aggregate(new=Sum("encoded"))["new"] or 0
    return new >= much or _count_beside(collection, built, much) >= much


def _count_beside(collection: Collection, since: datetime | None, most: int) -> int:
    """Chunks of documents that came since then and can be found, also those whose texts were known before."""
    given = {"collection": collection.pk, "model": collection.model_id, "since": since, "most": most}
    with connection.cursor() as cursor:
        cursor.execute(_BESIDE, given)
        return int(cursor.fetchone()[0])


def _last_build(collection: Collection) -> datetime | None:
    """When the last build began, by Postgres' clock, whatever it came to."""
    # One that was refused counts too: the next would be refused for the same reason.
    of_model = IndexVersion.objects.filter(collection=collection, model_id=collection.model_id)
    version = of_model.order_by("-number").values_list("created_at", flat=True).first()
    # One that found nothing changed left no version, and would be sent again by each look.
    jobs = Job.objects.filter(_of(collection), task=STEPS[1], state=State.SUCCEEDED, started_at__isnull=False)
    unchanged = jobs.order_by("-created_at").values_list("started_at", flat=True).first()
    return max((at for at in (version, unchanged) if at is not None), default=None)


def _take_turns(collection_id: int) -> None:
    """Two who look whether a chain is under way do so one after the other."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"embeddings chain of collection {collection_id}"]
        )
