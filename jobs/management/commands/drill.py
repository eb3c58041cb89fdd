"""`manage.py drill`: prove, on a system of its own, that faults lose nothing and do nothing twice."""

import secrets
import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs.drill.errors import DrillError
from jobs.drill.registry import Fault, UnknownFault, faults, find
from jobs.drill.report import COLUMNS, FaultReport
from jobs.drill.runner import MIXED, Drill, Load
from jobs.drill.system import System
from jobs.management.output import OperatorCommand
from jobs.stack.errors import StackError

SHORT = {"faults": 60, "seconds": 100.0}
LONG = {"faults": 1000, "seconds": 3000.0, "jobs": 50_000, "rate": 18.0}


class Command(OperatorCommand):
    help = (
        "Start a system beside the installed one, put load on it, inject faults, and judge by an outside server "
        "whether anything was lost or done twice. Exit code 0 if nothing was, 1 otherwise. Without names: the short "
        "form."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "faults",
            nargs="*",
            metavar="FAULT",
            help="names of faults, each injected by itself; `all` of them; `mixed`: many, overlapping",
        )
        parser.add_argument("--list", action="store_true", dest="list_faults", help="name the faults, and stop")
        parser.add_argument("--seed", help="replays a drill: the same faults at the same moments")
        parser.add_argument("--jobs", type=int, help="how many sends the load makes; default: as time allows")
        parser.add_argument("--count", type=int, help="how many faults are mixed, or how often each is injected")
        parser.add_argument("--faults", type=int, dest="count", help="the same as --count")
        parser.add_argument("--seconds", type=float, help="over how many seconds the faults are spread")
        parser.add_argument("--rate", type=float, help="how many sends a second the load makes")
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--short", action="store_true", help="60 faults within 3 minutes, overlapping")
        form.add_argument("--long", action="store_true", help="all kinds with long outages, then 1,000 faults mixed")
        parser.add_argument("--keep", action="store_true", help="keep the data folder, with all logs")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    def handle(self, *, list_faults: bool, as_json: bool, **options: Any) -> None:
        if list_faults:
            self._list(as_json)
            return
        names, mixed = self._chosen(options)
        seed = options["seed"] or secrets.token_hex(4)
        self.say(f"seed {seed}")
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            with System(keep_folder=options["keep"]) as system:
                if options["keep"]:
                    self.say(f"data and logs: {system.folder}")
                reports = self._run(
                    Drill(system, seed, load=_load(options), long=options["long"], say=self.say), names, mixed, options
                )
        except (DrillError, StackError) as exc:
            raise CommandError(f"the drill cannot go on: {exc}") from None
        self._show(reports, as_json)
        self.say(
            f"seed {seed}: " + ("nothing lost, nothing twice" if all(r.holds for r in reports) else "NOT all holds")
        )
        if not all(report.holds for report in reports):
            raise SystemExit(1)

    def _chosen(self, options: dict[str, Any]) -> tuple[list[Fault], bool]:
        """The faults to inject one by one, and whether to mix."""
        for name in ("count", "jobs", "seconds", "rate"):
            if options[name] is not None and options[name] <= 0:
                shown = "faults" if name == "count" else name
                raise CommandError(f"--{shown} is {options[name]}; it must be more than 0", returncode=2)
        names = list(dict.fromkeys(options["faults"]))
        try:
            chosen = faults() if "all" in names or options["long"] else [find(n) for n in names if n != MIXED]
        except UnknownFault as exc:
            raise CommandError(str(exc.args[0]), returncode=2) from None
        return chosen, MIXED in names or options["long"] or options["short"] or not names

    def _run(self, drill: Drill, chosen: list[Fault], mixed: bool, options: dict[str, Any]) -> list[FaultReport]:
        reports = []
        if not (mixed and options["short"]):
            reports += [
                drill.one(fault, *((None, None) if mixed else (options["count"], options["seconds"])))
                for fault in chosen
            ]
        if mixed:
            form = LONG if options["long"] else SHORT
            count = options["count"] or int(form["faults"])
            among = chosen if options["short"] and chosen else faults()
            load = (
                Load(options["rate"] or LONG["rate"], options["jobs"] or int(LONG["jobs"])) if options["long"] else None
            )
            reports += drill.mixed(among, count, options["seconds"] or form["seconds"], load)
        return reports

    def _show(self, reports: list[FaultReport], as_json: bool) -> None:
        rows = [report.as_json() for report in reports]
        if as_json:
            self.print_json(rows)
            return
        for report, row in zip(reports, rows, strict=True):
            row["verdict"] = f"left out: {report.skipped}" if report.skipped else "holds" if report.holds else "BROKEN"
        self.print_table(COLUMNS, rows)
        for row in rows:
            for sentence in row["broken"]:
                self.stdout.write(f"{row['fault']}: {sentence}")
            for what, ids in row["ids"].items():
                for job_id in ids:
                    self.stdout.write(f"{row['fault']}: {what}: {job_id} {row['notes'].get(job_id, '')}")

    def _list(self, as_json: bool) -> None:
        rows = [
            {"fault": known.name, "row": known.row, "summary": known.summary, "missing": known.missing()}
            for known in faults()
        ]
        if as_json:
            self.print_json(rows)
        else:
            self.print_table({"fault": "fault", "row": "row", "summary": "what", "missing": "left out here"}, rows)


def _load(options: dict[str, Any]) -> Load:
    return Load(options["rate"] or Load.rate, None if options["long"] else options["jobs"])


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
