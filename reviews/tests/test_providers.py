import pytest

from reviews.changes import LineRanges
from reviews.providers import UnknownProvider, provider_named


@pytest.mark.django_db
def test_a_provider_is_chosen_by_name() -> None:
    assert provider_named("embedded").name == "embedded"
    with pytest.raises(UnknownProvider, match="choose from: embedded"):
        provider_named("nobody")


@pytest.mark.parametrize(
    ("start", "end", "first"), [(1, 2, None), (1, 3, 3), (4, 9, 4), (5, 9, None), (5, 10, 10), (12, 99, None)]
)
def test_the_first_changed_line_of_a_span_is_found(start: int, end: int, first: int | None) -> None:
    assert LineRanges((range(3, 5), range(10, 12))).first_within(start, end) == first


@pytest.mark.parametrize(("line", "nearest"), [(1, 3), (3, 3), (7, 4), (10, 10), (50, 11)])
def test_the_nearest_changed_line_is_found(line: int, nearest: int) -> None:
    assert LineRanges((range(3, 5), range(10, 12))).nearest(line) == nearest
    assert LineRanges(()).nearest(line) is None
