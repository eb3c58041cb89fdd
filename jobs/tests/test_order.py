"""Files that take long begin first, when several processes share them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from jobs.tests import order


@dataclass
class Item:
    nodeid: str
    fixturenames: list[str] = field(default_factory=list)
    marks: list[pytest.Mark] = field(default_factory=list)

    def iter_markers(self) -> Iterator[pytest.Mark]:
        return iter(self.marks)

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return next((mark for mark in self.marks if mark.name == name), None)


def sorted_ids(*items: Item) -> list[str]:
    ordered = list(items)
    order.longest_first(ordered)  # type: ignore[arg-type]
    return [item.nodeid for item in ordered]


def test_what_is_given_much_time_and_what_starts_workers_comes_before_many_quick_tests() -> None:
    quick = [Item(f"quick.py::test_{n}") for n in range(50)]
    working = [Item("working.py::test_plain"), Item("working.py::test_worker", ["live_worker", "db"])]
    drill = [Item("drill.py::test_all", marks=[pytest.mark.timeout(400).mark])]

    assert sorted_ids(*quick, *working, *drill) == [item.nodeid for item in (*drill, *working, *quick)]


def test_the_tests_of_a_file_stay_together_and_in_their_order() -> None:
    ids = sorted_ids(Item("a.py::z"), Item("b.py::z"), Item("a.py::a"), Item("b.py::a"))

    assert ids == ["a.py::z", "a.py::a", "b.py::z", "b.py::a"]


def test_a_given_order_is_kept_by_the_one_who_deals_the_files_out(request: pytest.FixtureRequest) -> None:
    if not hasattr(request.config.option, "loadscopereorder"):
        pytest.skip("needs pytest-xdist")

    assert order.is_one_of_several(request.config) or request.config.option.loadscopereorder is False
