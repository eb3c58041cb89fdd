"""What a file is taken for, and why one is not taken: by its content."""

from pathlib import Path
from typing import Any

import pytest

from reminders.files import archives, detecting, names
from reminders.files.kinds import KINDS
from reminders.files.refusals import FileRefused
from reminders.tests import filemaking as make


@pytest.fixture
def told(tmp_path: Path) -> Any:
    """`told(content)`: the name of its kind, or the code of its refusal."""

    def tell(content: bytes) -> str:
        path = tmp_path / "file"
        path.write_bytes(content)
        try:
            return detecting.detect(path).name
        except FileRefused as exc:
            return str(exc.code) if str(exc) else "no word"

    return tell


def _named(value: object) -> str:
    """The same in each process: archives hold the time at which they were made."""
    return value if isinstance(value, str) else "content"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (make.PDF, "pdf"),
        (make.picture(), "png"),
        (make.picture(form="JPEG"), "jpeg"),
        (make.picture(form="JPEG", progressive=True), "jpeg"),
        (make.picture(form="GIF"), "gif"),
        (make.picture(form="WEBP"), "webp"),
        (make.picture(form="WEBP", lossless=True), "webp"),
        (b"a,b\n1,2\n", "text"),
        ("Grüße".encode(), "text"),
        ("Grüße".encode("utf-16"), "text"),
        ("Grüße;1".encode("cp1252"), "text"),
        (b"# Title\n\n<b>bold</b> in Markdown\n", "text"),
        (make.MAIL, "eml"),
        (make.CALENDAR, "ics"),
        (make.office(), "docx"),
        (make.office("spreadsheetml.sheet"), "xlsx"),
        (make.office("presentationml.presentation"), "pptx"),
        (make.opendocument(), "odt"),
        (make.opendocument("spreadsheet"), "ods"),
        (make.zipped({"a.txt": b"a", "folder/b.html": b"<html>"}), "zip"),
        (make.zipped({}), "zip"),
        (make.zipped_deep(b"deep", archives.MOST_DEPTH), "zip"),
    ],
    ids=_named,
)
def test_a_content_is_taken_for_what_it_is(told: Any, content: bytes, kind: str):
    assert told(content) == kind


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (make.SVG, "svg"),
        (make.SVG.decode().encode("utf-16"), "svg"),
        (b"\n  <svg onload='x()'/>", "svg"),
        (b"<!DOCTYPE html><title>x</title>", "html"),
        (b"\xef\xbb\xbf \n<ScRiPt>x()</script>", "html"),
        (b"<?xml version='1.0'?><root/>", "xml"),
        (b"#!/bin/sh\nrm -rf /\n", "script"),
        (b"MZ\x90\x00" + b"\x00" * 60, "executable"),
        (b"\x7fELF" + b"\x00" * 60, "executable"),
        (make.zipped({"setup.exe": b"MZ\x90\x00"}), "executable"),
        (make.zipped({"META-INF/MANIFEST.MF": b"Main-Class: X"}), "executable"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "old_office"),
        (make.office(make.WORD, **{"word__vbaProject__x": b"", "word__vbaProject.bin": b"macro"}), "macros"),
        (make.opendocument("text", **{"Basic__Standard__Module1.xml": b"<m/>"}), "macros"),
        (b"Rar!\x1a\x07\x01\x00", "other_archive"),
        (b"7z\xbc\xaf\x27\x1c\x00", "other_archive"),
        (make.PDF + make.zipped({"a": b"a"}), "polyglot"),
        (make.picture() + make.zipped({"a": b"a"}), "polyglot"),
        (b"PK\x03\x04 not quite" + make.zipped({"a": b"a"}), "polyglot"),
        (make.picture(form="JPEG")[:30], "broken"),
        (b"\x89PNG\r\n\x1a\n", "broken"),
        (b"\x00\x01\x02 nothing known", "unknown_type"),
        (make.encrypted(), "archive_encrypted"),
        (make.zipped({"a": b"a"})[:-30], "archive_broken"),
        (make.lying(b"x" * 5000, 100), "archive_broken"),
        (make.overlapping(), "archive_broken"),
        (make.zipped({"../../etc/cron.d/x": b"x"}), "archive_names"),
        (make.zipped({"C:\\x": b"x"}), "archive_names"),
        (make.zipped({"a": b"a"}, 14), "archive_method"),
        (make.zipped_deep(make.zipped({"a": b"a"}), archives.MOST_DEPTH), "archive_depth"),
        (make.zipped({"zeros": bytes(30_000_000)}), "archive_ratio"),
    ],
    ids=_named,
)
def test_what_is_not_taken_is_told_by_its_reason(told: Any, content: bytes, code: str):
    assert told(content) == code


def test_an_archive_with_too_many_entries_is_not_even_listed(told: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives, "MOST_ENTRIES", 50)

    assert told(make.long_list(51)) == "archive_entries"


def test_archives_in_an_archive_are_counted_together(told: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives, "MOST_UNPACKED", 100_000)
    part = make.zipped({"a.bin": bytes(range(256)) * 200}, 0)

    assert told(part) == "zip"
    assert told(make.zipped({"1.zip": part, "2.zip": part})) == "archive_size"


def test_only_what_is_allowed_is_taken(told: Any, settings: Any):
    settings.ATTACHMENTS = {**settings.ATTACHMENTS, "TYPES": ["pdf"]}

    assert told(make.PDF) == "pdf"
    assert told(make.picture()) == "type_not_allowed"


@pytest.mark.parametrize(
    ("name", "kind", "stored"),
    [
        ("report.pdf", "pdf", "report.pdf"),
        ("photo.png", "docx", "photo.png.docx"),
        ("Photo.JPEG", "jpeg", "Photo.JPEG"),
        ("notes.md", "text", "notes.md"),
        ("C:\\Users\\me\\plan.txt", "text", "plan.txt"),
        ("../../etc/passwd", "text", "passwd.txt"),
        ("gpj.\u202eexe.pdf", "pdf", "gpj.exe.pdf"),
        ('a"b\r\nX-Evil: 1.pdf', "pdf", "a_bX-Evil_ 1.pdf"),
        ("x" * 400 + ".pdf", "pdf", "x" * 196 + ".pdf"),
    ],
)
def test_a_name_is_cleaned_and_made_to_fit(name: str, kind: str, stored: str):
    assert names.fitted(names.cleaned(name), KINDS[kind]) == stored


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("run.exe", "dangerous_name"),
        ("page.HTML", "dangerous_name"),
        ("a.exe.. ", "dangerous_name"),
        ("\u202e/", "bad_name"),
    ],
)
def test_a_dangerous_name_is_refused_whatever_the_content_is(name: str, code: str):
    with pytest.raises(FileRefused) as refused:
        names.cleaned(name)

    assert refused.value.code == code
    assert "programs are taken in neither way" in str(refused.value) or code == "bad_name"
