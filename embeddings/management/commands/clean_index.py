"""`manage.py clean_index`: the clean-up, here or by a worker."""

from argparse import ArgumentParser
from typing import Any

from embeddings.services import cleaning
from jobs.management.output import OperatorCommand
from jobs.operators.actors import command_actor


class Command(OperatorCommand):
    help = (
        "Remove orphaned vectors, index versions that are no longer kept, and what builds left behind. "
        "Files are removed on this host, and in the storage that all hosts share."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--dry-run", action="store_true", help="only count what would go")
        how.add_argument("--send", action="store_true", help="have a worker do it; prints the job's id")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    def handle(self, *, dry_run: bool, send: bool, as_json: bool, **options: Any) -> None:
        if send:
            job_id = cleaning.send(command_actor())
            if as_json:
                self.print_json({"job": job_id})
            else:
                self.stdout.write(f"sent as job {job_id}")
            return
        counts = cleaning.clean_up(dry_run=dry_run)
        if not dry_run:
            command_actor().record("embeddings.clean_up", "here", **counts)
        if as_json:
            self.print_json(counts)
            return
        self.stdout.write(f"{'would remove' if dry_run else 'removed'}: {cleaning.sentence(counts)}")
