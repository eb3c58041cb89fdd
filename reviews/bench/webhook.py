"""GitHub's webhook as gunicorn serves it: how soon it answers, and what it makes of bodies that are damaged."""

import http.client
import json
import time
from collections import Counter
from uuid import uuid4

from embeddings.bench.children import child
from embeddings.bench.web import Connection, Web, web_processes
from jobs.bench.figures import Figure, Options, percentile, rounded
from jobs.bench.parts import Outcome, rounds, tell
from jobs.bench.stack import BenchError, Stack
from reviews.bench.payloads import Damage, examples, large, signature

SECRET = "only-for-a-benchmark"  # noqa: S105  (of a server that lives as long as the benchmark)
PATH = "/webhooks/github/"
ROUNDS, LARGE, DAMAGED, STORED = 5, 10, 20_000, 1_000
QUICK_SHARE = 100
Answer = tuple[int, float]


class Sender(Connection):
    """Delivers as GitHub does, over one connection."""

    def __init__(self, web: Web) -> None:
        super().__init__(web.socket, "")

    def deliver(self, event: str, body: bytes, content_type: str = "application/json") -> Answer:
        """(status, ms from the first byte sent to the last one of the answer); status 599: no answer."""
        headers = {
            "Host": "localhost",
            "Content-Type": content_type,
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": str(uuid4()),
            "X-Hub-Signature-256": signature(body, SECRET),
        }
        began = time.perf_counter()
        try:
            self.request("POST", PATH, body, headers)
            response = self.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return 599, (time.perf_counter() - began) * 1000
        return response.status, (time.perf_counter() - began) * 1000


def measure(stack: Stack, options: Options) -> Outcome:
    with web_processes(stack, 1, GITHUB_WEBHOOK_SECRET=SECRET) as (web,):
        sender = Sender(web)
        outcome = _whole(sender, rounds(options, ROUNDS))
        outcome.add(_large(sender, 2 if options.quick else LARGE))
        outcome.add(_damaged(sender, options.tasks or DAMAGED // (QUICK_SHARE if options.quick else 1)))
        sender.close()
    with child(stack, "storing", "reviews.bench.inside") as one:
        outcome.add(_stored(one.call("storing.store", count=STORED // (20 if options.quick else 1))))
    return outcome


def _whole(sender: Sender, times: int) -> Outcome:
    """All examples, again and again, after one that warms up."""
    payloads, source = examples()
    bodies = [(event, json.dumps(payload).encode()) for event, payload in payloads]
    answers = [[sender.deliver(*body) for body in bodies] for _ in range(times + 1)][1:]
    taken = [ms for round_ in answers for _, ms in round_]
    wrong = Counter(status for round_ in answers for status, _ in round_ if status not in (200, 202))
    if wrong:
        raise BenchError(f"sound payloads were answered otherwise than 200 and 202: {dict(wrong)}")
    p99 = percentile(taken, 0.99)
    tell(f"webhook: {len(taken):,} deliveries, p99 {p99:.1f} ms")
    return Outcome(
        figures={"webhook_p99_ms": Figure(p99, "ms", at_most=50)},
        medians={"webhook": {"p50_ms": rounded(percentile(taken, 0.5)), "most_ms": rounded(max(taken))}},
        told={
            "webhook": {
                "deliveries": len(taken),
                "payloads": len(bodies),
                "source": source,
                "largest_bytes": max(len(body) for _, body in bodies),
            }
        },
    )


def _large(sender: Sender, count: int) -> Outcome:
    taken: dict[str, list[float]] = {}
    for kind in ("text", "objects"):
        event, body = large(kind)
        sender.deliver(event, body)
        answers = [sender.deliver(event, body) for _ in range(count)]
        if any(status != 202 for status, _ in answers):
            raise BenchError(f"a payload of {len(body):,} bytes was answered {sorted({one for one, _ in answers})}")
        taken[kind] = [ms for _, ms in answers]
    slowest = max(percentile(some, 0.99) for some in taken.values())
    tell(f"webhook: 25 MB in {slowest:.0f} ms at most")
    values = {f"{kind}_p50_ms": rounded(percentile(some, 0.5)) for kind, some in taken.items()}
    return Outcome(
        figures={"webhook_25mb_ms": Figure(slowest, "ms", at_most=400)}, medians={"webhook at 25 MB": values}
    )


def _damaged(sender: Sender, count: int) -> Outcome:
    damage = Damage(examples()[0])
    statuses: Counter[int] = Counter()
    for number in range(count):
        event, body = damage.next()
        content_type = "application/x-www-form-urlencoded" if number % 20 == 0 else "application/json"
        statuses[sender.deliver(event, body, content_type)[0]] += 1
    failed = sum(times for status, times in statuses.items() if status >= 500)
    tell(f"webhook: {count:,} damaged bodies, {failed} answered 5xx")
    return Outcome(
        figures={"webhook_5xx": Figure(failed, "answers", at_most=0)},
        told={"damaged": {"bodies": count, "answers": {str(status): times for status, times in statuses.items()}}},
    )


def _stored(taken: dict[str, list[float]]) -> Outcome:
    p99 = percentile(taken["row_and_message"], 0.99)
    tell(f"webhook: row and message in {p99:.1f} ms (p99)")
    values = {f"{name}_p50_ms": rounded(percentile(some, 0.5)) for name, some in taken.items()}
    values |= {f"{name}_p99_ms": rounded(percentile(some, 0.99)) for name, some in taken.items()}
    return Outcome(figures={"webhook_store_p99_ms": Figure(p99, "ms", at_most=5)}, medians={"webhook stored": values})
