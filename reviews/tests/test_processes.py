"""Programs that read what is not trusted: they end in time, with all that they started, and know no secret."""

import os
import time
from pathlib import Path

import psutil
import pytest

from reviews import processes


def test_a_program_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/child; wait"

    with pytest.raises(processes.ProgramTimedOut, match=r"sh took more than 0\.5 s"):
        processes.run(["sh", "-c", script], timeout_seconds=0.5, environment=processes.plain_environment())

    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_program_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "a secret")

    _, output, _ = processes.run(["env"], timeout_seconds=10, environment=processes.plain_environment())

    names = {line.split("=")[0] for line in output.decode().splitlines()}
    assert names <= {"PATH", "LANG", "LC_ALL", "PWD", "SHLVL", "_"}
    assert os.environ["GITHUB_TOKEN"] not in output.decode()


def test_a_program_cannot_wait_for_input() -> None:
    assert processes.run(["cat"], timeout_seconds=10, environment=processes.plain_environment())[0] == 0
