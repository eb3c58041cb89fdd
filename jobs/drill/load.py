"""One sender of a drill's load: `python -m jobs.drill.load OPTIONS`, a process of its own until SIGTERM.

Every send is journalled, a JSON line each, after its commit: {"at", "kind", "state", "ids", "key", "took"}. state:
committed; unknown (the connection broke during the commit); refused (it did not commit, and is not owed). ids: the
job's own first, then those of its workflow in order, with the last a chord's body.
"""

import json
import os
import random
import signal
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

Sent = tuple[list[str], str | None]

MIXTURE = {
    "echo": 28,
    "sleep": 20,
    "fail": 8,
    "effect": 18,
    "blind_effect": 6,
    "chain": 7,
    "chord": 7,
    "only": 6,
    "burst": 2,
}
BURST = 30
NEW_IDS = ("chain", "chord", "burst")
QUEUES = ("default", "default", "fast_lane", "embedding")
HTTP_SECONDS = 10.0


class Sender:
    """Sends jobs of the mixture at a steady rate."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.random = random.Random(f"{options['seed']}/load/{options['number']}")  # noqa: S311  (no secret)
        self.journal = os.open(options["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.stopping = False
        self.kinds = options.get("kinds") or MIXTURE

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        sent = 0
        due = time.monotonic()
        while not self.stopping and sent < self.options["count"]:
            due = max(due + 1 / self.options["rate"], time.monotonic() - 1)
            self.send_one()
            sent += 1
            while not self.stopping and (wait := due - time.monotonic()) > 0:
                time.sleep(min(wait, 0.1))

    def _stop(self, *_: Any) -> None:
        self.stopping = True

    def send_one(self) -> None:
        kind = self.random.choices(list(self.kinds), list(self.kinds.values()))[0]
        self.commit(kind, getattr(self, f"send_{kind}"))

    def commit(self, kind: str, send: Callable[[str], Sent]) -> None:
        """Send in a transaction, again until it commits: under the same id, if its outcome is unknown.

        Those that are several jobs get new ids each time, so one whose outcome is unknown is not sent again.
        """
        from django.db import DatabaseError, InterfaceError, connection, transaction

        began = time.time()
        job_id = str(uuid.uuid4())
        while True:
            is_committing = False
            sent: Sent = ([], None)
            try:
                with transaction.atomic():
                    sent = send(job_id)
                    is_committing = True
                state = "committed"
            except (DatabaseError, InterfaceError) as exc:
                state = "unknown" if is_committing else "refused"
                sys.stderr.write(f"{kind}: {state}: {str(exc).strip()[:200]}\n")
                connection.close()
            self.note(kind, state, sent, began)
            if state == "committed" or self.stopping or (state == "unknown" and kind in NEW_IDS):
                return
            time.sleep(0.2)
            began = time.time()

    def note(self, kind: str, state: str, sent: Sent, began: float) -> None:
        ids, key = sent
        line = {"at": time.time(), "kind": kind, "state": state, "ids": ids, "key": key, "took": time.time() - began}
        os.write(self.journal, (json.dumps(line) + "\n").encode())

    def _queue(self) -> str:
        return self.random.choice(QUEUES)

    def _apply(self, name: str, kwargs: dict[str, Any], job_id: str) -> Any:
        from celery import current_app

        return current_app.tasks[name].apply_async(kwargs=kwargs, task_id=job_id, queue=self._queue())

    def send_echo(self, job_id: str) -> Sent:
        return [self._apply("drill.part", {"value": 1}, job_id).id], None

    def send_sleep(self, job_id: str) -> Sent:
        kwargs = {"seconds": round(self.random.uniform(0.05, 0.8), 2), "steps": self.random.randint(1, 4)}
        return [self._apply("selftest.sleep", kwargs, job_id).id], None

    def send_fail(self, job_id: str) -> Sent:
        kwargs = {"message": "as ordered", "times": 1, "backoff_seconds": 0.3}
        return [self._apply("selftest.fail", kwargs, job_id).id], None

    def send_effect(self, job_id: str) -> Sent:
        url = self.options["judge"]
        return [self._apply("selftest.effect", {"url": url, "key": job_id, "lookup_url": url}, job_id).id], job_id

    def send_blind_effect(self, job_id: str) -> Sent:
        return [self._apply("selftest.effect", {"url": self.options["judge"], "key": job_id}, job_id).id], job_id

    def send_chain(self, key: str) -> Sent:
        from celery import chain, current_app

        step = current_app.tasks["drill.part"]
        url = self.options["judge"]
        effect = current_app.tasks["selftest.effect"].si(url=url, key=key, lookup_url=url).set(task_id=key)
        result = chain(step.si(1).set(queue=self._queue()), step.si(2), effect).apply_async()
        ids = [result.id]
        while (result := result.parent) is not None:
            ids.insert(0, result.id)
        return ids, key

    def send_chord(self, _: str) -> Sent:
        from celery import chord, current_app

        values = [self.random.randint(0, 99) for _ in range(self.random.randint(2, 5))]
        step, join = current_app.tasks["drill.part"], current_app.tasks["drill.join"]
        result = chord([step.s(value).set(queue=self._queue()) for value in values], join.s(values)).apply_async()
        return [*(member.id for member in result.parent.results), result.id], None

    def send_burst(self, _: str) -> Sent:
        """More at once than there are processes, so that some wait in the broker."""
        ids = [str(uuid.uuid4()) for _ in range(BURST)]
        for job_id in ids:
            self._apply("drill.part", {"value": 1, "seconds": 0.05}, job_id)
        return ids, None

    def send_only(self, job_id: str) -> Sent:
        key = f"{self.options['number']}-{self.random.randint(1, 3)}"
        return [self._apply("drill.only", {"key": key, "seconds": 0.2}, job_id).id], None


class RestSender(Sender):
    """Sends over REST, each job under an Idempotency-Key, again until it is accepted."""

    def send_one(self) -> None:
        key = str(uuid.uuid4())
        url = self.options["judge"]
        body = json.dumps({"task": "selftest.effect", "kwargs": {"url": url, "key": key, "lookup_url": url}}).encode()
        while True:
            began = time.time()
            status, answer = self._post(body, key)
            state = "committed" if status in (200, 201) else "refused" if 400 <= status < 500 else "unknown"
            self.note(f"rest {status}", state, ([answer.get("id", "")] if state == "committed" else [], key), began)
            if state == "committed" or self.stopping:
                return
            time.sleep(0.3)

    def _post(self, body: bytes, key: str) -> tuple[int, dict[str, Any]]:
        headers = {
            "Authorization": f"Bearer {self.options['token']}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        request = urllib.request.Request(self.options["web"] + "/api/v1/jobs/", body, headers, method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as response:  # noqa: S310
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as exc:
            return exc.code, {}
        except (OSError, ValueError):
            return 599, {}


class DyingSender(Sender):
    """Commits some jobs, and is gone before their messages are sent."""

    def run(self) -> None:
        from django.db import transaction

        ids = [str(uuid.uuid4()) for _ in range(self.options["count"])]

        def die() -> None:
            self.note("orphan", "committed", (ids, None), time.time())
            os._exit(0)

        with transaction.atomic():
            transaction.on_commit(die)  # first in line: before the ledger's own
            for job_id in ids:
                self._apply("drill.part", {"value": 1}, job_id)


SENDERS = {"python": Sender, "rest": RestSender, "dying": DyingSender}


def main(options: dict[str, Any]) -> None:
    if options["as"] != "rest":
        import importlib

        import django

        importlib.import_module("config")
        django.setup()
        from jobs.registry import load_tasks

        load_tasks()
    SENDERS[options["as"]](options).run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
