"""`manage.py documents`: put files of documents into a collection, and look at what is there."""

import contextlib
import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from django.core.management.base import CommandError

from embeddings.api.document_serializers import shown_document, shown_documents
from embeddings.services import collections, document_lists, documents, reading
from embeddings.services.importing import Import, SyncRefused, Tally
from embeddings.services.items import BadItem
from embeddings.services.reading import Line
from embeddings.tasks import FIRST
from jobs.management.output import OperatorCommand, add_verbs, cell, plain
from jobs.operators.actors import command_actor

MAX_LIMIT = 1000
#: Bad lines that are told one by one; --bad writes all of them.
TOLD = 20
IN_JSON = 100
SHOWN_RAW = 65_536
COLUMNS = {
    "id": "ID",
    "state": "STATE",
    "chunks": "CHUNKS",
    "tokens": "TOKENS",
    "updated_at": "CHANGED",
    "groups": "GROUPS",
    "metadata": "METADATA",
}


class Command(OperatorCommand):
    help = "Import, list, show and delete documents."
    wrong_use = (
        *(collections.UnknownCollection, document_lists.UnknownDocument),
        *(documents.TooManyItems, BadItem, reading.FileUnreadable),
    )
    failed = (SyncRefused,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                (
                    "import",
                    "store the documents of a file; what is there already and the same costs little",
                    _add_import,
                ),
                ("list", "list a collection's documents, the last changed first", _add_list),
                ("show", "show a document, its text and what it is cut into", _add_show),
                ("delete", "delete documents for good", _add_delete),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        collection = collections.find(options["collection"])
        getattr(self, f"do_{verb}")(collection, as_json, options)

    # --- import ---

    def do_import(self, collection: Any, as_json: bool, options: dict[str, Any]) -> None:
        path = options["file"]
        if options["force"] and not options["replace"]:
            raise CommandError("--force goes with --replace", returncode=2)
        with contextlib.ExitStack() as stack:
            raw = sys.stdin.buffer if path == "-" else stack.enter_context(reading.open_file(path))
            kind = reading.format_of(path, options["format"])
            bad = stack.enter_context(_opened(options["bad"]))
            report = _Report(self, raw, bad, None if path == "-" else Path(path).stat().st_size)
            importing = Import(
                command_actor(),
                collection,
                on_bad=report.bad_line,
                on_batch=report.batch,
                replace=options["replace"],
                force=options["force"],
            )
            with _told_how_far(self, importing.tally):
                importing.run(reading.read(reading.unzipped(path, raw), kind))
        self._tell_import(collection, importing.tally, report, as_json)

    def _tell_import(self, collection: Any, tally: Tally, report: "_Report", as_json: bool) -> None:
        report.end()
        if as_json:
            seconds = round(time.monotonic() - report.started, 3)
            self.print_json(
                {"collection": collection.name, **vars(tally), "seconds": seconds, "errors": report.errors[:IN_JSON]}
            )
        else:
            deleted = f", {tally.deleted:,} deleted" if tally.deleted else ""
            self.stdout.write(
                f"{tally.created:,} created, {tally.updated:,} updated, {tally.unchanged:,} unchanged{deleted}, "
                f"{tally.bad:,} bad"
            )
            self._tell_what_follows(collection, tally)
        if tally.bad:
            raise CommandError(f"{tally.bad:,} of {tally.lines:,} lines were not stored", returncode=1)

    def _tell_what_follows(self, collection: Any, tally: Tally) -> None:
        """What becomes of documents that have just come, for who would look for them."""
        if tally.created or tally.updated:
            self.say(
                "jobs embed what is new now, and words find it already; "
                f"manage.py embed list --collection {collection.name} shows how far that is"
            )

    # --- the rest ---

    def do_list(self, collection: Any, as_json: bool, options: dict[str, Any]) -> None:
        if not 1 <= options["limit"] <= MAX_LIMIT:
            raise CommandError(f"--limit is {options['limit']}; it takes 1 to {MAX_LIMIT}", returncode=2)
        found = document_lists.documents_of(collection).order_by("-updated_at", "-id")
        if options["state"]:
            found = document_lists.in_state(found, collection, options["state"])
        if options["search"] is not None:
            found = document_lists.with_prefix(found, options["search"]).order_by("external_id")
        rows = shown_documents(collection, list(found[: options["limit"]]))
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(COLUMNS, rows)

    def do_show(self, collection: Any, as_json: bool, options: dict[str, Any]) -> None:
        shown = shown_document(collection, document_lists.find_document(collection, options["id"]))
        if as_json:
            self.print_json(shown)
            return
        pieces, text = shown.pop("pieces"), shown.pop("text")
        for key, value in shown.items():
            self.stdout.write(f"{key:<12}{cell(value)}")
        self.stdout.write("")
        names = ("id", "start", "end", "tokens", "state", "reason")
        self.print_table({name: name.upper() for name in names}, pieces)
        self.stdout.write("")
        self.stdout.write(plain(text))

    def do_delete(self, collection: Any, as_json: bool, options: dict[str, Any]) -> None:
        ids = options["ids"]
        if ids == ["-"]:
            ids = [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        deleted = sum(
            documents.delete(command_actor(), collection, ids[first : first + documents.MAX_ITEMS])
            for first in range(0, len(ids), documents.MAX_ITEMS)
        )
        unknown = len(set(ids)) - deleted
        if as_json:
            self.print_json({"deleted": deleted, "unknown": unknown})
        else:
            self.stdout.write(f"{deleted:,} deleted" + (f", {unknown:,} unknown" if unknown else ""))
        if unknown:
            raise CommandError(f"{unknown:,} of these ids were not in {collection.name}", returncode=1)


class _Report:
    """Progress and bad lines, to standard error. size: of the file in bytes, if it has one."""

    def __init__(self, command: Command, raw: BinaryIO, bad: IO[str] | None, size: int | None) -> None:
        self._command, self._raw, self._file, self._size = command, raw, bad, size
        self.started = self._said = time.monotonic()
        self._is_terminal = bool(getattr(command.stderr, "isatty", lambda: False)())
        self.errors: list[dict[str, Any]] = []
        self._told = 0

    def bad_line(self, line: Line, external_id: str, reason: str) -> None:
        error = {"line": line.number, "id": external_id, "error": reason}
        if len(self.errors) < IN_JSON:
            self.errors.append(error)
        if self._file is not None:
            raw = line.raw[:SHOWN_RAW].decode("utf-8", "replace").rstrip("\r\n")
            self._file.write(json.dumps({**error, "content": raw}) + "\n")
        self._told += 1
        if self._told <= TOLD:
            name = f" (id {external_id[:60]!r})" if external_id else ""
            self._line(f"line {line.number}{name}: {reason}")
        elif self._told == TOLD + 1:
            self._line("there are more bad lines; --bad FILE writes all of them")

    def batch(self, tally: Tally) -> None:
        """Say how far it is: each second on a terminal, else each ten."""
        now = time.monotonic()
        if now - self._said < (1 if self._is_terminal else 10):
            return
        self._said = now
        rate = tally.stored / max(now - self.started, 0.001)
        done = f", {min(100, 100 * self._place() // self._size)} %" if self._size else ""
        text = f"{tally.lines:,} lines, {rate:,.{0 if rate >= 10 else 1}f} documents/s{done}"
        if tally.deleted:
            text += f", {tally.deleted:,} deleted"
        if self._is_terminal:
            self._command.stderr.write(f"\r{text:<70}", style_func=str, ending="")
        else:
            self._command.say(text)

    def end(self) -> None:
        if self._is_terminal:
            self._command.stderr.write(f"\r{'':<70}\r", style_func=str, ending="")

    def _line(self, text: str) -> None:
        self.end()
        self._command.say(plain(text))

    def _place(self) -> int:
        """How far the file itself was read: of a gzipped one, its compressed bytes."""
        return self._raw.tell()


@contextlib.contextmanager
def _told_how_far(command: Command, tally: Tally) -> Iterator[None]:
    """Whatever cuts an import off, say what is stored."""
    try:
        yield
    except SyncRefused:
        command.say(_stored(tally))
        raise
    except BaseException:
        command.say(
            f"stopped after line {tally.lines:,}: {_stored(tally)}; run it again to go on, "
            "what is there already is passed over quickly"
        )
        raise


def _stored(tally: Tally) -> str:
    return f"{tally.created:,} created, {tally.updated:,} updated and {tally.unchanged:,} unchanged are stored"


@contextlib.contextmanager
def _opened(path: str | None) -> Iterator[IO[str] | None]:
    if path is None:
        yield None
        return
    try:
        Path(path).touch()
    except OSError as exc:
        raise CommandError(f"{path} cannot be written: {exc.strerror}", returncode=2) from None
    with Path(path).open("w", encoding="utf-8") as file:
        yield file


def _add_collection(parser: ArgumentParser) -> None:
    parser.add_argument("--collection", default=FIRST, metavar="NAME", help=f"the collection (default {FIRST})")


def _add_import(parser: ArgumentParser) -> None:
    parser.description = (
        'Store the documents of a file. JSON lines: {"id", "text", "metadata"?, "groups"?} each. CSV: columns '
        "id and text, perhaps metadata (JSON) and groups (with commas between); all others are metadata. Names that "
        "end in .gz are unzipped. Of two lines with one id the later one counts. It is embedded by jobs afterwards."
    )
    parser.add_argument("file", help="a .jsonl or .csv file, also .gz; - reads JSON lines from standard input")
    _add_collection(parser)
    parser.add_argument("--format", choices=reading.FORMATS, help="if the file's name does not tell it")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="afterwards delete the collection's documents that the file does not hold",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="with --replace: also more than half of them, or with bad lines in the file",
    )
    parser.add_argument(
        "--bad", metavar="FILE", help="write lines that were not stored there, as JSON lines with reasons"
    )


def _add_list(parser: ArgumentParser) -> None:
    _add_collection(parser)
    parser.add_argument("--state", choices=document_lists.STATES, help="how far they are embedded")
    parser.add_argument("--search", metavar="PREFIX", help="the beginning of the id; sorts by id")
    parser.add_argument("--limit", type=int, default=20, help=f"how many at most, up to {MAX_LIMIT} (default 20)")


def _add_show(parser: ArgumentParser) -> None:
    parser.add_argument("id")
    _add_collection(parser)


def _add_delete(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="id", help="- reads ids from standard input, one a line")
    _add_collection(parser)
