"""Many small batches for four worker processes: a run of ours, vectors stored, beside RQ, which keeps its results."""

import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from embeddings.bench.children import Child, NotInstalled, child
from embeddings.bench.pipeline import check_embedded, forget_vectors
from embeddings.bench.workers import wait_for, worker
from jobs.bench.figures import Figure, Options, percentile, rounded
from jobs.bench.machine import cpu_seconds, pss_mb
from jobs.bench.parts import Outcome, tell
from jobs.bench.stack import BenchError, Stack

#: The table that this is shaped after has 10,000 tasks; `--tasks 10000` asks for them.
TASKS, DOCUMENTS, WORKERS = 2_000, 100, 4
WARM_UP_TASKS = 20
#: A cheap encoder leaves the larger part of the time to what is compared.
ENCODERS = ("static", "ngram")
RQ_DATABASE = 3
SAMPLE_SECONDS = 0.5

Values = dict[str, float]


def measure(stack: Stack, options: Options) -> Outcome:
    tasks = options.tasks or (40 if options.quick else TASKS)
    with child(stack, "rq", OMP_NUM_THREADS="1") as one:
        spec = _prepare(one, tasks)
        ours = _ours(stack, one, spec, tasks)
        outcome = Outcome(
            medians={"tasks ours": ours},
            told={"tasks": {"tasks": tasks, "documents_a_task": DOCUMENTS, "workers": WORKERS, "encoder": spec}},
        )
        try:
            theirs = _rq(stack, one, tasks)
        except NotInstalled as exc:
            outcome.not_measured["tasks_vs_rq"] = str(exc)
            return outcome
    outcome.medians["tasks rq"] = theirs
    outcome.figures["tasks_vs_rq"] = Figure(ours["tasks_per_s"] / theirs["tasks_per_s"], "times", at_least=1)
    return outcome


def _prepare(one: Child, tasks: int) -> str:
    for spec in ENCODERS:
        try:
            one.call("encoding.prepare", spec=spec, counts={"short": tasks * DOCUMENTS}, number=0, processes=1)
        except NotInstalled:
            continue
        return spec
    raise NotInstalled("there is no cheap encoder")


def _ours(stack: Stack, one: Child, spec: str, tasks: int) -> Values:
    for name, count in (("warm-up", WARM_UP_TASKS), ("tasks", tasks)):
        one.call("documents.collection", name=name, encoder=spec)
        one.call("documents.fill", name=name, length="short", count=count * DOCUMENTS)
    with worker(stack, WORKERS, EMBEDDING_BATCH_CHUNKS=str(DOCUMENTS)) as pid:
        wait_for(stack, one.call("sending.send", task="embed_all_documents", collection="warm-up"))
        forget_vectors(stack)
        _forget_speed(stack)
        with _watched(stack, pid) as used:
            sent = one.call("sending.send", task="embed_all_documents", collection="tasks")
            seconds = wait_for(stack, sent)
        check_embedded(stack, "tasks", tasks * DOCUMENTS)
    taken = _batch_ms(stack, sent)
    if len(taken) < tasks:
        raise BenchError(f"{tasks} tasks were to be run, and {len(taken)} were")
    return _values("ours", tasks, seconds, taken, used)


def _rq(stack: Stack, one: Child, tasks: int) -> Values:
    url = stack.broker_url(RQ_DATABASE)
    one.call("rq_side.fill", url=url, length="short", tasks=tasks, size=DOCUMENTS)
    with _watched(stack, one.pid) as used:
        found = one.call("rq_side.drain", url=url, workers=WORKERS)
    values = _values("RQ", tasks, found["seconds"], [], used)
    return values | {"mean_ms": rounded(found["mean_ms"]), "p95_ms": rounded(found["p95_ms"])}


def _values(name: str, tasks: int, seconds: float, taken: list[float], used: Values) -> Values:
    tell(f"tasks: {name} {tasks / seconds:,.1f} tasks/s, {tasks * DOCUMENTS / seconds:,.0f} documents/s")
    latency = {"mean_ms": statistics.mean(taken), "p95_ms": percentile(taken, 0.95)} if taken else {}
    cpu = {key: value * 1000 / tasks for key, value in used.items() if key.endswith("cpu_ms")}
    values = {"tasks_per_s": tasks / seconds, **latency, **cpu, "worker_pss_mb": used["pss_mb"]}
    return {key: rounded(value) for key, value in values.items()}


def _forget_speed(stack: Stack) -> None:
    """What the warm-up told of the encoder's speed: batches would be larger than what is asked for."""
    with stack.connect() as connection:
        connection.execute("UPDATE embeddings_embeddingrun SET cpu_seconds = 0")


def _batch_ms(stack: Stack, since: str) -> list[float]:
    """How long each batch's job took from its start to its end; since: of those that came after this job."""
    with stack.connect() as connection:
        rows = connection.execute(
            """
            SELECT extract(epoch FROM a.finished_at - a.started_at) * 1000 FROM jobs_attempt AS a
            JOIN jobs_job AS j ON j.id = a.job_id WHERE j.task = 'embeddings.embed_batch'
            AND j.created_at > (SELECT created_at FROM jobs_job WHERE id = %s)
            """,
            [since],
        ).fetchall()
    return [float(row[0]) for row in rows]


@contextmanager
def _watched(stack: Stack, pid: int) -> Iterator[Values]:
    """CPU seconds of a worker, of Postgres and of Valkey, under `…_cpu_ms`, and the most memory the worker held."""
    pids = {"worker_cpu_ms": pid, "postgres_cpu_ms": stack.postgres_pid, "valkey_cpu_ms": stack.valkey_pid}
    before = {key: cpu_seconds([one]) for key, one in pids.items()}
    used: Values = {"pss_mb": 0.0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            try:
                used["pss_mb"] = max(used["pss_mb"], pss_mb(pid))
            except psutil.Error:
                continue  # a child ended while it was looked at

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield used
    finally:
        done.set()
        watcher.join()
        used.update({key: cpu_seconds([one]) - before[key] for key, one in pids.items()})
