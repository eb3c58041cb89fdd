"""Swaps of an index under steady queries, over HTTP, from several web processes."""

import http.client
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from embeddings.bench.children import Child, child
from embeddings.bench.web import Connection, Web, web_processes
from jobs.bench.figures import Figure, Options, percentile, rounded
from jobs.bench.parts import Outcome, tell
from jobs.bench.stack import BenchError, Stack

SWAPS, PROCESSES, DOCUMENTS, QUESTIONS = 100, 4, 15_000, 40
#: Between two queries to a process, and between two swaps: as little as lets two cores keep up.
QUERY_PAUSE_SECONDS, SWAP_PAUSE_SECONDS, LIVE_WITHIN_SECONDS = 0.02, 0.05, 10.0
COLLECTION, PATH = "swaps", "/api/v1/search/"
#: The queries are encoded in the web processes; how fast is measured elsewhere.
ENCODER = "ngram"
WARM_UP_SWAPS = 4


@dataclass
class Asker:
    """Asks one web process again and again, in a thread, and judges each answer."""

    web: Web
    token: str
    questions: list[str]
    answers: dict[str, list[list[str]]]
    asked: int = 0
    failed: int = 0
    mixed: int = 0
    wrong: int = 0
    ms: list[float] = field(default_factory=list)
    #: When each version was first seen in an answer after the other one.
    changes: list[tuple[float, str]] = field(default_factory=list)
    first_problem: str = ""

    def run(self, done: threading.Event) -> None:
        connection = Connection(self.web.socket, self.token)
        while not done.wait(QUERY_PAUSE_SECONDS):
            self._ask(connection, self.asked % len(self.questions))
        connection.close()

    def _ask(self, connection: Connection, number: int) -> None:
        self.asked += 1
        began = time.perf_counter()
        try:
            status, said = connection.get(PATH, q=self.questions[number], k=10, collection=COLLECTION, mode="vector")
        except (OSError, ValueError, http.client.HTTPException) as exc:
            self.failed += 1
            self._note(f"{type(exc).__name__}: {exc}")
            connection.close()
            return
        self.ms.append((time.perf_counter() - began) * 1000)
        if status != http.client.OK or said["warnings"]:
            self.failed += 1
            self._note(f"{status}: {said}")
            return
        self._judge(number, said)

    def _judge(self, number: int, said: dict[str, Any]) -> None:
        version = str(said["index"]["version"])
        if not self.changes or self.changes[-1][1] != version:
            self.changes.append((time.monotonic(), version))
        found = sorted(hit["id"] for hit in said["hits"])
        if found == self.answers[version][number]:
            return
        known = {one for of_version in self.answers.values() for one in of_version[number]}
        if known.issuperset(found):
            self.mixed += 1
        else:
            self.wrong += 1
        self._note(f"version {version} answered {found} instead of {self.answers[version][number]}")

    def _note(self, problem: str) -> None:
        self.first_problem = self.first_problem or problem[:500]


def measure(stack: Stack, options: Options) -> Outcome:
    swaps, count = (6, 400) if options.quick else (SWAPS, DOCUMENTS)
    with child(stack, "swaps") as one:
        made = one.call("swaps.make", spec=ENCODER, count=count, questions=QUESTIONS)
        token = one.call("swaps.token")
        one.call("swaps.activate", number=1)
        tell(f"swaps: two versions of {count:,} documents, {len(made['questions'])} questions")
        with web_processes(stack, PROCESSES) as webs:
            askers = [Asker(web, token, made["questions"], made["answers"]) for web in webs]
            live_ms, grown = _under_queries(one, askers, swaps)
    return _outcome(askers, swaps, count, live_ms, grown)


def _under_queries(one: Child, askers: list[Asker], swaps: int) -> tuple[list[float], list[float]]:
    """Swap to and fro while all of them ask. Returns ms from pointer to answer, and MB that each process grew by."""
    done = threading.Event()
    threads = [threading.Thread(target=asker.run, args=[done], daemon=True) for asker in askers]
    for thread in threads:
        thread.start()
    try:
        _wait_until_seen(askers, "1", 0.0)
        for number in range(WARM_UP_SWAPS):
            _swap(one, askers, number)
        before = [asker.web.private_mb() for asker in askers]
        live_ms: list[float] = []
        for number in range(swaps):
            live_ms += _swap(one, askers, number)
            time.sleep(SWAP_PAUSE_SECONDS)
        return live_ms, [asker.web.private_mb() - mb for asker, mb in zip(askers, before, strict=True)]
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _swap(one: Child, askers: list[Asker], number: int) -> list[float]:
    version = "1" if number % 2 else "2"
    pointed: float = one.call("swaps.activate", number=int(version))
    return [(seen - pointed) * 1000 for seen in _wait_until_seen(askers, version, pointed)]


def _wait_until_seen(askers: list[Asker], version: str, since: float) -> list[float]:
    """When each process first answered from a version, since it was pointed at."""
    deadline = time.monotonic() + LIVE_WITHIN_SECONDS
    while time.monotonic() < deadline:
        seen = [asker.changes[-1] for asker in askers if asker.changes]
        if len(seen) == len(askers) and all(at >= since and which == version for at, which in seen):
            return [at for at, _ in seen]
        time.sleep(0.002)
    problem = next((asker.first_problem for asker in askers if asker.first_problem), "no answer is from it")
    raise BenchError(f"version {version} was not in use within {LIVE_WITHIN_SECONDS:g} s: {problem}")


def _outcome(askers: list[Asker], swaps: int, count: int, live_ms: list[float], grown: list[float]) -> Outcome:
    taken = [ms for asker in askers for ms in asker.ms]
    values = {
        "queries": sum(asker.asked for asker in askers),
        "query_p50_ms": percentile(taken, 0.5),
        "query_p99_ms": percentile(taken, 0.99),
        "live_p50_ms": percentile(live_ms, 0.5),
        "live_p95_ms": percentile(live_ms, 0.95),
        "live_most_ms": max(live_ms),
        "grown_most_mb": max(grown),
    }
    problems = [asker.first_problem for asker in askers if asker.first_problem]
    tell(f"swaps: {swaps} under {values['queries']:,} queries, live within {values['live_p95_ms']:.0f} ms (p95)")
    return Outcome(
        figures={
            "swap_failed_queries": Figure(sum(asker.failed for asker in askers), "queries", at_most=0),
            "swap_mixed_answers": Figure(sum(asker.mixed for asker in askers), "answers", at_most=0),
            "swap_wrong_answers": Figure(sum(asker.wrong for asker in askers), "answers", at_most=0),
            "swap_live_p95_ms": Figure(values["live_p95_ms"], "ms", at_most=100),
            "swap_private_mb": Figure(values["grown_most_mb"], "MB a process", at_most=5),
        },
        medians={"swaps": {key: rounded(value) for key, value in values.items()}},
        told={
            "swaps": {"swaps": swaps, "documents": count, "web_processes": len(askers), "encoder": ENCODER},
            **({"swap_problems": problems} if problems else {}),
        },
    )
