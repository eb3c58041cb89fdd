"""What lists are asked for: nonsense and unknown parameters are refused, rather than answered by the whole list."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django_filters import rest_framework as filters

from jobs.tests.api_client import problem, root

pytestmark = pytest.mark.django_db

NONSENSE = "x;y"
TODOS = "/api/v1/todos/"


@pytest.fixture
def api() -> Client:
    return root()


def lists() -> dict[str, Any]:
    """Path → filters, of each list in the API."""
    found = {path: getattr(getattr(row.callback, "cls", None), "filterset_class", None) for path, row in _paths()}
    return {path: filterset.base_filters for path, filterset in found.items() if filterset is not None}


def _paths(rows: Any = None, before: str = "/") -> Iterator[tuple[str, URLPattern]]:
    for row in get_resolver().url_patterns if rows is None else rows:
        if isinstance(row, URLResolver):
            yield from _paths(row.url_patterns, before + str(row.pattern))
        else:
            yield before + str(row.pattern), row


def test_no_list_takes_a_value_that_is_none(api: Client) -> None:
    kinds = set()
    for path, known in lists().items():
        for name, one in known.items():
            if isinstance(one, filters.CharFilter):
                continue  # which takes any text
            kinds.add(type(one).__mro__[1].__name__)
            body = problem(api.get(path, {name: NONSENSE}), 400)
            assert [error["pointer"] for error in body["errors"]] == [f"#/{name}"], path
            assert repr(NONSENSE) in body["detail"], (path, body)
    assert len(lists()) >= 24
    assert {"BooleanFilter", "IsoDateTimeFilter", "NumberFilter"} <= kinds


def test_no_list_takes_a_parameter_that_it_does_not_know(api: Client) -> None:
    for path, known in lists().items():
        body = problem(api.get(path, {"stat": "failed"}), 400)
        assert body["detail"].startswith("stat: unknown parameter; choose from: "), path
        assert all(name in body["detail"] for name in known), path


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("mine=x", "mine: 'x' is neither true nor false"),
        ("mine=2", "mine: '2' is neither true nor false"),
        ("mine=null", "mine: 'null' is neither true nor false"),
        ("mine=%20", "mine: ' ' is neither true nor false"),
        ("mine=true&overdue=maybe", "overdue: 'maybe' is neither"),
        ("mine=" + "y" * 5000, f"mine: '{'y' * 40}' is neither"),
        ("mine=%25s%25(x)s%25", "mine: '%s%(x)s%' is neither true nor false"),
        ("due_after=%25s", "due_after: '%s' is not a time"),
        ("priority=%25(x)s", "priority: unknown priority '%(x)s'; choose from"),
        ("due_after=tomorrow", "due_after: 'tomorrow' is not a time in ISO 8601, such as 2026-03-02T09:00:00Z"),
        ("priority=dire", "priority: unknown priority 'dire'; choose from: none, low, medium, high, urgent"),
    ],
)
def test_a_refusal_names_the_value_and_what_is_taken(api: Client, query: str, says: str) -> None:
    assert says in problem(api.get(f"{TODOS}?{query}"), 400)["detail"]


@pytest.mark.parametrize("number", ["x", "0", "-1", "1.5", "%25", "9" * 40, "9" * 5000])
def test_a_number_is_refused_with_its_range(api: Client, number: str) -> None:
    says = problem(api.get(f"/api/v1/replies/?number={number}"), 400)["detail"]
    number = number.replace("%25", "%")
    assert says == f"number: {number[:40]!r} is not a whole number from 1 to 2,147,483,647"


@pytest.mark.parametrize("query", ["mine=true", "mine=False", "mine=0", "mine=1", "mine=", "mine=false&format=json"])
def test_true_and_false_are_taken_in_any_case_and_nothing_is_no_filter(api: Client, query: str) -> None:
    assert api.get(f"{TODOS}?{query}").status_code == 200


def test_a_parameter_is_given_once_unless_it_takes_several_values(api: Client) -> None:
    says = problem(api.get(f"{TODOS}?state=open&state=done"), 400)["detail"]
    assert says == "state: is given 2 times; it takes one value"
    assert "mine: is given 2 times" in problem(api.get(f"{TODOS}?mine=x&mine=true"), 400)["detail"]
    assert "page_size: is given" in problem(api.get(f"{TODOS}?page_size=5&page_size=6"), 400)["detail"]
    assert "user: is given" in problem(api.get("/api/v1/reminder-rules/?user=a&user=b"), 400)["detail"]
    assert api.get("/api/v1/jobs/?state=failed&state=queued").status_code == 200
