"""`manage.py workers`: who works."""

from argparse import ArgumentParser
from typing import Any

from jobs.api.serializers import WorkerSerializer
from jobs.management.output import OperatorCommand
from jobs.operators import queues

COLUMNS = {
    "name": "WORKER",
    "state": "STATE",
    "queues": "QUEUES",
    "children": "CHILDREN",
    "running": "RUNNING",
    "memory_bytes": "MEMORY (BYTES)",
    "started_at": "STARTED",
    "heartbeat_at": "HEARTBEAT",
}


class Command(OperatorCommand):
    help = "List the workers and beats as they last reported, and what they run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    def handle(self, *, as_json: bool, **options: Any) -> None:
        found = list(queues.workers())
        running = queues.running_on([worker.name for worker in found])
        rows = WorkerSerializer(found, many=True, context={"running": running}).data
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(COLUMNS, [{**row, "running": len(row["running"])} for row in rows])
