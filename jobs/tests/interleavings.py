"""Senders, dispatchers, workers, operators and deaths, stepped in an order that a seed decides, on real Postgres.

Each actor does what its process does, one statement or transaction at a time, through the very functions of
`jobs.ledger.states`; between any two of them another actor may go, or the actor may die. The broker is a list that
loses, doubles and reorders. At the end all faults stop, and what is owed must be paid.
"""

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.db import connections

from jobs.ledger import states
from jobs.ledger.records import Record
from jobs.models import Outcome, State

Connection = psycopg.Connection[tuple[Any, ...]]
FINISHED = {"succeeded", "failed", "cancelled", "discarded"}
MOST_CRASHES = 3


def connect() -> Connection:
    parameters = connections["default"].get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    opened = psycopg.connect(**parameters, autocommit=True)
    opened.execute("SET synchronous_commit = off")
    return opened


@dataclass
class Message:
    job_id: str
    sent_for: int


@dataclass
class Claimed:
    """A run as its worker knows it."""

    job_id: str
    claim_id: str
    worker: str
    attempt: int
    max_attempts: int
    is_frozen: bool = False


@dataclass
class World:
    """One interleaving."""

    seed: int
    connection: Connection
    dispatching: Connection
    jobs: list[str] = field(default_factory=list)
    broker: list[Message] = field(default_factory=list)
    runs: list[Claimed] = field(default_factory=list)
    successes: Counter[str] = field(default_factory=Counter)
    story: list[str] = field(default_factory=list)
    # A dispatcher between its lock and its mark.
    locked: "list[dict[str, Any]] | None" = None

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.cursor = self.connection.cursor()

    def play(self, steps: int) -> None:
        actions: list[Callable[[], None]] = [
            self.send, self.send, self.promote, self.lock, self.publish_locked, self.claim, self.claim, self.claim,
            self.finish, self.finish, self.finish, self.freeze, self.die, self.lose_worker, self.rescue, self.resend,
            self.wipe, self.double, self.cancel, self.retry, self.discard, self.hand_back, self.park,
        ]  # fmt: skip
        self.connection.execute("SET lock_timeout = '5ms'")  # whoever would wait steps again later
        for _ in range(steps):
            action = self.random.choice(actions)
            try:
                action()
            except psycopg.errors.LockNotAvailable:
                self.note(f"{action.__name__} waits")
        self.connection.execute("SET lock_timeout = 0")

    def note(self, text: str) -> None:
        self.story.append(text)

    # --- senders ---

    def send(self) -> None:
        """Insert, and perhaps die before the message goes out, or before it is marked as sent."""
        job_id = f"i{self.seed}-{len(self.jobs)}"
        record = Record(
            id=job_id, task="selftest.echo", args=[1], kwargs={}, embed={}, headers={}, queue="default",
            priority=self.random.choice([5, 5, 9]), max_attempts=self.random.choice([1, 3]), origin="code",
            root_id=job_id, delay_seconds=self.random.choice([None, None, 0.0005]),
        )  # fmt: skip
        state = states.insert(self.cursor, [record])[job_id]
        self.jobs.append(job_id)
        self.note(f"sent {job_id} as {state}")
        if state == "queued" and self.random.random() < 0.7:
            self.broker.append(Message(job_id, 0))
            if self.random.random() < 0.8:
                states.mark_sent(self.cursor, [(job_id, 0)])

    # --- dispatchers ---

    def promote(self) -> None:
        for job_id in states.promote_due(self.cursor, 3):
            self.note(f"promoted {job_id}")

    def lock(self) -> None:
        if self.locked is None:
            self.dispatching.execute("BEGIN")
            with self.dispatching.cursor() as cursor:
                self.locked = states.lock_owed(cursor, promoted=[], limit=3, grace_seconds=0)

    def publish_locked(self) -> None:
        """Publish, mark and commit; or die before, between or after."""
        if self.locked is None:
            return
        rows, self.locked = self.locked, None
        published = rows[: self.random.randint(0, len(rows))] if self.random.random() < 0.3 else rows
        self.broker += [Message(row["id"], row["attempt"]) for row in published]
        if len(published) < len(rows) or self.random.random() < 0.1:
            self.dispatching.execute("ROLLBACK")
            self.note("a dispatcher died while sending")
            return
        with self.dispatching.cursor() as cursor:
            states.mark_sent(cursor, [(row["id"], row["attempt"]) for row in rows])
        self.dispatching.execute("COMMIT")
        self.note(f"dispatched {[row['id'] for row in rows]}")

    # --- the broker ---

    def double(self) -> None:
        if self.broker:
            self.broker.insert(self.random.randrange(len(self.broker)), self.random.choice(self.broker))

    def wipe(self) -> None:
        if self.random.random() < 0.3:
            self.broker.clear()
            self.cursor.execute("SELECT clock_timestamp()")
            states.owe_all_again(self.cursor, self.cursor.fetchall()[0][0], 100)
            self.note("the broker was wiped, and it was noticed")
        elif self.broker:
            lost = self.broker.pop(self.random.randrange(len(self.broker)))
            self.note(f"the broker lost {lost.job_id}")

    def resend(self, chance: float = 0.5) -> None:
        """An old message is taken for lost; rightly or not."""
        if self.random.random() < chance:
            lanes = {("default", 5): None, ("default", 9): None}
            found = states.resend_lost(self.cursor, lanes, "test", grace_seconds=0, lease_seconds=0, limit=10)
            self.note(f"owed again {found}")

    # --- workers ---

    def claim(self) -> None:
        """Take a message; the process may die with it, or after the claim, of which nobody then knows."""
        if not self.broker:
            return
        message = self.broker[0]
        if self.random.random() < 0.1:
            self.broker.pop(0)
            self.note(f"a worker died with the message of {message.job_id}")
            return
        worker = f"w{self.random.randrange(3)}"
        claim = str(uuid.uuid4())
        values: dict[str, str | int] = {
            "claim": claim,
            "worker": worker,
            "pid": 7,
            "id": message.job_id,
            "task": "selftest.echo",
        }
        self.cursor.execute(states.CLAIM, values)
        self.broker.pop(0)
        row = next(iter(self.cursor.fetchall()), None)
        if row is None:
            return
        self.note(f"{worker} claimed {message.job_id}")
        self.runs.append(Claimed(message.job_id, claim, worker, row[0] - row[1], row[3]))

    def finish(self) -> None:
        running = [run for run in self.runs if not run.is_frozen]
        if running:
            run = self.random.choice(running)
            self._finish(run, self.random.random())

    def _finish(self, run: Claimed, luck: float) -> None:
        if luck < 0.6:
            row = {"id": run.job_id, "claim_id": run.claim_id, "keep": False}
            done = run.job_id in states.succeed(self.cursor, [row])
            self.successes[run.job_id] += done
        elif luck < 0.8 and run.attempt < run.max_attempts:
            done = self._end(run, State.SCHEDULED, Outcome.FAILED, delay_seconds=0.0, error="again")
        elif luck < 0.85:
            done = self._end(run, State.SCHEDULED, Outcome.SNOOZED, delay_seconds=0.0, is_counted=False)
        elif luck < 0.9:
            done = self._end(run, State.QUEUED, Outcome.CRASHED, is_crash=True, is_counted=False)
        else:
            done = self._end(run, State.FAILED, Outcome.FAILED, error="no")
        self.runs.remove(run)
        self.note(f"{run.job_id} ended ({luck:.2f}): {'counts' if done else 'had moved on'}")

    def _end(self, run: Claimed, state: State, outcome: Outcome, **more: Any) -> bool:
        return states.end_attempt(self.cursor, run.job_id, run.claim_id, state=state, outcome=outcome, **more)

    def freeze(self) -> None:
        """A worker freezes, is taken for dead, and perhaps comes back."""
        if self.runs:
            run = self.random.choice(self.runs)
            run.is_frozen = not run.is_frozen

    def die(self) -> None:
        """A child is gone, and its worker tells so."""
        if self.runs:
            run = self.random.choice(self.runs)
            self._end(run, State.QUEUED, Outcome.CRASHED, is_crash=True, is_counted=False)
            self.runs.remove(run)
            self.note(f"the child of {run.job_id} died")

    def lose_worker(self) -> None:
        """A worker is gone without a word; what it ran is found by the rescue."""
        worker = f"w{self.random.randrange(3)}"
        self.runs = [run for run in self.runs if run.worker != worker or run.is_frozen]
        self.note(f"{worker} died")

    def rescue(self) -> None:
        """Take away from every worker what it does not run, and what it runs frozen."""
        alive = {run.claim_id for run in self.runs if not run.is_frozen}
        self.cursor.execute(
            "SELECT id, claim_id::text, crashes, cancel_requested_at IS NULL FROM jobs_job WHERE state = 'running'"
        )
        lost = [row for row in self.cursor.fetchall() if row[1] not in alive]
        common = {"is_crash": True, "outcome": "lost", "kind": "rescued", "error": "gone", "text": "gone"}
        again = [{"id": i, "claim_id": c, **common} for i, c, n, wanted in lost if wanted and n + 1 < MOST_CRASHES]
        self.note(f"rescued {states.requeue(self.cursor, again) if again else []}")
        for job_id, claim, crashes, wanted in lost:
            state = State.FAILED if wanted else State.CANCELLED
            if not wanted or crashes + 1 >= MOST_CRASHES:
                states.end_attempt(self.cursor, job_id, claim, state=state, outcome=Outcome.LOST, is_crash=True)

    def hand_back(self) -> None:
        if self.runs:
            run = self.random.choice(self.runs)
            row = {"id": run.job_id, "claim_id": run.claim_id, "is_crash": False, "outcome": "handed_back"}
            states.requeue(self.cursor, [{**row, "kind": "handed_back", "error": "", "text": "stopped"}])
            if self.random.random() < 0.7:
                self.runs.remove(run)

    def park(self) -> None:
        if self.broker and self.random.random() < 0.3:
            states.park(self.cursor, self.broker[0].job_id, "unknown", most_seconds=0)
            self.broker.pop(0)

    # --- operators ---

    def cancel(self) -> None:
        if self.jobs and self.random.random() < 0.3:
            job_id = self.random.choice(self.jobs)
            if states.cancel_waiting(self.cursor, job_id, "no") or states.request_cancel(self.cursor, job_id, "no"):
                self.note(f"cancelled {job_id}")

    def retry(self) -> None:
        if self.jobs and self.random.random() < 0.5:
            job_id = self.random.choice(self.jobs)
            if states.retry(self.cursor, job_id, allowance=2, args=None, kwargs=None, unique_key=None):
                self.note(f"retried {job_id}")

    def discard(self) -> None:
        if (
            self.jobs
            and self.random.random() < 0.2
            and states.discard(self.cursor, self.random.choice(self.jobs), "no")
        ):
            self.note("discarded one")

    # --- the end ---

    def settle(self) -> None:
        """No more faults: what the ledger owes must end, without a person."""
        if self.locked is not None:
            self.dispatching.execute("ROLLBACK")
            self.locked = None
        for run in self.runs:
            run.is_frozen = False
        for _ in range(40):
            while self.runs:
                self._finish(self.runs[0], 0.0)
            self.rescue()
            if not self.unfinished():
                return
            self.resend(1.0)
            self.promote()
            self.lock()
            rows: list[dict[str, Any]] = self.locked or []
            self.locked = None
            with self.dispatching.cursor() as cursor:
                states.mark_sent(cursor, [(row["id"], row["attempt"]) for row in rows])
            self.dispatching.execute("COMMIT")
            self.broker += [Message(row["id"], row["attempt"]) for row in rows]
            while self.broker:
                message = self.broker.pop(0)
                claim = str(uuid.uuid4())
                values = {"claim": claim, "worker": "w", "pid": 1, "id": message.job_id, "task": "selftest.echo"}
                self.cursor.execute(states.CLAIM, values)
                for row in self.cursor.fetchall():
                    self.runs.append(Claimed(message.job_id, claim, "w", row[0] - row[1], row[3]))

    def unfinished(self) -> list[tuple[str, str]]:
        self.cursor.execute("SELECT id, state FROM jobs_job WHERE state IN ('scheduled', 'queued', 'running')")
        return list(self.cursor.fetchall())

    def verdict(self) -> str:
        """What is wrong at the end; empty if nothing is."""
        self.cursor.execute("SELECT id, state, attempt, uncounted, crashes FROM jobs_job")
        rows = {job_id: rest for job_id, *rest in self.cursor.fetchall()}
        wrong = [f"{job_id} is {rest[0]}" for job_id, rest in rows.items() if rest[0] not in FINISHED]
        wrong += [f"{job_id} is lost" for job_id in self.jobs if job_id not in rows]
        wrong += [f"{job_id} succeeded {n} times" for job_id, n in self.successes.items() if n > 1]
        wrong += [f"{job_id} succeeded, and is {rows[job_id][0]}" for job_id, n in self.successes.items()
                  if n and rows[job_id][0] != "succeeded"]  # fmt: skip
        wrong += [f"{job_id} used {a - u} attempts" for job_id, (_, a, u, _) in rows.items() if a < u]
        self.cursor.execute(
            "SELECT job_id, count(*) FROM jobs_attempt WHERE outcome = 'succeeded' GROUP BY job_id HAVING count(*) > 1"
        )
        wrong += [f"{job_id} has {n} successful attempts" for job_id, n in self.cursor.fetchall()]
        return "; ".join(wrong)

    def clear(self) -> None:
        for table, column in (("job", "id"), ("attempt", "job_id"), ("jobevent", "job_id")):
            self.cursor.execute(f"DELETE FROM jobs_{table} WHERE {column} LIKE %s", [f"i{self.seed}-%"])


def run(first_seed: int, count: int, steps: int = 40) -> list[str]:
    """Play `count` interleavings. Returns, for each that went wrong, its seed, what was wrong and its story."""
    failures = []
    with connect() as connection, connect() as dispatching:
        for seed in range(first_seed, first_seed + count):
            world = World(seed, connection, dispatching)
            world.play(steps)
            world.settle()
            wrong = world.verdict()
            if wrong:
                failures.append(json.dumps({"seed": seed, "wrong": wrong, "story": world.story}, indent=1))
            world.clear()
            if seed % 500 == 0:
                connection.execute("VACUUM jobs_job, jobs_attempt, jobs_jobevent")
    return failures
