"""`manage.py bench reviews`: how it chooses and judges, and one small run of all of it."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.bench.figures import Options
from jobs.bench.registry import find
from jobs.bench.stack import BenchError
from reviews.bench import PARTS
from reviews.bench.histories import chosen, paths
from reviews.bench.history import Sample, history_of, shares
from reviews.bench.inside import reviewing, storing
from reviews.bench.inside.anchoring import refused
from reviews.bench.inside.shown import ShownChange, shown_change
from reviews.bench.payloads import MAX_BYTES, Damage, examples, large
from reviews.standin.anchors import is_anchored
from reviews.standin.repositories import Repo

KEYS = {
    "webhook_p99_ms",
    "webhook_25mb_ms",
    "webhook_store_p99_ms",
    "webhook_5xx",
    "comments_per_change",
    "anchors_refused",
    "review_p50_s",
    "review_p95_s",
    "repeated_after_push",
    "large_change_mb",
    "seeded_precision",
    "seeded_recall",
    "issue_enriched_p95_s",
    "posted_lost",
    "posted_doubled",
}
PATCH = "@@ -1,3 +1,4 @@\n a\n+b\n c\n d\n@@ -20 +21,0 @@\n-x"


def bench(*arguments: str) -> str:
    out = StringIO()
    call_command("bench", "reviews", *arguments, stdout=out)
    return out.getvalue()


def test_the_parts_are_listed() -> None:
    assert find("reviews").parts == tuple(PARTS)


def test_a_repository_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=f"history of '{tmp_path}' cannot be read"):
        history_of(tmp_path)


def test_changes_are_commits_where_nobody_merged_and_else_what_merges_brought(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = repo.commit({"a.py": "1\n"}), repo.commit({"a.py": "2\n"})
    repo.git("checkout", "-q", "-b", "topic")
    third, fourth = repo.commit({"b.py": "1\n"}), repo.commit({"b.py": "2\n"})
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "merge", "topic")
    merge, at = repo.head(), str(repo.path)

    by_commits = history_of(repo.path)
    assert by_commits.singles == (Sample(at, second, merge), Sample(at, first, second))
    assert by_commits.pushes == (Sample(at, first, merge, second),)

    monkeypatch.setattr("reviews.bench.history.LEAST_MERGES", 1)
    by_merges = history_of(repo.path)
    assert (by_merges.of_merges, by_merges.singles) == (True, (Sample(at, second, fourth),))
    assert by_merges.pushes == (Sample(at, second, fourth, third),)


@pytest.mark.parametrize(
    ("wanted", "available", "taken"),
    [(6, [10, 10], [3, 3]), (10, [2, 20], [2, 8]), (9, [1, 2, 3], [1, 2, 3]), (0, [4], [0]), (1, [5, 5], [1, 0])],
)
def test_every_history_gives_its_share(wanted: int, available: list[int], taken: list[int]) -> None:
    assert shares(wanted, available) == taken


def test_what_is_chosen_is_spread_over_the_history() -> None:
    history = [Sample("r", str(number), str(number + 1)) for number in range(100)]

    assert [one.base for one in chosen([history], 4)] == ["0", "25", "50", "75"]


def test_repositories_are_those_given_then_those_of_the_settings(settings: Any, tmp_path: Path) -> None:
    settings.REVIEWS = {**settings.REVIEWS, "BENCH_REPOSITORIES": [str(tmp_path / "set")]}

    assert paths(Options(repositories=(str(tmp_path / "given"),))) == [tmp_path / "given"]
    assert paths(Options()) == [tmp_path / "set"]


@pytest.mark.parametrize(
    ("anchor", "taken"),
    [
        ({"line": 4, "side": "RIGHT"}, True),
        ({"line": 5, "side": "RIGHT"}, False),
        ({"line": 4, "start_line": 1, "side": "RIGHT"}, True),
        ({"line": 4, "start_line": 4, "side": "RIGHT"}, False),
        ({"line": 20, "side": "LEFT"}, True),
        ({"line": 21, "side": "RIGHT"}, False),
        ({"line": 4}, False),
        ({"line": None, "side": "RIGHT"}, False),
    ],
)
def test_github_takes_comments_on_lines_that_one_hunk_shows(anchor: dict[str, Any], taken: bool) -> None:
    assert is_anchored(anchor, PATCH) is taken


@pytest.mark.django_db
def test_a_change_is_reviewed_and_its_anchors_are_tried(repo: Repo) -> None:
    lines = [f"V{number} = {number}" for number in range(60)]
    base = repo.commit({"a.py": "\n".join(lines) + "\n"})
    head = repo.commit({"a.py": "\n".join([*lines[:30], "eval(input())", *lines[31:]]) + "\n"})

    answer = reviewing.review(str(repo.path), base, head)

    assert (answer["told"], answer["rules"], answer["files"], answer["lines"]) == (1, ["S307"], 1, 1)
    assert answer["comments"] > 1
    assert answer["refused"] == []
    # The lines of another change are not those of this one.
    shown = shown_change(str(repo.path), base, head)
    assert refused(ShownChange(shown.change, {"a.py": PATCH}), [])[1]


@pytest.mark.long
@pytest.mark.django_db
def test_what_was_told_before_a_push_is_counted_once_again(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    base = repo.commit({"a.py": "x = 1\n"})
    middle = repo.commit({"a.py": "x = 1\neval(input())\n"})
    head = repo.commit({"a.py": "x = 1\nexec(input())\ny = 2\neval(input())\n"})
    at = str(repo.path)

    assert reviewing.review_pushes(at, base, middle, head) == {"told_first": 1, "told_after": 1, "repeated": []}

    monkeypatch.setattr(reviewing, "remember_told", lambda *args: None)
    monkeypatch.setattr(reviewing, "_since", lambda pushed: reviewing.FIRST)
    assert len(reviewing.review_pushes(at, base, middle, head)["repeated"]) == 1


@pytest.mark.django_db(transaction=True)
def test_deliveries_are_stored_as_by_the_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "WARM_UP", 1)

    taken = storing.store(2)

    assert {name: len(some) for name, some in taken.items()} == {
        "row_and_message": 2,
        "one_upon_another": 2,
        "all_of_it": 2,
    }


def test_damaged_bodies_are_the_same_every_time_and_large_ones_are_just_taken() -> None:
    payloads = examples()[0][:20]
    one, other = Damage(payloads), Damage(payloads)

    assert [one.next() for _ in range(50)] == [other.next() for _ in range(50)]
    for kind in ("text", "objects"):
        assert 0.98 * MAX_BYTES < len(large(kind)[1]) <= MAX_BYTES


def test_a_repository_is_asked_for_where_none_is_here(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path

    with pytest.raises(BenchError, match="--repo PATH"):
        paths(Options())


def test_an_unknown_part_is_wrong_use() -> None:
    with pytest.raises(CommandError, match="'reviews' has no part 'speed'; choose from: webhook"):
        bench("--only", "speed")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_bench_reviews_measures_all_parts(settings: Any, tmp_path: Path, repo: Repo) -> None:
    settings.DATA_DIR = tmp_path
    for number in range(4):
        repo.commit({"a.py": "\n".join(f"V{line} = {line * number}" for line in range(30)) + "\n"})

    answer = json.loads(bench("--quick", "--json", "--repo", str(repo.path)))

    figures = {key: figure["value"] for key, figure in answer["figures"].items()}
    assert set(figures) >= KEYS
    assert set(answer["seconds"]) == set(PARTS)
    assert figures["webhook_5xx"] == figures["anchors_refused"] == figures["repeated_after_push"] == 0
    assert figures["seeded_recall"] == figures["seeded_precision"] == 1
