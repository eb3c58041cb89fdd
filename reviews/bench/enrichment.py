"""Issues that are posted over REST while a worker runs: how soon each has its summary and labels."""

import http.client
import json
import time
from typing import Any

from embeddings.bench.children import child
from embeddings.bench.web import Connection, Web, web_processes
from jobs.bench.figures import Figure, Options, percentile, rounded
from jobs.bench.parts import Outcome, tell
from jobs.bench.stack import BenchError, Stack
from reviews.bench.workers import worker

ISSUES, QUICK_ISSUES = 100, 5
PATH, LANE = "/api/v1/issues/", "fast_lane"
#: Issues come one by one, as from people.
PAUSE_SECONDS, DONE_SECONDS, POLL_SECONDS = 0.2, 120.0, 0.1
BODY = """### What happened
Uploading {what} fails with an error after thirty seconds. It worked in version {number}.
Since the upgrade the server closes the connection, and nothing is told in the log of part {number}.

```
Traceback (most recent call last):
  File "upload.py", line {number}, in send
ConnectionResetError: [Errno 104] Connection reset by peer
```
I expected the upload to finish, or at least a message that says why it does not.
"""
WHAT = ("a large file", "an image", "a folder with spaces in its name", "the weekly report", "an archive")
_TAKEN = """
    SELECT extract(epoch FROM enriched_at - created_at) FROM reviews_issue
    WHERE enrichment_state = 'done' AND id = ANY(%s)
"""
_FAILED = "SELECT id, enrichment_error FROM reviews_issue WHERE enrichment_state = 'failed' LIMIT 1"


class Poster(Connection):
    def post(self, body: dict[str, Any]) -> tuple[int, Any]:
        content = json.dumps(body).encode()
        self.request("POST", PATH, content, {**self._headers, "Content-Type": "application/json"})
        response = self.getresponse()
        return response.status, json.loads(response.read())


def measure(stack: Stack, options: Options) -> Outcome:
    count = options.tasks or (QUICK_ISSUES if options.quick else ISSUES)
    with child(stack, "enrichment", "reviews.bench.inside") as one:
        token = one.call("issues.prepare", labels=["bug", "docs", "question", "enhancement"])
    with web_processes(stack, 1) as (web,), worker(stack, LANE):
        # The first ones find a worker that has just loaded.
        _wait_done(stack, _posted(web, token, 5))
        posted_ms: list[float] = []
        taken = _wait_done(stack, _posted(web, token, count, posted_ms))
    p95 = percentile(taken, 0.95)
    tell(f"enrichment: {count} issues, each within {max(taken):.2f} s")
    values = {"p50_s": percentile(taken, 0.5), "most_s": max(taken), "post_p95_ms": percentile(posted_ms, 0.95)}
    return Outcome(
        figures={"issue_enriched_p95_s": Figure(p95, "s", at_most=5)},
        medians={"enrichment": {key: rounded(value) for key, value in values.items()}},
        told={"enrichment": {"issues": count, "lane": LANE}},
    )


def _posted(web: Web, token: str, count: int, posted_ms: list[float] | None = None) -> list[int]:
    poster = Poster(web.socket, token)
    ids = []
    for number in range(count):
        text = BODY.format(what=WHAT[number % len(WHAT)], number=number)
        began = time.perf_counter()
        status, said = poster.post({"repository": "acme/shop", "title": f"[Bug] Upload {number} fails", "body": text})
        if status != http.client.CREATED:
            raise BenchError(f"an issue was answered {status}: {said}")
        if posted_ms is not None:
            posted_ms.append((time.perf_counter() - began) * 1000)
        ids.append(int(said["id"]))
        time.sleep(PAUSE_SECONDS)
    poster.close()
    return ids


def _wait_done(stack: Stack, ids: list[int]) -> list[float]:
    """Seconds from row to result, each, by Postgres' clock. Raises BenchError if one failed, or is not done."""
    deadline = time.monotonic() + DONE_SECONDS
    with stack.connect() as connection:
        while True:
            taken = [float(row[0]) for row in connection.execute(_TAKEN, [ids]).fetchall()]
            if len(taken) == len(ids):
                return taken
            failed = connection.execute(_FAILED).fetchone()
            if failed is not None:
                raise BenchError(f"issue {failed[0]} failed: {failed[1]}")
            if time.monotonic() > deadline:
                raise BenchError(f"{len(ids) - len(taken)} issues were not enriched within {DONE_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
