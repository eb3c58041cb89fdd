"""Whether finished jobs slow down what goes on: the same measurements on an empty ledger and on a long history."""

import statistics
import time

from jobs.bench.drain import LEDGER, drain, forget_all, send
from jobs.bench.figures import rounded
from jobs.bench.stack import Stack

REPEATS = 3
DRAINED = 1500
BATCH = 500_000

# Jobs of the last two weeks, spread over ten tasks, one in fifty failed, each with its attempt.
_JOBS = """
    INSERT INTO jobs_job (id, task, args, kwargs, queue, priority, state, attempt, max_attempts, run_at, created_at,
                          sent_at, started_at, finished_at, worker, pid, progress_note, error, reason, origin,
                          origin_detail, root_id, embed, headers)
    SELECT md5(n::text)::uuid::text, 'bench.task_' || n %% 10, '[1]', '{}', 'default', 5,
           CASE WHEN n %% 50 = 0 THEN 'failed' ELSE 'succeeded' END, 1, 1, at, at, at, at, at, 'bench@bench', 1, '',
           '', '', 'code', '', md5(n::text)::uuid::text, '{}', '{}'
    FROM generate_series(%s::bigint, %s::bigint) AS n,
    LATERAL (SELECT now() - interval '14 days' * (1 - n::float8 / %s) AS at OFFSET 0) AS t
"""
_ATTEMPTS = """
    INSERT INTO jobs_attempt (job_id, number, worker, pid, claim_id, started_at, finished_at, outcome, error_class,
                              message, traceback)
    SELECT md5(n::text)::uuid::text, 1, 'bench@bench', 1, md5(n::text)::uuid, now(), now(), 'succeeded', '', '', ''
    FROM generate_series(%s::bigint, %s::bigint) AS n
"""
# What the admin's first page asks for.
_LISTS = {
    "list_newest_ms": "SELECT * FROM jobs_job ORDER BY created_at DESC, id DESC LIMIT 50",
    "list_task_ms": "SELECT * FROM jobs_job WHERE task = 'bench.task_3' ORDER BY created_at DESC LIMIT 50",
    "list_failed_ms": "SELECT * FROM jobs_job WHERE state = 'failed' ORDER BY finished_at DESC LIMIT 50",
}


def measure(stack: Stack, rows: int) -> dict[str, float]:
    """Returns each measurement as a ratio of after to before, and the worst of the three that make the figure."""
    before = _measure(stack)
    _fill(stack, rows)
    after = _measure(stack)
    ratios = {
        "enqueue": after["send_p50_ms"] / before["send_p50_ms"],
        "claim_and_finish": before["tasks_per_s"] / after["tasks_per_s"],
    }
    lists = {key: after[key] for key in _LISTS}
    return {key: rounded(value) for key, value in {**ratios, **lists, "worst": max(ratios.values())}.items()}


def _measure(stack: Stack) -> dict[str, float]:
    drains, sends = [], []
    for _ in range(REPEATS):
        drains.append(drain(stack, LEDGER, DRAINED, keep_history=True)["tasks_per_s"])
        sends.append(send(stack, LEDGER, "each", 300)["p50_ms"])
        _forget_new(stack)
    return {
        "tasks_per_s": statistics.median(drains),
        "send_p50_ms": statistics.median(sends),
        **{key: _milliseconds(stack, query) for key, query in _LISTS.items()},
    }


def _fill(stack: Stack, rows: int) -> None:
    forget_all(stack)
    with stack.connect() as connection:
        connection.execute("SET synchronous_commit = off")
        for first in range(1, rows + 1, BATCH):
            last = min(first + BATCH - 1, rows)
            connection.execute(_JOBS, [first, last, rows])
            connection.execute(_ATTEMPTS, [first, last])
        connection.execute("VACUUM ANALYZE jobs_job")
        connection.execute("VACUUM ANALYZE jobs_attempt")


def _forget_new(stack: Stack) -> None:
    stack.broker(0).flushall()
    with stack.connect() as connection:
        connection.execute("DELETE FROM jobs_attempt WHERE worker <> 'bench@bench'")
        connection.execute("DELETE FROM jobs_job WHERE worker <> 'bench@bench'")


def _milliseconds(stack: Stack, query: str) -> float:
    taken = []
    with stack.connect() as connection:
        for _ in range(7):
            began = time.perf_counter()
            connection.execute(query.encode()).fetchall()
            taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)
