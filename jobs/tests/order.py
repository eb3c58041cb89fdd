"""Which files the processes of a test run take first: those that take long, so that none ends long after the other.

How long a file takes is guessed from what its tests ask for. A guess need not be close: what it is for is that a file
of a minute does not begin as the last one, as it would by the number of its tests.
"""

from collections import defaultdict

import pytest

#: What one test with such a fixture, or mark, takes beyond a plain one. The largest of a test's counts.
SECONDS = {"live_worker": 5.0, "worker": 0.6, "broker": 0.3, "transactional_db": 0.1, "db": 0.05, "browser": 8.0}
PLAIN_SECONDS = 0.01
#: A test that is given a time of its own needs much of it.
SHARE_OF_TIMEOUT = 1 / 4


def install(config: pytest.Config) -> None:
    """Have xdist keep to the order in which its processes give the tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def is_one_of_several(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def longest_first(items: list[pytest.Item]) -> None:
    """Sort the files; the tests of a file stay in their order."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for item in items:
        seconds[_file(item)] += guess(item)
    items.sort(key=lambda item: (-seconds[_file(item)], _file(item)))


def guess(item: pytest.Item) -> float:
    """Seconds that a test may take."""
    asked = {*getattr(item, "fixturenames", ()), *(mark.name for mark in item.iter_markers())}
    timeout = item.get_closest_marker("timeout")
    given = float(timeout.args[0]) * SHARE_OF_TIMEOUT if timeout and timeout.args else 0.0
    return max(given, PLAIN_SECONDS, *(SECONDS.get(name, 0.0) for name in asked))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
