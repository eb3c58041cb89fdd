"""The types of files that can be attached."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True)
class Kind:
    """name: as in ATTACHMENT_TYPES. extensions: names that fit it, the first of which is added to one that does not.

    shows: whether a thumbnail can be made.
    """

    name: str
    content_type: str
    extensions: tuple[str, ...]
    label: str
    shows: bool = False


_OOXML = "application/vnd.openxmlformats-officedocument."
_ODF = "application/vnd.oasis.opendocument."
_TEXTS = ("txt", "text", "csv", "tsv", "md", "markdown", "rst", "log", "json", "yaml", "yml", "toml", "ini", "conf")

PDF = Kind("pdf", "application/pdf", ("pdf",), "PDF")
PNG = Kind("png", "image/png", ("png",), "PNG image", shows=True)
JPEG = Kind("jpeg", "image/jpeg", ("jpg", "jpeg", "jpe", "jfif"), "JPEG image", shows=True)
GIF = Kind("gif", "image/gif", ("gif",), "GIF image", shows=True)
WEBP = Kind("webp", "image/webp", ("webp",), "WebP image", shows=True)
TEXT = Kind("text", "text/plain", (*_TEXTS, "diff", "patch", "tex", "srt", "vcf"), "plain text, CSV or Markdown")
DOCX = Kind("docx", _OOXML + "wordprocessingml.document", ("docx",), "Word document")
XLSX = Kind("xlsx", _OOXML + "spreadsheetml.sheet", ("xlsx",), "Excel workbook")
PPTX = Kind("pptx", _OOXML + "presentationml.presentation", ("pptx",), "PowerPoint presentation")
ODT = Kind("odt", _ODF + "text", ("odt",), "OpenDocument text")
ODS = Kind("ods", _ODF + "spreadsheet", ("ods",), "OpenDocument spreadsheet")
ODP = Kind("odp", _ODF + "presentation", ("odp",), "OpenDocument presentation")
ODG = Kind("odg", _ODF + "graphics", ("odg",), "OpenDocument drawing")
ZIP = Kind("zip", "application/zip", ("zip",), "ZIP archive")
ICS = Kind("ics", "text/calendar", ("ics", "ical", "ifb", "icalendar"), "iCalendar")
EML = Kind("eml", "message/rfc822", ("eml",), "mail")

KINDS = {
    kind.name: kind for kind in (PDF, PNG, JPEG, GIF, WEBP, TEXT, DOCX, XLSX, PPTX, ODT, ODS, ODP, ODG, ZIP, ICS, EML)
}
OFFICE = {kind.content_type: kind for kind in (DOCX, XLSX, PPTX, ODT, ODS, ODP, ODG)}
OF_CONTENT_TYPE = {kind.content_type: kind for kind in KINDS.values()}


def allowed() -> list[Kind]:
    """What ATTACHMENT_TYPES allows."""
    names = settings.ATTACHMENTS["TYPES"]
    return [kind for name, kind in KINDS.items() if not names or name in names]
