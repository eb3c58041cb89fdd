"""What a real clamd says, and that nothing is served while it says nothing."""

import time
from pathlib import Path
from typing import Any

import pytest

from reminders.files import clamav as client
from reminders.files.refusals import FileRefused
from reminders.models import ScanState
from reminders.services import attachments, file_health, file_scanning
from reminders.tests import filemaking as make
from reminders.tests import scanner
from reminders.tests.file_fixtures import *  # noqa: F403  (fixtures)
from reminders.tests.file_fixtures import stored

EICAR = make.EICAR


def test_a_clean_file_is_served_once_it_was_scanned(attach: Any, clamav: str):
    blob = attach(b"harmless").blob
    assert blob.scan_state == ScanState.PENDING

    assert file_scanning.scan(blob.pk) == {"state": "clean", "verdict": ""}

    blob.refresh_from_db()
    attachments.require_served(blob)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (EICAR, "a.txt"),
        (make.zipped({"e.com.txt": EICAR}), "a.zip"),
        (make.zipped({"inner.zip": make.zipped({"e.txt": EICAR})}), "a.zip"),
        (make.office(word__embeddings__e=EICAR), "a.docx"),
    ],
    ids=["raw", "zipped", "zipped twice", "in a document"],
)
def test_an_infected_file_is_removed_at_once(attach: Any, files: Path, clamav: str, content: bytes, name: str):
    blob = attach(content, name).blob

    assert file_scanning.scan(blob.pk)["state"] == "infected"

    blob.refresh_from_db()
    assert "Eicar-Test" in blob.verdict
    assert stored(files) == []
    with pytest.raises(attachments.NotServed) as refused:
        attachments.require_served(blob)
    assert refused.value.state == "infected"
    with pytest.raises(file_scanning.ScanNotPossible):
        file_scanning.rescan(blob)


def test_infected_content_attached_again_is_scanned_again_or_refused(attach: Any, clamav: str, settings: Any):
    blob = attach(EICAR).blob
    file_scanning.scan(blob.pk)

    assert attach(EICAR).blob.scan_state == ScanState.PENDING
    file_scanning.scan(blob.pk)
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "CLAMAV": "", "SERVE_UNSCANNED": True}

    with pytest.raises(FileRefused) as refused:
        attach(EICAR)
    assert refused.value.code == "infected"


def test_a_new_signature_finds_what_was_clean_when_it_is_scanned_again(files: Path, attach: Any, settings: Any):
    if not scanner.PROGRAM:
        pytest.skip("there is no clamd; install Debian's clamav-daemon")
    signatures = files / "signatures"
    signatures.mkdir()
    scanner.sign_eicar(signatures)
    with scanner.clamd(files, "SelfCheck 0") as address:
        settings.ATTACHMENTS = {**settings.ATTACHMENTS, "CLAMAV": address}
        blob = attach(b"clean until today").blob
        assert file_scanning.scan(blob.pk)["state"] == "clean"
        scanner.sign(signatures, "New", b"clean until today")
        assert scanner.ask(address, "RELOAD") == "RELOADING"

        found: dict[str, Any] = {"state": "clean"}
        deadline = time.monotonic() + scanner.START_SECONDS
        while found["state"] == "clean":
            assert time.monotonic() < deadline, "the new signature is never used"
            time.sleep(0.1)
            blob.refresh_from_db()
            file_scanning.rescan(blob)
            found = file_scanning.scan(blob.pk)

    assert found["verdict"].startswith("New")


def test_a_scanner_that_is_down_leaves_the_file_pending_and_tells_why(attach: Any, clamav_away: None):
    blob = attach(b"x").blob

    with pytest.raises(client.ScanFailed):
        file_scanning.scan(blob.pk)

    blob.refresh_from_db()
    assert blob.scan_state == ScanState.PENDING
    assert "not reachable" in blob.error
    assert file_health.examine()[0].state == "wrong"


def test_a_file_beyond_the_scanners_limit_is_never_clean(attach: Any, clamav: str):
    blob = attach(b"0123456789abcdef" * 200_000).blob

    with pytest.raises(client.ScanFailed, match="StreamMaxLength"):
        file_scanning.scan(blob.pk)

    blob.refresh_from_db()
    assert blob.scan_state == ScanState.PENDING


@pytest.mark.parametrize(
    "answer",
    ["", "stream: ", "OK", "stream: OK and more", "INSTREAM: x ERROR", "stream:  FOUND", "stream: Can't open ERROR"],
)
def test_only_a_clear_word_is_a_verdict(answer: str):
    with pytest.raises(client.ScanFailed):
        client._read(answer)


def test_the_canary_is_found_and_missed_loudly(clamav: str, files: Path, settings: Any):
    assert "Eicar" in file_scanning.check_scanner()["found"]

    signatures = files / "signatures"
    signatures.mkdir()
    scanner.sign(signatures, "Other", b"something else")
    with scanner.clamd(files) as address:
        settings.ATTACHMENTS = {**settings.ATTACHMENTS, "CLAMAV": address}
        with pytest.raises(file_scanning.CanaryNotFound):
            file_scanning.check_scanner()


def test_without_a_scanner_the_canary_rests(files: Path):
    assert "skipped" in file_scanning.check_scanner()
