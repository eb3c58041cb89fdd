"""Contents are kept once, for as long as something refers to them, and given out only when they are safe."""

import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from reminders import moment
from reminders.files import receiving, storing
from reminders.files.receiving import received
from reminders.files.refusals import FileRefused
from reminders.models import Attachment, Blob, ScanState, ThumbnailState, Todo
from reminders.services import attachments, file_scanning, file_sweeping, todos
from reminders.tests import factories
from reminders.tests import filemaking as make
from reminders.tests.file_fixtures import *  # noqa: F403  (fixtures)
from reminders.tests.file_fixtures import sent, sha, stored
from reminders.tests.racing import begun


def test_one_content_is_stored_once_however_often_it_is_attached(attach: Any, files: Path):
    first, second = attach(b"the same", "a.txt"), attach(b"the same", "b.txt")

    assert first.blob_id == second.blob_id
    assert stored(files) == [sha(b"the same")]
    assert list((files / "quarantine").glob("*")) == []


def test_a_name_that_the_task_has_already_gets_a_number(attach: Any):
    todo = factories.todo(factories.person())

    assert [attach(bytes([97 + n]), "a.txt", todo).name for n in range(3)] == ["a.txt", "a (2).txt", "a (3).txt"]


def test_a_word_document_named_as_a_picture_is_kept_as_what_it_is(attach: Any):
    attachment = attach(make.office(), "scan.png")

    assert attachment.name == "scan.png.docx"
    assert attachment.blob.content_type.endswith("wordprocessingml.document")


def test_a_refused_file_leaves_nothing(attach: Any, files: Path):
    with pytest.raises(FileRefused):
        attach(make.SVG, "drawing.txt")

    assert not Blob.objects.exists()
    assert stored(files) == []
    assert list((files / "quarantine").glob("*")) == []


def test_more_than_allowed_is_refused_while_it_comes_and_kept_nowhere(files: Path, settings: Any):
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "MAX_BYTES": 1000}
    given = []

    def endless() -> Any:
        while True:
            given.append(1)
            yield b"x" * 100

    with pytest.raises(FileRefused) as refused, received(endless(), "a.txt"):
        pass

    assert refused.value.code == "too_large"
    assert len(given) == 11
    assert list((files / "quarantine").glob("*")) == []


def test_an_unused_content_goes_after_a_day(attach: Any, files: Path, clock: Any):
    clock("2026-03-01 09:00")
    attachment = attach(make.picture(), "a.png")
    file_scanning.make_thumbnail(attachment.blob_id)
    assert len(stored(files)) == 2

    attachments.delete(attachment.pk)
    clock("2026-03-02 08:59")
    assert file_sweeping.sweep()["removed"] == 0
    clock("2026-03-02 09:01")

    assert file_sweeping.sweep()["removed"] == 1
    assert stored(files) == []
    assert not Blob.objects.exists()


def test_a_deleted_task_lets_its_files_go_and_another_keeps_them(attach: Any, clock: Any):
    clock("2026-03-01 09:00")
    first, second = attach(b"shared"), attach(b"shared")

    first.todo.delete()
    assert Blob.objects.get().unreferenced_at is None
    second.todo.delete()
    assert Blob.objects.get().unreferenced_at is not None


def test_the_same_content_attached_again_is_rescued(attach: Any, files: Path, clock: Any):
    clock("2026-03-01 09:00")
    attachments.delete(attach(b"back").pk)
    clock("2026-03-02 08:59")
    attach(b"back")
    clock("2026-03-09 09:00")

    assert file_sweeping.sweep()["removed"] == 0
    assert stored(files) == [sha(b"back")]
    assert Blob.objects.get().unreferenced_at is None


def test_a_lost_content_is_stored_again_by_the_next_upload(attach: Any, files: Path):
    attachment = attach(b"lost")
    storing.remove(attachment.blob.storage_key)

    attach(b"lost")

    assert stored(files) == [sha(b"lost")]


def test_rows_deleted_behind_our_back_are_noticed(attach: Any, clock: Any):
    clock("2026-03-01 09:00")
    Attachment.objects.filter(pk=attach(b"x").pk)._raw_delete("default")

    file_sweeping.reconcile()
    assert Blob.objects.get().unreferenced_at is not None
    clock("2026-03-03 09:00")
    assert file_sweeping.sweep()["removed"] == 1


@pytest.mark.django_db
def test_what_is_rolled_back_is_swept_from_the_storage(attach: Any, files: Path, clock: Any):
    kept = attach(b"kept")
    with transaction.atomic():
        attach(b"rolled back")
        transaction.set_rollback(True)
    assert len(stored(files)) == 2
    assert file_sweeping.sweep_storage()["removed"] == 0

    clock(moment.now() + timedelta(days=3650 * 2))

    assert file_sweeping.sweep_storage()["removed"] == 1
    assert stored(files) == [kept.blob.sha256]


def test_what_died_in_quarantine_is_swept(files: Path):
    old, new = (receiving.folder() / f"upload-{name}" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 7 * 3600,) * 2)

    assert receiving.sweep(file_sweeping.QUARANTINE_SECONDS) == 1
    assert new.exists()


@pytest.mark.django_db(transaction=True)
def test_an_upload_waits_for_the_sweeper_and_is_not_lost(attach: Any, files: Path, clock: Any):
    clock("2026-03-01 09:00")
    todo = factories.todo(factories.person())
    attachments.delete(attach(b"raced", todo=todo).pk)
    clock("2026-03-03 09:00")
    done: list[Any] = []

    def upload() -> None:
        try:
            done.append(attach(b"raced", todo=todo).pk)
        finally:
            connection.close()

    with transaction.atomic():
        # As the sweeper does, which has looked and removes the content only now.
        storing.lock(sha(b"raced"))
        racing = threading.Thread(target=upload)
        racing.start()
        time.sleep(0.2)
        assert not done
        blob = Blob.objects.select_for_update().get()
        storing.remove(blob.storage_key)
        blob.delete()
    racing.join(120)

    assert len(done) == 1
    assert stored(files) == [sha(b"raced")]
    assert Attachment.objects.get().blob.unreferenced_at is None


# --- Without a scanner ------------------------------------------------------------------------------------------------


def test_without_a_scanner_an_operator_decides_what_is_served(attach: Any, settings: Any):
    blob = attach(b"x").blob

    assert blob.scan_state == ScanState.NOT_SCANNED
    with pytest.raises(attachments.NotServed) as refused:
        attachments.require_served(blob)
    assert refused.value.state == "not_scanned"
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "SERVE_UNSCANNED": True}
    attachments.require_served(blob)


def test_with_a_scanner_nothing_is_served_that_it_has_not_seen(attach: Any, settings: Any, clamav_away: None):
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "SERVE_UNSCANNED": True}
    blob = attach(b"x").blob

    assert blob.scan_state == ScanState.PENDING
    assert "waits for the virus scanner" in attachments.why_not_served(blob)
    assert sent("reminders.scan_file") == [{"blob_id": blob.pk}]


def test_what_was_not_scanned_is_scanned_once_there_is_a_scanner(attach: Any, settings: Any):
    blob = attach(b"x").blob
    assert file_scanning.resend() == 0

    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "CLAMAV": "unix:///x", "SERVE_UNSCANNED": True}

    assert "within ten minutes" in attachments.why_not_served(blob)
    assert file_scanning.resend() == 1
    assert sent("reminders.scan_file") == [{"blob_id": blob.pk}]


def test_attached_again_it_is_scanned_at_once(attach: Any, settings: Any):
    before = attach(b"x").blob
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "CLAMAV": "unix:///x"}

    again = attach(b"x").blob

    assert (again.pk, again.scan_state) == (before.pk, ScanState.PENDING)
    assert sent("reminders.scan_file") == [{"blob_id": before.pk}]


# --- Thumbnails -------------------------------------------------------------------------------------------------------


def test_a_thumbnail_is_upright_small_and_bare(attach: Any, files: Path):
    from PIL import Image

    blob = attach(make.photo_with_place(), "a.jpg").blob
    assert sent("reminders.make_thumbnail") == [{"blob_id": blob.pk}]

    assert file_scanning.make_thumbnail(blob.pk)["thumbnail"] == "ready"

    blob.refresh_from_db()
    with Image.open(files / "stored" / blob.thumbnail_key) as shown:
        assert (shown.format, shown.size) == ("WEBP", (40, 80))
        assert dict(shown.getexif()) == {}
    assert b"at my home" not in (files / "stored" / blob.thumbnail_key).read_bytes()


def test_a_giant_of_few_bytes_has_no_thumbnail_and_is_kept(attach: Any):
    content = make.giant_png(14_000, 12_600)
    assert len(content) < 50_000
    blob = attach(content, "a.png").blob

    assert file_scanning.make_thumbnail(blob.pk)["thumbnail"] == "failed"

    blob.refresh_from_db()
    assert blob.thumbnail_state == ThumbnailState.FAILED
    assert blob.thumbnail_error.startswith("too_many_pixels: 14,000 by 12,600 are 176,400,000 pixels")
    assert b"".join(storing.pieces(blob.storage_key)) == content


def test_a_picture_that_is_cut_off_has_no_thumbnail(attach: Any):
    blob = attach(make.picture(200, 200, "JPEG")[:400], "a.jpg").blob

    assert file_scanning.make_thumbnail(blob.pk)["error"].startswith("undecodable: ")


def test_no_picture_is_decoded_before_the_scanner_has_seen_it(attach: Any, clamav_away: None):
    blob = attach(make.picture(), "a.png").blob

    assert "skipped" in file_scanning.make_thumbnail(blob.pk)
    assert sent("reminders.make_thumbnail") == []


@pytest.mark.django_db(transaction=True)
def test_a_slow_storage_keeps_no_reminder_of_the_task_waiting(attach: Any, monkeypatch: pytest.MonkeyPatch):
    todo = factories.todo(factories.person())
    storing_it, stored_it = threading.Event(), threading.Event()
    real = storing.keep

    def slowly(path: Path, digest: str) -> str:
        storing_it.set()
        assert stored_it.wait(60)
        return real(path, digest)

    def upload() -> None:
        try:
            attach(b"slow", "a.txt", todo)
        finally:
            connection.close()

    monkeypatch.setattr(storing, "keep", slowly)
    uploading = threading.Thread(target=upload)
    uploading.start()
    try:
        assert storing_it.wait(60)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '2s'")
            # The lock that a new reminder's foreign key takes.
            cursor.execute("SELECT id FROM reminders_todo WHERE id = %s FOR KEY SHARE", [todo.pk])
    finally:
        stored_it.set()
        uploading.join(60)
    assert Attachment.objects.get().name == "a.txt"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("names", [(b"one", b"two"), (b"two", b"one")])
def test_a_task_that_is_deleted_locks_its_contents_in_one_order(attach: Any, names: tuple[bytes, bytes]):
    for content in (b"one", b"two"):
        attach(content)
    first, second = Blob.objects.order_by("pk")
    gone = factories.todo(factories.person())
    for content in names:
        attach(content, "a.txt", gone)

    with transaction.atomic():
        Blob.objects.select_for_update().get(pk=first.pk)
        deleting = begun(lambda: todos.delete(gone.pk))
        assert deleting.is_running
        # Else another task with the same files could wait for the first with the second in its hands.
        assert Blob.objects.select_for_update(nowait=True).get(pk=second.pk)
    deleting.end()
    assert not Todo.objects.filter(pk=gone.pk).exists()
