"""The end of a worker whose jobs do not end in time: it comes, whatever its children do meanwhile."""

import os
import subprocess
import sys
from typing import Any

import pytest

from jobs.worker import processes
from jobs.worker.draining import Drain


@pytest.fixture
def child() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])


def test_a_child_that_is_gone_before_it_is_killed_is_no_error(
    child: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(pid: int) -> int:
        """The main thread, which waits for all children, has waited for this one."""
        child.kill()
        child.wait()
        return 2

    monkeypatch.setattr(processes, "end_programs_of", meanwhile)

    assert processes.end_child(child.pid) == 2


def test_a_child_is_killed(child: "subprocess.Popen[bytes]") -> None:
    assert processes.end_child(child.pid) == 0

    assert child.wait() == -9


def test_a_worker_ends_even_if_its_jobs_cannot_be_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codes: list[int] = []

    def fail(*_: Any) -> None:
        raise RuntimeError("no such process")

    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(Drain, "_end_jobs", fail)

    Drain(None)._hand_back(1)

    assert codes == [0]
    assert "no such process" in caplog.text
