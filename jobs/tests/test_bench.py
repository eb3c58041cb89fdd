"""`manage.py bench`: its shape, and one small run over real servers and workers."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.bench.figures import Figure, Options, Report, median_of, percentile
from jobs.bench.registry import Benchmark, benchmark, benchmarks

FIGURES = {
    "drain_vs_celery",
    "drain_vs_results_backend",
    "send_p50_ms",
    "send_p99_ms",
    "bulk_send_per_s",
    "idle_start_p95_ms",
    "worker_pss_mb",
    "schedules_10k_fire_s",
    "idle_statements_per_s",
}


def bench(*arguments: str) -> str:
    out = StringIO()
    call_command("bench", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def an_instant_benchmark(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Path:
    """A benchmark `instant`; returns the data folder."""

    def run(options: Options) -> Report:
        figures = {
            "fast": Figure(2.345678, "times", at_least=1.5),
            "slow_ms": Figure(9, "ms", at_most=5),
            "plain": Figure(1, "jobs/s"),
        }
        return Report("instant", {"cores": 2}, options.rounds or 3, figures, {"tasks": options.tasks})

    monkeypatch.setattr("jobs.bench.registry._registered", {"instant": Benchmark("instant", "for a test", run)})
    settings.DATA_DIR = tmp_path
    return tmp_path


def test_json_has_the_fixed_keys_and_further_ones(an_instant_benchmark: Path) -> None:
    answer = json.loads(bench("instant", "--json", "--rounds", "4", "--tasks", "7"))

    assert answer == {
        "name": "instant",
        "machine": {"cores": 2},
        "rounds": 4,
        "figures": {
            "fast": {"value": 2.346, "unit": "times", "target": 1.5, "holds": True},
            "slow_ms": {"value": 9.0, "unit": "ms", "target": 5, "holds": False},
            "plain": {"value": 1.0, "unit": "jobs/s", "target": None, "holds": None},
        },
        "tasks": 7,
    }


def test_every_run_leaves_its_json_under_the_data_folder(an_instant_benchmark: Path) -> None:
    printed = bench("instant")

    kept = json.loads((an_instant_benchmark / "bench" / "instant.json").read_text())
    assert kept["figures"]["fast"]["value"] == 2.346
    assert "slow_ms" in printed
    assert "missed" in printed


def test_all_prints_a_list(an_instant_benchmark: Path) -> None:
    assert [answer["name"] for answer in json.loads(bench("all", "--json"))] == ["instant"]


def test_an_unknown_name_is_wrong_use_and_names_what_there_is() -> None:
    with pytest.raises(CommandError, match=r"unknown benchmark 'speed'; choose from: .*jobs") as caught:
        bench("speed")

    assert caught.value.returncode == 2


@pytest.mark.parametrize("option", ["--rounds=0", "--tasks=-1", "--history=-1"])
def test_a_count_below_its_least_is_wrong_use(option: str) -> None:
    with pytest.raises(CommandError, match="must be") as caught:
        bench("jobs", option)

    assert caught.value.returncode == 2


def test_list_names_every_benchmark() -> None:
    assert "jobs" in {known["name"] for known in json.loads(bench("list", "--json"))}


def test_a_name_is_registered_once() -> None:
    benchmarks()

    with pytest.raises(ValueError, match="registered already"):
        benchmark("jobs", summary="again")(lambda options: Report("jobs", {}, 1, {}))


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentile([3, 1, 2, 4], 0.5) == 3
    assert percentile([3, 1, 2, 4], 0.99) == 4
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_median_takes_the_rounds_that_have_the_key() -> None:
    assert median_of([{"a": 1}, {"a": 5, "b": 2}, {"a": 3}]) == {"a": 3, "b": 2}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_bench_jobs_measures_itself_beside_celery(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path

    answer = json.loads(bench("jobs", "--quick", "--json"))

    assert set(answer["figures"]) == FIGURES
    assert all(figure["value"] > 0 for figure in answer["figures"].values())
    assert answer["machine"]["postgres"]["fsync"] == "on"
    assert answer["machine"]["postgres"]["synchronous_commit"] == "on"
    assert answer["machine"]["valkey"] == {"appendonly": "yes", "appendfsync": "everysec"}
    assert set(answer["medians"]) == {"ledger", "plain", "stock", "bare_loop"}
