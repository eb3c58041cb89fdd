"""How fast runs are, and how long they still take."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from embeddings.models import EmbeddingRun, RunState
from embeddings.models.run import OPEN_RUNS

RECENT_SECONDS = 30

_FIGURES = """
    SELECT r.id,
           extract(epoch FROM COALESCE(r.finished_at, now.at) - COALESCE(r.started_at, r.created_at))::float8,
           COALESCE(b.recent, 0)::bigint,
           extract(epoch FROM now.at - GREATEST(r.started_at, now.at - make_interval(secs => %(recent)s)))::float8,
           COALESCE(b.waiting, 0), COALESCE(b.sent, 0), COALESCE(b.done, 0), COALESCE(b.split, 0)
    FROM embeddings_embeddingrun AS r
    CROSS JOIN (SELECT clock_timestamp() AS at) AS now
    LEFT JOIN LATERAL (
        SELECT sum(size) FILTER (WHERE state IN ('done', 'set_aside')
                                 AND finished_at > now.at - make_interval(secs => %(recent)s)) AS recent,
               count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'sent') AS sent,
               count(*) FILTER (WHERE state = 'done') AS done, count(*) FILTER (WHERE state = 'split') AS split
        FROM embeddings_embeddingbatch WHERE run_id = r.id) AS b ON true
    WHERE r.id = ANY(%(ids)s)
"""


@dataclass(frozen=True)
class RunFigures:
    """Of one run, in chunks. fraction: what has ended of it, 0 to 1.

    rate: a second, since it was planned; recent_rate: in the last 30 s, None once it has ended; eta_seconds: at the
    recent rate. batches: by what they are; those that are done are forgotten when the run ends.
    """

    seconds: float
    fraction: float
    remaining: int
    rate: float
    recent_rate: float | None
    eta_seconds: float | None
    batches: dict[str, int]


def figures_of(runs: Sequence[EmbeddingRun]) -> dict[int, RunFigures]:
    """Figures of several runs by their ids, in one statement."""
    if not runs:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, {"ids": [run.pk for run in runs], "recent": RECENT_SECONDS})
        rows = {row[0]: row[1:] for row in cursor.fetchall()}
    return {run.pk: _figures(run, *rows[run.pk]) for run in runs if run.pk in rows}


def _figures(
    run: EmbeddingRun,
    seconds: float,
    recent: int,
    recent_seconds: float | None,
    waiting: int,
    sent: int,
    done: int,
    split: int,
) -> RunFigures:
    ended = run.encoded + run.set_aside
    is_open = run.state in OPEN_RUNS and run.started_at is not None
    rate = ended / seconds if seconds > 0 else 0.0
    recent_rate = recent / recent_seconds if is_open and recent_seconds else (0.0 if is_open else None)
    return RunFigures(
        seconds=round(seconds, 3),
        fraction=ended / run.total if run.total else float(not is_open),
        remaining=run.remaining,
        rate=round(rate, 1),
        recent_rate=None if recent_rate is None else round(recent_rate, 1),
        eta_seconds=round(run.remaining / recent_rate, 1) if recent_rate else None,
        batches={"waiting": waiting, "sent": sent, "done": done, "split": split},
    )


def describe(run: EmbeddingRun) -> str:
    """A run in a line, for people."""
    if run.state == RunState.PLANNING:
        return "planning"
    figures = figures_of([run])[run.pk]
    parts = [f"{run.encoded:,} of {run.total:,} chunks embedded"]
    if run.set_aside:
        parts.append(f"{run.set_aside:,} set aside")
    if run.state not in OPEN_RUNS:
        return ", ".join([*parts, f"{run.unchanged:,} unchanged", f"{run.state} after {figures.seconds:,.1f} s"])
    if figures.recent_rate:
        parts.append(f"{figures.recent_rate:,.0f} a second")
    if figures.eta_seconds is not None:
        parts.append(f"{figures.eta_seconds:,.0f} s left")
    return ", ".join(parts)
