"""`manage.py embed`: runs that embed collections, and what they set aside."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from embeddings import errors
from embeddings.management.waiting import add_wait, check_timeout, wait_until
from embeddings.models import EmbeddingRun, RunKind, RunState
from embeddings.models.run import OPEN_RUNS, short_spec
from embeddings.services import collections, run_lists, runs
from embeddings.services.run_figures import describe
from jobs.management.output import OperatorCommand, add_verbs, cell
from jobs.operators.actors import command_actor

MAX_LIMIT = 1000
COLUMNS = {
    "id": "ID",
    "collection": "COLLECTION",
    "encoder": "ENCODER",
    "kind": "KIND",
    "state": "STATE",
    "total": "TOTAL",
    "encoded": "ENCODED",
    "set_aside": "ASIDE",
    "rate": "PER S",
    "eta": "LEFT S",
    "created_at": "CREATED",
    "error": "ERROR",
}
ASIDE_COLUMNS = {
    "id": "ID",
    "collection": "COLLECTION",
    "document": "DOCUMENT",
    "model": "MODEL",
    "reason": "REASON",
    "created_at": "SINCE",
}


class Command(OperatorCommand):
    help = "Embed collections, look at runs that do, cancel them, and have what was set aside tried again."
    wrong_use = (collections.UnknownCollection, errors.RunRefused, EmbeddingRun.DoesNotExist)
    failed = (errors.RunNotChanged,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("start", "embed what has no vector yet in a collection; its index is left as it is", _add_start),
                ("list", "list runs, the newest first", _add_list),
                ("show", "show one run, with how fast it is and what is out", _add_id),
                ("cancel", "end a run; what it has embedded stays", _add_id),
                ("set-aside", "list what could not be embedded, and why", _add_set_aside),
                ("try-again", "have what was set aside in a collection tried by a new run", _add_try_again),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        getattr(self, f"do_{verb.replace('-', '_')}")(as_json, options)

    def do_start(self, as_json: bool, options: dict[str, Any]) -> None:
        check_timeout(options["timeout"])
        collection = collections.find(options["collection"])
        run = runs.start(command_actor(), collection, encoder=options["encoder"])
        self._tell(run, as_json, options)

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from embeddings.api.run_serializers import shown_runs

        found = run_lists.runs().order_by("-created_at", "-id")
        if options["collection"] is not None:
            found = found.filter(collection=collections.find(options["collection"]))
        if options["state"]:
            found = found.filter(state__in=options["state"])
        if options["kind"]:
            found = found.filter(kind__in=options["kind"])
        rows = shown_runs(list(found[: _limit(options)]))
        if as_json:
            self.print_json(rows)
            return
        flat = [
            {
                **row,
                "encoder": short_spec(row["encoder"]),
                "rate": row["figures"]["rate"],
                "eta": row["figures"]["eta_seconds"],
            }
            for row in rows
        ]
        self.print_table(COLUMNS, flat)

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(run_lists.find_run(options["id"]), as_json)

    def do_cancel(self, as_json: bool, options: dict[str, Any]) -> None:
        run = runs.cancel(command_actor(), options["id"])
        if as_json:
            self._show(run, as_json)
        else:
            self.stdout.write(f"run {run.pk} is cancelled; {run.encoded:,} of {run.total:,} chunks were embedded")

    def do_set_aside(self, as_json: bool, options: dict[str, Any]) -> None:
        from embeddings.api.run_serializers import SetAsideSerializer

        found = run_lists.set_aside().order_by("-created_at", "-id")
        if options["collection"] is not None:
            found = found.filter(collection=collections.find(options["collection"]))
        rows = SetAsideSerializer(found[: _limit(options)], many=True).data
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(ASIDE_COLUMNS, rows)

    def do_try_again(self, as_json: bool, options: dict[str, Any]) -> None:
        check_timeout(options["timeout"])
        collection = collections.find(options["collection"])
        tried = runs.try_again(command_actor(), collection, options["ids"] or None)
        if tried.run is None:
            if as_json:
                self.print_json({"count": 0, "run": None})
            else:
                self.stdout.write("nothing is set aside" + (" under these numbers" if options["ids"] else ""))
            return
        self.say(f"{tried.count} no longer set aside")
        self._tell(tried.run, as_json, options)

    def _tell(self, run: EmbeddingRun, as_json: bool, options: dict[str, Any]) -> None:
        """Print a run that was started; with --wait once it has ended."""
        if options["wait"]:
            run = self._wait(run, options["timeout"])
        if as_json:
            self._show(run, as_json)
        elif options["wait"]:
            self.stdout.write(f"run {run.pk}: {describe(run)}")
        else:
            self.stdout.write(str(run.pk))
        if options["wait"] and run.state != RunState.DONE:
            raise CommandError(f"run {run.pk} is {run.state}: {run.error}")

    def _wait(self, run: EmbeddingRun, timeout: float) -> EmbeddingRun:
        def look() -> EmbeddingRun | None:
            now = run_lists.find_run(run.pk)
            return None if now.state in OPEN_RUNS else now

        return wait_until(self, look, lambda: f"run {run.pk}: {describe(run_lists.find_run(run.pk))}", timeout)

    def _show(self, run: EmbeddingRun, as_json: bool) -> None:
        from embeddings.api.run_serializers import shown_run

        shown = shown_run(run_lists.find_run(run.pk))
        if as_json:
            self.print_json(shown)
            return
        batches, figures = shown.pop("batches"), shown.pop("figures")
        for key, value in {**shown, **figures}.items():
            self.stdout.write(f"{key:<16}{cell(value)}")
        for batch in batches:
            why = f" ({cell(batch['error'])})" if batch["error"] else ""
            self.stdout.write(f"chunks {batch['first_id']} to {batch['last_id']}: {batch['state']}{why}")


def _limit(options: dict[str, Any]) -> int:
    limit: int = options["limit"]
    if not 1 <= limit <= MAX_LIMIT:
        raise CommandError(f"--limit is {limit}; it takes 1 to {MAX_LIMIT}", returncode=2)
    return limit


def _add_start(parser: ArgumentParser) -> None:
    parser.add_argument("collection", nargs="?", default="documents", help="its name (default: documents)")
    parser.add_argument("--encoder", default="", help="one of the collection's encoders (default: its own)")
    add_wait(parser)


def _add_list(parser: ArgumentParser) -> None:
    parser.add_argument("--collection", help="its name")
    parser.add_argument("--state", action="append", choices=RunState.values, help="may be repeated")
    parser.add_argument("--kind", action="append", choices=RunKind.values, help="may be repeated")
    _add_limit(parser)


def _add_limit(parser: ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=20, help=f"how many at most, up to {MAX_LIMIT} (default 20)")


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", type=int, help="the run's number")


def _add_set_aside(parser: ArgumentParser) -> None:
    parser.add_argument("--collection", help="its name")
    _add_limit(parser)


def _add_try_again(parser: ArgumentParser) -> None:
    parser.add_argument("collection", help="its name")
    parser.add_argument("ids", type=int, nargs="*", metavar="id", help="numbers of what was set aside (default: all)")
    add_wait(parser)
