"""Rows that nothing needs: orphaned vectors, changes that every index holds, batches and runs that ended long ago."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from embeddings.models import EmbeddingRun
from embeddings.models.run import OPEN_RUNS
from jobs import job

#: Rows that a statement looks at, or removes.
AT_ONCE = 5_000
#: A content may come back: text that was edited and restored, a document that is sent again.
GRACE_DAYS = 1
BATCH_DAYS = 7
RUN_DAYS = 90
RUNS_AT_ONCE = 200

Step = Callable[[bool], int]

# A model is in use by a collection, by an index that may be activated, or by a run that is making its vectors.
_UNUSED_MODELS = """
    SELECT m.id FROM embeddings_embeddingmodel AS m
    WHERE NOT EXISTS (SELECT 1 FROM embeddings_collection AS k
                      WHERE m.id IN (k.model_id, k.fast_model_id, k.candidate_id, k.previous_id))
      AND NOT EXISTS (SELECT 1 FROM embeddings_indexversion AS v
                      WHERE v.model_id = m.id AND v.state IN ('building', 'ready'))
      AND NOT EXISTS (SELECT 1 FROM embeddings_embeddingrun AS r
                      WHERE r.model_id = m.id AND (r.finished_at IS NULL
                            OR r.finished_at > clock_timestamp() - make_interval(days => %(days)s)))
"""

# Keyset by the primary key: each statement looks at the next rows, so one pass reads the table once.
_PAGE = """
    SELECT v.model_id, v.content_sha,
           v.created_at < clock_timestamp() - make_interval(days => %(days)s)
           AND (v.model_id = ANY (%(unused)s)
                OR NOT EXISTS (SELECT 1 FROM embeddings_chunk AS c WHERE c.content_sha = v.content_sha))
    FROM embeddings_vector AS v WHERE (v.model_id, v.content_sha) > (%(model)s, %(sha)s)
    ORDER BY v.model_id, v.content_sha LIMIT %(most)s
"""

# Asked again under the rows' locks: a chunk of that content may have come meanwhile.
_DELETE_VECTORS = """
    DELETE FROM embeddings_vector AS v
    USING unnest(%(models)s::bigint[], %(shas)s::bytea[]) AS gone (model_id, content_sha)
    WHERE v.model_id = gone.model_id AND v.content_sha = gone.content_sha
      AND (v.model_id = ANY (%(unused)s)
           OR NOT EXISTS (SELECT 1 FROM embeddings_chunk AS c WHERE c.content_sha = v.content_sha))
"""


_HAVE_COME_BACK = """
    SELECT DISTINCT k.name FROM embeddings_chunk AS c JOIN embeddings_collection AS k ON k.id = c.collection_id
    WHERE c.content_sha = ANY (%(shas)s)
      AND NOT EXISTS (SELECT 1 FROM embeddings_vector AS v
                      WHERE v.model_id = k.model_id AND v.content_sha = c.content_sha)
"""


def vectors(dry_run: bool) -> int:
    """Vectors of contents that no chunk has, and of models that nobody uses."""
    with connection.cursor() as cursor:
        cursor.execute(_UNUSED_MODELS, {"days": GRACE_DAYS})
        unused = [row[0] for row in cursor.fetchall()]
    total, removed = 0, list[bytes]()
    place: dict[str, Any] = {"model": 0, "sha": b""}
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_PAGE, {"days": GRACE_DAYS, "unused": unused, "most": AT_ONCE, **place})
            page = cursor.fetchall()
        orphaned = [(model, bytes(sha)) for model, sha, is_orphaned in page if is_orphaned]
        total += len(orphaned) if dry_run else _delete_vectors(orphaned, unused)
        _embed_what_came_back(removed)
        removed = [] if dry_run else [sha for _, sha in orphaned]
        if len(page) < AT_ONCE:
            _embed_what_came_back(removed)
            return total
        place = {"model": page[-1][0], "sha": bytes(page[-1][1])}
        job.check_cancelled()


def _delete_vectors(orphaned: list[tuple[int, bytes]], unused: list[int]) -> int:
    if not orphaned:
        return 0
    models, shas = zip(*orphaned, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(_DELETE_VECTORS, {"models": list(models), "shas": list(shas), "unused": unused})
        return int(cursor.rowcount)


def _embed_what_came_back(shas: list[bytes]) -> None:
    """A chunk that was committed while the vector of its content was removed took it for embedded; see to it now."""
    if not shas:
        return
    from embeddings.tasks import catch_up

    with connection.cursor() as cursor:
        cursor.execute(_HAVE_COME_BACK, {"shas": shas})
        names = [row[0] for row in cursor.fetchall()]
    for name in names:
        catch_up.delay(collection=name)


# Readers begin at the watermark of the version that they open, and any version that is kept may be activated again.
# A build that is under way reads what it needs itself, and its watermark is younger.
_CHANGES = """
    FROM embeddings_change AS n WHERE n.id IN (
        SELECT c.id FROM (
            SELECT collection_id, min(watermark) AS watermark FROM embeddings_indexversion
            WHERE state = 'ready' GROUP BY collection_id) AS oldest
        CROSS JOIN LATERAL (
            SELECT id FROM embeddings_change
            WHERE collection_id = oldest.collection_id AND xid < oldest.watermark::text::xid8 LIMIT {most}) AS c
        LIMIT {most})
"""
# Written while their collection or model was deleted: no foreign key stands in the way of that.
_CHANGES_OF_NOTHING = """
    FROM embeddings_change AS n WHERE n.id IN (
        SELECT c.id FROM embeddings_change AS c
        WHERE NOT EXISTS (SELECT 1 FROM embeddings_collection AS k WHERE k.id = c.collection_id)
           OR c.model_id IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM embeddings_embeddingmodel AS m WHERE m.id = c.model_id) LIMIT {most})
"""
_SET_ASIDE = """
    FROM embeddings_setaside AS s WHERE s.id IN (
        SELECT a.id FROM embeddings_setaside AS a
        WHERE NOT EXISTS (SELECT 1 FROM embeddings_chunk AS c
                          WHERE c.content_sha = a.content_sha AND c.collection_id = a.collection_id) LIMIT {most})
"""
_BATCHES = f"""
    FROM embeddings_embeddingbatch AS b WHERE b.id IN (
        SELECT i.id FROM embeddings_embeddingbatch AS i JOIN embeddings_embeddingrun AS r ON r.id = i.run_id
        WHERE r.finished_at < clock_timestamp() - interval '{BATCH_DAYS} days' LIMIT {{most}})
"""  # noqa: S608  (constants only)


def _rows(what: str) -> Step:
    def step(dry_run: bool) -> int:
        if dry_run:
            return int(_count(f"SELECT count(*) {what.format(most='ALL')}"))
        total = 0
        while True:
            with connection.cursor() as cursor:
                cursor.execute(f"DELETE {what.format(most=AT_ONCE)}")
                gone = cursor.rowcount
            total += gone
            if gone < AT_ONCE:
                return total
            job.check_cancelled()

    return step


def _changes(dry_run: bool) -> int:
    return _rows(_CHANGES)(dry_run) + _rows(_CHANGES_OF_NOTHING)(dry_run)


def runs(dry_run: bool) -> int:
    """Runs that ended long ago, with their batches."""
    old = EmbeddingRun.objects.exclude(state__in=OPEN_RUNS).filter(finished_at__lt=Now() - timedelta(days=RUN_DAYS))
    if dry_run:
        return old.count()
    total = 0
    while ids := list(old.order_by("pk").values_list("pk", flat=True)[:RUNS_AT_ONCE]):
        with transaction.atomic():
            EmbeddingRun.objects.filter(pk__in=ids).delete()
        total += len(ids)
        job.check_cancelled()
    return total


def _count(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


STEPS: list[tuple[str, Step]] = [
    ("vectors", vectors),
    ("changes", _changes),
    ("set_aside", _rows(_SET_ASIDE)),
    ("batches", _rows(_BATCHES)),
    ("runs", runs),
]
