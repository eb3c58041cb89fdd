"""Tests that fail at times are found by running them many times."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.tests.flaky import once

ROOT = Path(__file__).resolve().parents[2]

AT_TIMES = """
from pathlib import Path

def test_at_times():
    seen = Path(__file__).with_suffix(".seen")
    with seen.open("a") as file:
        file.write("x")
    assert len(seen.read_text()) % 4

def test_never():
    pass
"""


def test_what_fails_at_times_is_counted(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(AT_TIMES)
    plugins = ["-p", "jobs.tests.flaky", "-p", "no:django", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-c", "/dev/null", "--times", "8", "--busy", "1", str(tmp_path)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 1
    assert "   2 of 8: " in ended.stdout, ended.stdout + ended.stderr
    assert "test_some.py::test_at_times\n" in ended.stdout
    assert "8: test_never" not in ended.stdout
    assert "2 failed, 14 passed" in ended.stdout


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("a.py::test[turn3]", "a.py::test"),
        ("a.py::test[turn3-x]", "a.py::test[x]"),
        ("a.py::test[a-b-turn12]", "a.py::test[a-b]"),
        ("a.py::test", "a.py::test"),
        ("a.py::test[turnip]", "a.py::test[turnip]"),
    ],
)
def test_the_number_of_its_turn_is_taken_off_a_tests_name(nodeid: str, expected: str) -> None:
    assert once(nodeid) == expected
