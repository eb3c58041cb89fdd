"""Office files among ZIP archives: told by what is in them, and refused where programs are in them."""

import re

from reminders.files.archives import Contents
from reminders.files.kinds import OFFICE, Kind
from reminders.files.refusals import FileRefused, Refusal

_MAIN_PART = re.compile(r"application/vnd\.openxmlformats-officedocument\.[\w.]+(?=\.main\+xml)", re.ASCII)
_PROGRAMS = {
    "META-INF/MANIFEST.MF": "a Java program",
    "AndroidManifest.xml": "an Android app",
    "AppxManifest.xml": "a Windows app",
}


def kind_of(contents: Contents) -> Kind | None:
    """The Office type of an archive; None if it is just an archive. Raises FileRefused for macros and programs."""
    types, mimetype = contents.kept.get("[Content_Types].xml"), contents.kept.get("mimetype")
    if types is not None:
        return _ooxml(types, contents)
    if mimetype is not None and contents.names[0] == "mimetype":
        return _odf(mimetype, contents)
    for name, what in _PROGRAMS.items():
        if name in contents.names:
            raise FileRefused(Refusal.EXECUTABLE, f"it is {what}; programs are not taken")
    return None


def _ooxml(types: bytes, contents: Contents) -> Kind | None:
    """By the content types of its parts (ECMA-376, part 2): the main one tells what it is."""
    text = types.decode("utf-16" if types[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    if "macroenabled" in text.lower() or any(_is_program(name) for name in contents.names):
        raise _macros("save it as docx, xlsx or pptx, without them")
    match = _MAIN_PART.search(text)
    return OFFICE.get(match[0]) if match else None


def _odf(mimetype: bytes, contents: Contents) -> Kind | None:
    """By its first entry (OpenDocument 1.3, part 2, 3.3)."""
    kind = OFFICE.get(mimetype.decode("ascii", "replace").strip())
    if kind is not None and any(name.startswith(("Basic/", "Scripts/")) and name[-1] != "/" for name in contents.names):
        raise _macros("save it without them")
    return kind


def _is_program(name: str) -> bool:
    last = name.rsplit("/", 1)[-1].lower()
    return last.startswith("vbaproject") or "/activex/" in f"/{name.lower()}"


def _macros(remedy: str) -> FileRefused:
    return FileRefused(Refusal.MACROS, f"it has macros, which are programs; {remedy}")
