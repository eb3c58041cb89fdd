"""`manage.py bench jobs`: the ledger beside plain Celery and beside stock django-celery-results.

Rounds are interleaved, so that what else the machine does meets all alike, and figures are medians. Compare the
ratios: the absolute numbers are this machine's, at this moment.
"""

import time
from typing import Any

from jobs.bench import history, machine, rest, schedules
from jobs.bench.drain import LEDGER, PLAIN, STOCK, Contender, drain, forget_all, send, worker
from jobs.bench.figures import Figure, Options, Report, median_of
from jobs.bench.senders import QUEUE
from jobs.bench.stack import Stack, own_stack

ROUNDS, TASKS = 3, 3000
#: Stock django-celery-results takes ten times as long for a task, so it gets fewer.
STOCK_SHARE = 8
SENDS, BULK, STARTS = 300, 1000, 60
IDLE_SECONDS = 2.0

Values = dict[str, float]


def run(options: Options) -> Report:
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    tasks = options.tasks or (200 if options.quick else TASKS)
    share = 10 if options.quick else 1
    bystanders = machine.Bystanders()
    measured: dict[str, list[Values]] = {"ledger": [], "plain": [], "stock": [], "bare_loop": []}
    with own_stack() as stack:
        for _ in range(rounds):
            for name, values in _round(stack, tasks, share).items():
                measured[name].append(values)
        fire = schedules.fire_seconds(stack, schedules.COUNT // share)
        at_rest = rest.statements_per_s(stack, rest.WATCH_SECONDS / share)
        slowdown = history.measure(stack, options.history) if options.history else {}
        settings = _durability(stack)
    medians = {name: median_of(values) for name, values in measured.items()}
    ratios = median_of([_ratios(measured, number) for number in range(rounds)])
    return Report(
        name="jobs",
        machine=machine.describe() | settings,
        rounds=rounds,
        figures=_figures(medians["ledger"], ratios)
        | {
            "schedules_10k_fire_s": Figure(fire, "s", at_most=10),
            "idle_statements_per_s": Figure(at_rest, "statements/s", at_most=20),
        }
        | _history_figure(slowdown, options.history),
        further={
            "tasks": tasks,
            "medians": medians,
            "per_round": measured,
            **({"history": {"finished_jobs": options.history, **slowdown}} if slowdown else {}),
            "also_ran": bystanders.report(),
        },
    )


def _round(stack: Stack, tasks: int, share: int) -> dict[str, Values]:
    """Each contender once, one after the other."""
    values = {"bare_loop": {"calls_per_s": machine.bare_loop_per_s()}}
    values["plain"] = drain(stack, PLAIN, tasks)
    values["ledger"] = drain(stack, LEDGER, tasks)
    values["stock"] = drain(stack, STOCK, max(50, tasks // STOCK_SHARE))
    for contender in (PLAIN, LEDGER):
        values[contender.sender] |= _sends(stack, contender, share) | _idle(stack, contender, share)
    return values


def _sends(stack: Stack, contender: Contender, share: int) -> Values:
    forget_all(stack)
    each = send(stack, contender, "each", SENDS // share)
    bulk = send(stack, contender, "bulk", BULK // share)
    return {f"send_{key}": value for key, value in each.items()} | {f"bulk_{key}": value for key, value in bulk.items()}


def _idle(stack: Stack, contender: Contender, share: int) -> Values:
    """What an idle worker holds in memory, and how soon it starts a job."""
    forget_all(stack)
    with worker(stack, contender) as pid:
        starts = send(stack, contender, "starts", STARTS // share)
        time.sleep(IDLE_SECONDS / share)
        return {"worker_pss_mb": machine.pss_mb(pid)} | {f"idle_start_{key}": value for key, value in starts.items()}


def _ratios(measured: dict[str, list[Values]], number: int) -> Values:
    """Within a round, because the machine may be busier in the next."""
    ours = measured["ledger"][number]["tasks_per_s"]
    return {
        "drain_vs_celery": ours / measured["plain"][number]["tasks_per_s"],
        "drain_vs_results_backend": ours / measured["stock"][number]["tasks_per_s"],
    }


def _figures(ours: Values, ratios: Values) -> dict[str, Figure]:
    return {
        "drain_vs_celery": Figure(ratios["drain_vs_celery"], "times", at_least=1.5),
        "drain_vs_results_backend": Figure(ratios["drain_vs_results_backend"], "times", at_least=10),
        "send_p50_ms": Figure(ours["send_p50_ms"], "ms"),
        "send_p99_ms": Figure(ours["send_p99_ms"], "ms", at_most=5),
        "bulk_send_per_s": Figure(ours["bulk_per_s"], "jobs/s"),
        "idle_start_p95_ms": Figure(ours["idle_start_p95_ms"], "ms"),
        "worker_pss_mb": Figure(ours["worker_pss_mb"], "MiB"),
    }


def _history_figure(slowdown: Values, rows: int) -> dict[str, Figure]:
    """The fixed key is for ten million rows alone; fewer show under a key of their own."""
    if not slowdown:
        return {}
    key = "history_10m_slowdown" if rows >= 10_000_000 else f"history_{rows}_slowdown"
    return {key: Figure(slowdown["worst"], "times", at_most=1.1)}


def _durability(stack: Stack) -> dict[str, Any]:
    """The settings under which it was measured, as the servers say."""
    with stack.connect() as connection:
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        postgres = {name: connection.execute(f"SHOW {name}").fetchone() for name in names}
    broker = stack.broker(0)
    answer: Any = broker.config_get("append*")
    return {
        "postgres": {name: row[0] if row else None for name, row in postgres.items()},
        "valkey": {name: answer.get(name) for name in ("appendonly", "appendfsync")},
        "lane": QUEUE,
    }
