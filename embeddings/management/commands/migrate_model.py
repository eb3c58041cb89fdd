"""`manage.py migrate_model`: moves a collection to another model, step by step, and back."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from embeddings.api.migration_views import shown_migration
from embeddings.services import collections, migration, migration_state
from jobs.management.output import OperatorCommand, cell
from jobs.operators.actors import command_actor

POLL_SECONDS = 0.5
STEPS = {
    "begin": "have a second model embed the collection, beside the one in use",
    "status": "show where the collection is",
    "compare": "put questions to both models, by a job",
    "again": "send the candidate's run, index and comparison once more",
    "switch": "search by the candidate from now on; the old model is kept up",
    "back": "search by the previous model again",
    "close": "forget the model that is not in use",
}


class Command(OperatorCommand):
    help = "Move a collection to another model: begin, compare, switch, go back, close."
    wrong_use = (collections.UnknownCollection,)
    failed = (migration_state.MigrationRefused,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("collection", help="its name")
        chosen = parser.add_subparsers(dest="step", required=True, metavar="STEP", title="steps")
        for name, text in STEPS.items():
            step = chosen.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
            step.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
            if name == "begin":
                step.add_argument("spec", metavar="encoder", help="what to move to, such as minilm")
            if name == "compare":
                step.add_argument("queries", nargs="*", metavar="query", help="without any: texts of the collection")
                step.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait for the answer")

    def handle(self, *, collection: str, step: str, as_json: bool, **options: Any) -> None:
        getattr(self, f"do_{step}")(collection, options)
        found = shown_migration(collection)
        if as_json:
            self.print_json({**found, **({"job": self._job} if self._job else {})})
            return
        self._show(found)

    _job = ""

    def do_status(self, name: str, options: dict[str, Any]) -> None:
        """What is shown after every step."""

    def do_begin(self, name: str, options: dict[str, Any]) -> None:
        from embeddings.encoders.registry import UnknownEncoder

        try:
            migration.begin(command_actor(), name, options["spec"])
        except UnknownEncoder as exc:
            raise CommandError(str(exc), returncode=2) from None

    def do_again(self, name: str, options: dict[str, Any]) -> None:
        migration.embed_again(command_actor(), name)

    def do_compare(self, name: str, options: dict[str, Any]) -> None:
        before = shown_migration(name)["comparison"]
        self._job = migration.ask(command_actor(), name, options["queries"] or None)
        deadline = time.monotonic() + options["wait"]
        while time.monotonic() < deadline and shown_migration(name)["comparison"] == before:
            self._check_job()
            time.sleep(POLL_SECONDS)
        self.say(f"job {self._job} compares them")

    def _check_job(self) -> None:
        from jobs.models import Job, State

        job = Job.objects.get(pk=self._job)
        if job.state in (State.FAILED, State.CANCELLED, State.DISCARDED):
            raise CommandError(f"job {job.pk} is {job.state}: {job.error or job.reason}", returncode=1)

    def do_switch(self, name: str, options: dict[str, Any]) -> None:
        migration.switch(command_actor(), name)

    def do_back(self, name: str, options: dict[str, Any]) -> None:
        migration.go_back(command_actor(), name)

    def do_close(self, name: str, options: dict[str, Any]) -> None:
        migration.close(command_actor(), name)

    def _show(self, found: dict[str, Any]) -> None:
        comparison, run = found.pop("comparison"), found.pop("run")
        for key, value in found.items():
            self.stdout.write(f"{key:<16}{cell(value)}")
        if run is not None:
            done = run["encoded"] + run["set_aside"]
            self.stdout.write(f"{'run':<16}{run['id']}, {run['state']}, {done:,} of {run['total']:,} chunks")
        if comparison is not None:
            self.stdout.write(
                f"{'comparison':<16}{comparison['queries']} queries, overlap {comparison['overlap']:.2f}, worst "
                f"twentieth {comparison['overlap_p5']:.2f}, {comparison['current_ms']:.1f} and "
                f"{comparison['candidate_ms']:.1f} ms a query"
            )
