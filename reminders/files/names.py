"""Names of files: what people call them, cleaned, and made to fit what they are."""

import unicodedata
from pathlib import PurePosixPath

from reminders.files.kinds import Kind
from reminders.files.refusals import FileRefused, Refusal

LONGEST = 200
#: Run, or shown as a page with scripts, by a click on a common desktop, whatever their content is.
DANGEROUS = frozenset(
    {
        "action",
        "apk",
        "app",
        "appimage",
        "application",
        "bat",
        "bin",
        "cmd",
        "com",
        "command",
        "cpl",
        "csh",
        "dll",
        "dmg",
        "docm",
        "dotm",
        "exe",
        "gadget",
        "hta",
        "htm",
        "html",
        "inf",
        "ins",
        "iso",
        "jar",
        "js",
        "jse",
        "ksh",
        "lnk",
        "mht",
        "mhtml",
        "msc",
        "msi",
        "msp",
        "mst",
        "pif",
        "pkg",
        "ppam",
        "ppsm",
        "pptm",
        "ps1",
        "ps2",
        "psc1",
        "psm1",
        "py",
        "pyw",
        "rb",
        "reg",
        "rgs",
        "scf",
        "scr",
        "sct",
        "settingcontent-ms",
        "sh",
        "shb",
        "shs",
        "svg",
        "svgz",
        "swf",
        "url",
        "vb",
        "vbe",
        "vbs",
        "wasm",
        "website",
        "ws",
        "wsc",
        "wsf",
        "wsh",
        "xht",
        "xhtml",
        "xlam",
        "xll",
        "xlsm",
        "xltm",
        "xml",
        "xsl",
    }
)
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def cleaned(name: str) -> str:
    """The last part of a path as a browser or a program sent it, without characters that are not seen or may not be in
    names on common systems.

    Raises FileRefused where nothing is left, and for an extension that would be run by a click.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    seen = "".join(
        "_" if char in '<>:"|?*' else char
        for char in unicodedata.normalize("NFC", last)
        if unicodedata.category(char) not in _UNSEEN
    )
    # Windows drops dots and spaces at the end, so that "a.exe." would be a.exe there.
    plain = " ".join(seen.split()).strip(". ")
    if not plain:
        raise FileRefused(Refusal.BAD_NAME, f"the name {name[:60]!r} has nothing to show; give the file a name")
    extension = extension_of(plain)
    if extension in DANGEROUS:
        raise FileRefused(
            Refusal.DANGEROUS_NAME,
            f"files named .{extension} may be run by a click; give a text the ending .txt, or put it into a ZIP; "
            "programs are taken in neither way",
        )
    return _shortened(plain)


def fitted(name: str, kind: Kind) -> str:
    """The name, with an extension of the type added if it has none of it: a Word document scan.png is scan.png.docx."""
    if extension_of(name) in kind.extensions:
        return name
    return f"{_shortened(name)}.{kind.extensions[0]}"


def numbered(name: str, number: int) -> str:
    """ "scan (2).pdf" of "scan.pdf"."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem} ({number}).{extension}" if dot and stem else f"{name} ({number})"


def extension_of(name: str) -> str:
    return PurePosixPath(name).suffix.removeprefix(".").lower()


def _shortened(name: str) -> str:
    if len(name) <= LONGEST:
        return name
    extension = PurePosixPath(name).suffix[:20]
    return name[: LONGEST - len(extension)].rstrip(". ") + extension
