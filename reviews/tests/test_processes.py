"""Programs that read what is not trusted: they end in time, with all that they started, and know no secret."""

import contextlib
import os
import time
from pathlib import Path

import psutil
import pytest

from reviews import processes


def test_a_program_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    begun = tmp_path / "child"
    script = f"sleep 300 & echo $! > {begun}.new; mv {begun}.new {begun}; wait"

    # On a busy machine the time may be over before anything is started.
    for seconds in (0.5, 5.0, 60.0):
        with pytest.raises(processes.ProgramTimedOut, match=f"sh took more than {seconds:g} s"):
            processes.run(["sh", "-c", script], timeout_seconds=seconds, environment=processes.plain_environment())
        if begun.exists():
            break

    deadline = time.monotonic() + 60
    with contextlib.suppress(psutil.NoSuchProcess):
        child = psutil.Process(int(begun.read_text()))
        while child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_program_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "a secret")

    _, output, _ = processes.run(["env"], timeout_seconds=60, environment=processes.plain_environment())

    names = {line.split("=")[0] for line in output.decode().splitlines()}
    assert names <= {"PATH", "LANG", "LC_ALL", "PWD", "SHLVL", "_"}
    assert os.environ["GITHUB_TOKEN"] not in output.decode()


def test_a_program_cannot_wait_for_input() -> None:
    assert processes.run(["cat"], timeout_seconds=60, environment=processes.plain_environment())[0] == 0
