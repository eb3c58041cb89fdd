"""Texts among files: which have a form of their own, and which are really pages or drawings."""

import codecs
import re
from typing import BinaryIO

from reminders.files.kinds import EML, ICS, TEXT, Kind
from reminders.files.refusals import FileRefused, Refusal

PIECE = 64 * 1024
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Those that texts of any kind have: tab, line ends, form feed, and the escape of coloured logs.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
# What makes a browser take a text for a page (https://mimesniff.spec.whatwg.org/#identifying-a-resource-with-an-unknown-mime-type).
_PAGE = re.compile(
    r"<(!doctype\s+html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|meta|object|embed)[\s>/]"
    r"|<!--",
    re.IGNORECASE,
)
_SVG = re.compile(r"<(?:[\w.-]+:)?svg[\s>]|<!doctype\s+svg", re.IGNORECASE)
_HTML = re.compile(r"<(?:!doctype\s+html|html|script)[\s>]", re.IGNORECASE)
_HEADER = re.compile(r"[!-9;-~]+:")
_OF_MAIL = ("received", "return-path", "message-id", "mime-version", "delivered-to")


def kind_of(file: BinaryIO, head: bytes) -> Kind | None:
    """What kind of text a file is; None if it is none: it has control characters, or its encoding is broken.

    head: its beginning. Raises FileRefused for pages, drawings and scripts.
    """
    encoding = next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8")
    if not _is_text(file, encoding):
        # Tables from older office programs. Every byte is a letter there, so its control characters decide.
        if encoding != "utf-8" or not _is_text(file, "latin-1"):
            return None
        encoding = "latin-1"
    beginning = head.decode(encoding, "ignore").lstrip("\ufeff \t\r\n\x0c")
    _refuse_active(beginning)
    if beginning[:15].upper() == "BEGIN:VCALENDAR":
        return ICS
    return EML if _is_mail(beginning) else TEXT


def _is_text(file: BinaryIO, encoding: str) -> bool:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while piece := file.read(PIECE):
            if _CONTROL.search(decoder.decode(piece)):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _refuse_active(beginning: str) -> None:
    if beginning.startswith("#!"):
        raise FileRefused(Refusal.SCRIPT, "it is a script that can be run; put it into a ZIP")
    if not beginning.startswith("<"):
        return
    if _SVG.search(beginning):
        raise FileRefused(Refusal.SVG, "it is an SVG drawing, which may hold scripts; attach it as PNG or PDF")
    if _PAGE.match(beginning) or _HTML.search(beginning):
        raise FileRefused(Refusal.HTML, "it is an HTML page, which may hold scripts; attach it as PDF or plain text")
    if beginning.lower().startswith(("<?xml", "<!doctype", "<?php")):
        raise FileRefused(Refusal.XML, "it is XML, which programs may run or load more from; put it into a ZIP")


def _is_mail(beginning: str) -> bool:
    """Whether it begins with the headers of a mail: From, and one that programs add."""
    names = []
    for line in beginning.splitlines():
        if not line.strip():
            break
        if line[0] in " \t":
            continue
        match = _HEADER.match(line)
        if match is None:
            return False
        names.append(match[0][:-1].lower())
    return "from" in names and any(name in names for name in _OF_MAIL)
