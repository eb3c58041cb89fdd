"""pytest plugin: run tests many times on a busy machine, and tell which of them fail at times.

`make flaky TESTS=jobs/tests/test_sending.py TIMES=20`
"""

import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from jobs.stack.parent import before_exec

#: Stands in a test's id, with the number of its turn.
MARK = "turn"
_burners: list["subprocess.Popen[bytes]"] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("flaky")
    group.addoption("--times", type=int, default=10, help="how often each test is run (default: 10)")
    group.addoption("--busy", type=int, default=4, help="how many processes keep the machine busy (default: 4)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.fixturenames.append(MARK)
    times = metafunc.config.getoption("times")
    metafunc.parametrize(MARK, range(times), indirect=True, ids=[f"{MARK}{number}" for number in range(times)])


@pytest.fixture
def turn(request: pytest.FixtureRequest) -> int:
    """Which turn it is, from 0."""
    return int(request.param)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    for _ in range(session.config.getoption("busy")):
        command = [sys.executable, "-c", "while True: pass"]
        _burners.append(subprocess.Popen(command, preexec_fn=before_exec(signal.SIGKILL)))


def pytest_unconfigure() -> None:
    for burner in _burners:
        burner.kill()
        burner.wait()
    _burners.clear()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    stats = terminalreporter.stats
    failures = Counter(
        once(turn) for turn in {report.nodeid for report in stats.get("failed", []) + stats.get("error", [])}
    )
    if failures:
        terminalreporter.section("failed at times", sep="-")
        for nodeid, count in failures.most_common():
            terminalreporter.line(f"{count:4} of {terminalreporter.config.getoption('times')}: {nodeid}")


def once(nodeid: str) -> str:
    """A test's id as it is when it is run once."""
    name, bracket, values = nodeid.removesuffix("]").partition("[")
    kept = "-".join(value for value in values.split("-") if not _is_turn(value))
    return f"{name}[{kept}]" if bracket and kept else name


def _is_turn(value: str) -> bool:
    return value.startswith(MARK) and value.removeprefix(MARK).isdigit()
