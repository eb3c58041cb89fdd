"""Why a file is not taken."""

from enum import StrEnum


class Refusal(StrEnum):
    """The reasons, as programs read them."""

    TOO_LARGE = "too_large"
    NO_FILE = "no_file"
    SEVERAL_FILES = "several_files"
    BROKEN_UPLOAD = "broken_upload"
    EMPTY = "empty"
    BAD_NAME = "bad_name"
    DANGEROUS_NAME = "dangerous_name"
    TOO_MANY = "too_many"
    UNKNOWN_TYPE = "unknown_type"
    TYPE_NOT_ALLOWED = "type_not_allowed"
    HTML = "html"
    SVG = "svg"
    XML = "xml"
    EXECUTABLE = "executable"
    SCRIPT = "script"
    OLD_OFFICE = "old_office"
    MACROS = "macros"
    OTHER_ARCHIVE = "other_archive"
    POLYGLOT = "polyglot"
    BROKEN = "broken"
    ARCHIVE_BROKEN = "archive_broken"
    ARCHIVE_ENCRYPTED = "archive_encrypted"
    ARCHIVE_ENTRIES = "archive_entries"
    ARCHIVE_RATIO = "archive_ratio"
    ARCHIVE_SIZE = "archive_size"
    ARCHIVE_DEPTH = "archive_depth"
    ARCHIVE_METHOD = "archive_method"
    ARCHIVE_NAMES = "archive_names"
    INFECTED = "infected"
    STORAGE_AWAY = "storage_away"


_TOO_LARGE = {Refusal.TOO_LARGE}
_BODY = {Refusal.NO_FILE, Refusal.SEVERAL_FILES, Refusal.BROKEN_UPLOAD, Refusal.BAD_NAME}
_CONFLICT = {Refusal.TOO_MANY}


class FileRefused(ValueError):
    """A file that is not taken. code: the reason; the message says what was found, and what to do."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status that fits."""
        if self.code in _TOO_LARGE:
            return 413
        if self.code in _BODY:
            return 400
        if self.code in _CONFLICT:
            return 409
        return 503 if self.code == Refusal.STORAGE_AWAY else 415
