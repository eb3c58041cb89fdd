"""Runs reviews in processes that are killed at a chosen step; a program of its own, told what to do line by line.

A step is a request to GitHub, a statement of Django's, or one of the record of effects; a process may be killed just
before or just after each. Line: {"review", "kill_at"}, with 0 for never. Answer: {"code", "steps"}; code 9: killed.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

KILLED, FAILED = 9, 3


class Steps:
    """Counts steps, and ends the process at one of them."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at = kill_at
        self.count = 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os._exit(KILLED)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            answer = call(*args, **kwargs)
            self.step()
            return answer

        return stepped


def prepare(steps: Steps) -> None:
    """Count in this process; and wait for nothing that only time can tell."""
    from django.db import connection

    from jobs.effects import protocol
    from jobs.ledger import effects as store
    from reviews.github.transport import Transport
    from reviews.services import throttle

    protocol.SETTLE_SECONDS = 0.01
    throttle.spend = lambda *args, **kwargs: None
    Transport._send = steps.around(Transport._send)  # type: ignore[method-assign]
    for name in ("intend", "begin", "conclude"):
        setattr(store, name, steps.around(getattr(store, name)))
    connection.execute_wrappers.append(lambda execute, *rest: steps.around(execute)(*rest))
    review_quickly()


def review_quickly() -> None:
    """A reviewer that says something else each time, as a language model may."""
    from reviews.providers.base import Brief, FileCoverage, Finding, ReviewResult, Severity
    from reviews.services import briefing

    def review(*_: Any) -> ReviewResult:
        said = os.urandom(4).hex()
        findings = tuple(
            Finding("a.py", line, line, "R1", f"{said} {line}", Severity.HIGH, "x", "", f"{said}-{line}")
            for line in (3, 30)  # the second one stands outside of the diff
        )
        return ReviewResult("embedded", findings, 0, (FileCoverage("a.py", read=True),))

    vars(briefing)["review_change"] = review
    briefing.brief_of = lambda *args: (Brief(), ())
    briefing.verified = lambda change, selection: selection


def run(review_id: int, kill_at: int) -> tuple[int, int]:
    """In a process of its own: (its exit code, steps)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code, steps = FAILED, Steps(kill_at)
        try:
            from reviews.services import reviewing

            prepare(steps)
            reviewing.run(review_id, last_attempt=False)
            code = 0
        except BaseException as exc:
            sys.stderr.write(f"review {review_id}: {type(exc).__name__}: {exc}\n")
        finally:
            os.write(writer, b"%d" % steps.count)
            os._exit(code)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    counted = os.read(reader, 20)
    os.close(reader)
    return os.waitstatus_to_exitcode(status), int(counted or 0)


def load() -> None:
    """What a review imports, once, before processes are forked."""
    from reviews.analysis import secret_patterns
    from reviews.github import client  # noqa: F401
    from reviews.providers import combined  # noqa: F401
    from reviews.services import repo_config, reviewing  # noqa: F401

    secret_patterns.find("x")
    repo_config.parse(b"finding_budget: 1")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    load()

    for line in sys.stdin:
        asked = json.loads(line)
        code, steps = run(asked["review"], asked["kill_at"])
        sys.stdout.write(json.dumps({"code": code, "steps": steps}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
