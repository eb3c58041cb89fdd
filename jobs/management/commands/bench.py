"""`manage.py bench NAME`: run a benchmark and print its figures."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, TextIO, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from jobs.bench.figures import Options, Report
from jobs.bench.registry import Benchmark, UnknownBenchmark, UnknownPart, benchmarks, find
from jobs.bench.stack import BenchError
from jobs.stack.errors import StackError


class Command(BaseCommand):
    help = "Run a benchmark: a table to the screen, and JSON under the data folder. `bench list` names them."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="a benchmark, `list` or `all`")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--rounds", type=int, help="how often everything is measured")
        parser.add_argument("--tasks", type=int, help="how much is measured in a round")
        parser.add_argument("--quick", action="store_true", help="a smoke test: its figures mean little")
        parser.add_argument("--history", type=int, default=0, metavar="N", help="measure beside N finished jobs, too")
        parser.add_argument(
            "--only",
            action="append",
            default=[],
            metavar="PART",
            help="a part, or several with commas; `list` names them",
        )
        parser.add_argument("--large", action="store_true", help="also what takes long and much memory")
        parser.add_argument(
            "--repo",
            action="append",
            default=[],
            metavar="PATH",
            help="of reviews: a git repository whose history is reviewed; several times for several",
        )

    def handle(self, *, name: str, **options: Any) -> None:
        for number in ("rounds", "tasks"):
            if options[number] is not None and options[number] < 1:
                raise CommandError(f"--{number} is {options[number]}; it must be at least 1", returncode=2)
        if options["history"] < 0:
            raise CommandError(f"--history is {options['history']}; it must be 0 or more", returncode=2)
        if name == "list":
            self._list(as_json=options["json"])
            return
        only = tuple(part.strip() for parts in options["only"] for part in parts.split(",") if part.strip())
        counts = (options["rounds"], options["tasks"], options["quick"], options["history"])
        wanted = Options(*counts, only=only, large=options["large"], repositories=tuple(options["repo"]))
        reports = [self._run(benchmark, wanted) for benchmark in self._chosen(name, only)]
        if options["json"]:
            answers = [report.as_json() for report in reports]
            self.stdout.write(json.dumps(answers if name == "all" else answers[0], indent=1))
        else:
            for report in reports:
                self._show(report)

    def _chosen(self, name: str, only: tuple[str, ...]) -> list[Benchmark]:
        try:
            chosen = benchmarks() if name == "all" else [find(name)]
            for benchmark in chosen:
                benchmark.check_parts(only)
        except (UnknownBenchmark, UnknownPart) as exc:
            raise CommandError(str(exc.args[0]), returncode=2) from None
        return chosen

    def _run(self, benchmark: Benchmark, options: Options) -> Report:
        try:
            report = benchmark.run(options)
        except (BenchError, StackError) as exc:
            raise CommandError(f"{benchmark.name}: {exc}") from exc
        path = Path(settings.DATA_DIR) / "bench" / f"{benchmark.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report.as_json(), indent=1) + "\n")
        return report

    def _list(self, *, as_json: bool) -> None:
        known = benchmarks()
        if as_json:
            listed = [{"name": one.name, "summary": one.summary, "parts": list(one.parts)} for one in known]
            self.stdout.write(json.dumps(listed))
        for one in [] if as_json else known:
            self.stdout.write(f"{one.name:<12} {one.summary}")
            if one.parts:
                self.stdout.write(f"{'':<12} parts: {', '.join(one.parts)}")

    def _show(self, report: Report) -> None:
        console = Console(file=cast(TextIO, self.stdout))
        table = Table("figure", "value", "unit", "target", "", title=f"{report.name}, {report.rounds} rounds")
        for key, figure in report.as_json()["figures"].items():
            verdict = {True: "holds", False: "missed", None: ""}[figure["holds"]]
            target = "" if figure["target"] is None else str(figure["target"])
            table.add_row(key, f"{figure['value']:,}", figure["unit"], target, verdict)
        console.print(table)
        for name, values in report.further.get("medians", {}).items():
            console.print(f"{name}: " + ", ".join(f"{key} {value:,}" for key, value in values.items()))
        for key, reason in report.further.get("not_measured", {}).items():
            console.print(f"{key} was not measured: {reason}")
        also = report.further.get("also_ran")
        if also:
            cores = also["cores"]
            busiest = [f"{other['name']} {other['cores']}" for other in also["other_processes"]]
            console.print(
                f"{also['seconds']} s, load {also['load_before'][0]} to {also['load_after'][0]}. Cores busy with this: "
                f"{cores['ours']}, with others: {cores['others']}, taken by the host: {cores['stolen']}; busiest "
                f"others: {', '.join(busiest) or 'none'}"
            )
