"""The admin's pages of attached files, and `manage.py attachments`."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.tests.admin_helpers import client_with, said
from reminders.models import Attachment, Blob, ScanState
from reminders.services import file_scanning
from reminders.tests import factories
from reminders.tests import filemaking as make
from reminders.tests.file_fixtures import *  # noqa: F403  (fixtures)
from reminders.tests.file_fixtures import sent, stored

LIST = "/admin/reminders/attachment/"
SEES = ("reminders.view_attachment", "reminders.view_todo")


def test_the_list_shows_states_and_is_filtered(attach: Any):
    attach(b"text", "notes.txt")
    attach(make.PDF, "report.pdf")
    client = client_with(*SEES)

    page = client.get(LIST).content.decode()
    assert "notes.txt" in page
    assert "not scanned" in page
    assert "report.pdf" not in client.get(f"{LIST}?type=text").content.decode()
    assert "report.pdf" in client.get(f"{LIST}?scan=not_scanned&q=rep").content.decode()
    assert "notes.txt" not in client.get(f"{LIST}?scan=infected").content.decode()


def test_who_may_see_files_alone_reads_no_title_of_a_task(attach: Any):
    row = attach(b"text", "notes.txt")
    row.todo.title = "Give notice to Ben"
    row.todo.save()

    everything, files_alone = client_with(*SEES), client_with("reminders.view_attachment", name="eve")
    for path in (LIST, f"{LIST}{row.pk}/change/"):
        assert "Give notice" in everything.get(path).content.decode()
        page = files_alone.get(path).content.decode()
        assert "Give notice" not in page
        assert f"task {row.todo_id}" in page


def test_the_page_of_a_file_reads_nothing_from_the_storage(attach: Any, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "SERVE_UNSCANNED": True}
    row = attach(make.picture(), "a.png")
    file_scanning.make_thumbnail(row.blob_id)
    monkeypatch.setattr("reminders.files.storing.storage", None)

    page = client_with(*SEES).get(f"{LIST}{row.pk}/change/").content.decode()

    assert f'src="/files/{row.pk}/thumbnail"' in page
    assert f'href="/files/{row.pk}/"' in page


def test_a_verdict_is_shown_and_what_it_found_is_not_offered(attach: Any):
    from django.utils import timezone

    row = attach(b"bad <b>")
    Blob.objects.update(scan_state=ScanState.INFECTED, scanned_at=timezone.now(), verdict="Some.<Virus>")

    page = client_with(*SEES, "reminders.scan_blob").get(f"{LIST}{row.pk}/change/").content.decode()

    assert "Some.&lt;Virus&gt;" in page
    assert "Download" not in page
    assert "Scan again" not in page


def test_files_are_scanned_again_by_those_who_may(attach: Any, settings: Any):
    row = attach(b"x")
    url = f"{LIST}{row.pk}/rescan/"
    assert client_with(*SEES).post(url).status_code == 403
    client = client_with(*SEES, "reminders.scan_blob", name="otto")
    assert client.get(url).status_code == 200
    assert "No virus scanner is configured" in said(client.post(url, follow=True))

    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "CLAMAV": "unix:///x"}
    ticked = {"action": "rescan_selected", "_selected_action": [row.pk]}

    assert "scanning 1 again" in said(client.post(LIST, ticked, follow=True)).lower()
    assert sent("reminders.scan_file") == [{"blob_id": row.blob_id}]


def test_an_operator_takes_a_file_away(attach: Any):
    row = attach(b"x")
    client = client_with(*SEES, "reminders.change_todo")

    client.post(f"{LIST}{row.pk}/remove/")

    assert not Attachment.objects.exists()


# --- The command ------------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> Any:
    call_command("attachments", *map(str, words), "--json")
    return json.loads(capsys.readouterr().out)


@pytest.mark.django_db
def test_the_command_adds_lists_shows_and_deletes(files: Path, capsys: pytest.CaptureFixture[str]):
    todo = factories.todo(factories.person())
    path = files / "plan.pdf"
    path.write_bytes(make.PDF)

    row = run(capsys, "add", todo.pk, path)
    assert (row["name"], row["state"], row["served"]) == ("plan.pdf", "not_scanned", False)
    assert path.exists()
    assert [one["id"] for one in run(capsys, "list", "--todo", todo.pk)] == [row["id"]]
    assert run(capsys, "show", row["id"])["sha256"] == row["sha256"]
    assert run(capsys, "delete", row["id"]) == {"deleted": row["id"]}
    assert run(capsys, "sweep")["removed"] == 0
    assert len(stored(files)) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("show", "99"), 2, "no attachment 99"),
        (("add", "99", "/dev/null"), 2, "no task 99"),
        (("add", "99", "/nowhere/x.txt"), 2, "/nowhere/x.txt cannot be read"),
    ],
)
def test_the_command_refuses_in_words(files: Path, words: tuple[str, ...], code: int, text: str):
    with pytest.raises(CommandError, match=text) as refused:
        call_command("attachments", *words)

    assert refused.value.returncode == code


@pytest.mark.django_db
def test_the_command_names_why_a_file_is_not_taken(files: Path):
    (files / "a.txt").write_bytes(make.SVG)

    with pytest.raises(CommandError, match="SVG drawing") as refused:
        call_command("attachments", "add", str(factories.todo(factories.person()).pk), str(files / "a.txt"))

    assert refused.value.returncode == 1
