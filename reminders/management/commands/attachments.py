"""`manage.py attachments`: list, show, add, rescan, delete and sweep attached files."""

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from jobs.management.output import add_verbs
from jobs.management.rows import RowsCommand, add_id, add_list, chosen, option
from jobs.operators.actors import command_actor
from reminders.files.receiving import PIECE, received
from reminders.files.refusals import FileRefused
from reminders.files.storing import StorageAway
from reminders.models import ScanState
from reminders.operators import attachments as operators
from reminders.services import file_scanning, file_sweeping
from reminders.services.file_scanning import ScanNotPossible

COLUMNS = {
    "id": "ID",
    "todo": "TASK",
    "state": "STATE",
    "content_type": "TYPE",
    "size": "BYTES",
    "name": "NAME",
    "created_at": "CREATED",
}


class Command(RowsCommand):
    help = "List, show, add, rescan and delete files of tasks; remove what belongs to nothing."
    examples = (
        "attachments list --state pending",
        "attachments add 17 report.pdf",
        "attachments rescan 4",
        "attachments sweep",
    )
    failed = (FileRefused, ScanNotPossible, StorageAway)

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = [
            ("list", "list files, the newest first", _LIST),
            ("show", "show one, and what the virus scanner says of it", add_id),
            ("add", "attach a file to a task", _add_file),
            ("rescan", "have one scanned again; it is not given out meanwhile", add_id),
            ("delete", "take one from its task; its content goes a day after its last use", add_id),
            ("sweep", "remove contents that belong to nothing, and send what waits for the scanner again", None),
        ]
        add_verbs(parser, verbs)

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reminders.api.attachment_views import AttachmentSerializer

        asked = chosen(options, "todo", "state", "kind", "name")
        found = operators.attachments(command_actor(), **asked).order_by("-created_at", "-id")
        self.print_rows(found, AttachmentSerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._print(operators.find_attachment(command_actor(), options["id"]), as_json)

    def do_add(self, as_json: bool, options: dict[str, Any]) -> None:
        path = Path(options["file"])
        try:
            with received(_pieces(path), options["name"] or path.name) as file:
                row = operators.add(command_actor(), options["todo"], file)
        except OSError as exc:
            raise CommandError(f"{path} cannot be read: {exc.strerror or exc}", returncode=2) from None
        self._print(row, as_json)

    def do_rescan(self, as_json: bool, options: dict[str, Any]) -> None:
        operators.rescan(command_actor(), options["id"])
        self._print(operators.find_attachment_of(options["id"]), as_json)

    def do_delete(self, as_json: bool, options: dict[str, Any]) -> None:
        operators.delete(command_actor(), options["id"])
        if as_json:
            self.print_json({"deleted": options["id"]})
        else:
            self.say(f"attachment {options['id']} is deleted")

    def do_sweep(self, as_json: bool, options: dict[str, Any]) -> None:
        file_sweeping.reconcile()
        done = {"sent": file_scanning.resend(), **file_sweeping.sweep()}
        done["orphans"] = file_sweeping.sweep_storage()["removed"]
        self.print_row(done, as_json)

    def _print(self, row: Any, as_json: bool) -> None:
        from reminders.api.attachment_views import AttachmentSerializer

        self.print_row(AttachmentSerializer(row).data, as_json)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _add_file(parser: ArgumentParser) -> None:
    parser.add_argument("todo", type=int, help="the task's number")
    parser.add_argument("file", help="its path")
    parser.add_argument("--name", default="", help="another name than the file's own")


_LIST = add_list(
    option("todo", "the task's number", type=int),
    option("state", "of the scan; may be repeated", action="append", choices=ScanState.values),
    option("kind", "the content type, such as application/pdf"),
    option("name", "the beginning of the file's name"),
)
