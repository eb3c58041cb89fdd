"""`manage.py queues`: how full each queue is."""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from jobs.management.output import OperatorCommand, add_verbs
from jobs.operators.queues import queue_states

COLUMNS = {
    "name": "QUEUE",
    "lane": "LANE",
    "waiting": "WAITING",
    "scheduled": "SCHEDULED",
    "running": "RUNNING",
    "oldest_waiting_seconds": "OLDEST (S)",
    "workers": "WORKERS",
    "purpose": "FOR",
}


class Command(OperatorCommand):
    help = "Show the queues, how full they are and who serves them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(parser, [("list", "list the queues", None)])

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        rows = [asdict(state) for state in queue_states()]
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(COLUMNS, rows)
