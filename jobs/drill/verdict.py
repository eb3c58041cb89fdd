"""What became of the jobs: by the senders' journals, the ledger and the judge's log."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

FINISHED = frozenset({"succeeded", "failed", "cancelled", "discarded"})
UNFINISHED_SQL = "state IN ('scheduled', 'queued', 'running')"

#: How errors of jobs begin that rest because their processes died too often.
_CRASHES = ("WorkerLostError", "JobCrashed")

#: Tasks whose jobs are meant to end failed.
MEANT_TO_FAIL = frozenset({"drill.die"})


@dataclass(frozen=True)
class Sent:
    """One line of a sender's journal; see jobs.drill.load."""

    at: float
    kind: str
    state: str
    ids: list[str]
    key: str | None
    took: float


@dataclass(frozen=True)
class Row:
    """One job as the ledger has it at the end; times as time.time() tells them. starts: of all of its runs."""

    id: str
    task: str
    state: str
    created_at: float
    finished_at: float | None
    error: str
    key: str | None
    origin: str
    note: str
    starts: list[float]
    successes: int


@dataclass
class Facts:
    """All that is known when a drill has settled."""

    sent: list[Sent]
    rows: dict[str, Row]
    calls: Counter[str]
    stuck: set[str]


@dataclass
class Verdict:
    """The ids in each list are what the numbers of a report count. failed: id → error."""

    sent: int = 0
    finished: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    missing_effects: list[str] = field(default_factory=list)
    uncertain: list[str] = field(default_factory=list)
    crashed_out: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Nothing lost, doubled or stuck; and nothing failed but by its policy."""
        broken = (self.lost, self.twice, self.doubled, self.ghosts, self.stuck, self.missing_effects)
        return not any(broken) and not self.unexplained

    @property
    def unexplained(self) -> dict[str, str]:
        """What failed although nothing in the load fails: id → error."""
        explained = {*self.uncertain, *self.crashed_out}
        return {job_id: error for job_id, error in self.failed.items() if job_id not in explained}


def read_journals(paths: Iterable[Path]) -> list[Sent]:
    lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    return [Sent(**json.loads(line)) for line in lines]


def read_calls(path: Path) -> Counter[str]:
    """How often the far side did each key."""
    return Counter(json.loads(line)["key"] for line in path.read_text().splitlines())


def read_rows(connection: psycopg.Connection[tuple[Any, ...]], since: float) -> dict[str, Row]:
    """Every job made since a time."""
    found = connection.execute(
        """
        SELECT j.id, j.task, j.state, extract(epoch FROM j.created_at)::float8,
               extract(epoch FROM j.finished_at)::float8, j.error, j.kwargs->>'key', j.origin,
               format('%%s %%s in %%s: attempt %%s, crashes %%s, sent %%s, sends %%s, held %%s, worker %%s, %%s',
                      j.task, j.state, j.queue, j.attempt, j.crashes, j.sent_at, j.sends, j.held, j.worker, j.error),
               array_remove(array_agg(extract(epoch FROM a.started_at)::float8)
                            || extract(epoch FROM j.started_at)::float8, NULL),
               count(*) FILTER (WHERE a.outcome = 'succeeded')
        FROM jobs_job AS j LEFT JOIN jobs_attempt AS a ON a.job_id = j.id
        WHERE j.created_at >= to_timestamp(%s) GROUP BY j.id
        """,
        [since],
    ).fetchall()
    return {row[0]: Row(*row) for row in found}


def owed(sent: Iterable[Sent], rows: dict[str, Row]) -> set[str]:
    """The ids that must exist: all that was committed, except steps of workflows that a failure has ended."""
    ids: set[str] = set()
    for entry in sent:
        if entry.state != "committed":
            continue
        if entry.kind == "chord":
            *members, body = entry.ids
            ids.update(members)
            if all(member in rows and rows[member].state == "succeeded" for member in members):
                ids.add(body)
        elif entry.kind == "chain":
            for step in entry.ids:
                ids.add(step)
                if step not in rows or rows[step].state != "succeeded":
                    break
        else:
            ids.update(entry.ids)
    return ids


def judge(facts: Facts, among: set[str] | None = None) -> Verdict:
    """Count. among: only these jobs; effects without a job are counted where there is no such choice."""
    rows = {job_id: row for job_id, row in facts.rows.items() if among is None or job_id in among}
    must = owed(facts.sent, facts.rows)
    missing = {job_id for job_id in must if job_id not in facts.rows and (among is None or job_id in among)}
    verdict = Verdict(sent=len(rows) + len(missing))
    verdict.lost = sorted(missing)
    keys: dict[str, list[Row]] = defaultdict(list)
    for row in rows.values():
        if row.state in FINISHED:
            verdict.finished += 1
        else:
            verdict.lost.append(row.id)
        if row.successes > 1:
            verdict.twice.append(row.id)
        # What strangers sent may fail as it likes.
        if row.state == "failed" and row.task not in MEANT_TO_FAIL and row.origin != "foreign":
            verdict.failed[row.id] = row.error
            if "uncertain" in row.error.lower():
                verdict.uncertain.append(row.id)
            elif row.error.startswith(_CRASHES):
                verdict.crashed_out.append(row.id)
        if row.task == "selftest.effect" and row.key:
            keys[row.key].append(row)
    for key, of_key in keys.items():
        if facts.calls[key] > 1:
            verdict.doubled.append(key)
        if not facts.calls[key] and any(row.state == "succeeded" for row in of_key):
            verdict.missing_effects.append(key)
    if among is None:
        verdict.ghosts = sorted(set(facts.calls) - set(keys))
    verdict.stuck = sorted(facts.stuck & set(rows))
    return verdict
