"""`manage.py doctor`: what is wrong, and what to do about it."""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from jobs.management.output import OperatorCommand
from jobs.operators.health import examine

COLUMNS = {"part": "PART", "state": "STATE", "detail": "DETAIL", "remedy": "REMEDY"}


class Command(OperatorCommand):
    help = "Look at settings, Postgres, broker, workers, schedules, encoders and indexes. Exit 1 if something is wrong."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    def handle(self, *, as_json: bool, **options: Any) -> None:
        findings = [asdict(finding) for finding in examine()]
        if as_json:
            self.print_json(findings)
        else:
            self.print_table(COLUMNS, findings)
        wrong = sum(finding["state"] == "wrong" for finding in findings)
        if wrong:
            self.say(f"{wrong} of {len(findings)} checks found something wrong")
            raise SystemExit(1)
        self.say("nothing is wrong")
