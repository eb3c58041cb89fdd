"""`manage.py bench reminders`: one small run over real servers and processes."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from jobs.bench.figures import Options
from jobs.bench.registry import find
from reminders.bench import PARTS, report

FIGURES = {"scan_1m_ms", "scan_idle_ms", "drain_per_s", "doubled", "deadlocks"}


def test_the_year_runs_only_when_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(report, "run_parts", lambda name, parts, *_: ran.append(list(parts)))
    report.run(Options())
    report.run(Options(only=("year",)))
    assert ran == [["scan", "drain", "races"], list(PARTS)]
    assert find("reminders").parts == tuple(PARTS)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_quick_run_has_all_figures_and_doubles_nothing(settings: Any, tmp_path: Any) -> None:
    settings.DATA_DIR = tmp_path
    out = StringIO()
    call_command("bench", "reminders", "--quick", "--json", stdout=out)

    figures = json.loads(out.getvalue())["figures"]
    assert figures.keys() >= FIGURES
    assert (figures["doubled"]["value"], figures["deadlocks"]["value"], figures["failed_scans"]["value"]) == (0, 0, 0)
