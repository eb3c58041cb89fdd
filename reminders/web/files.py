"""The files of a task, on its page."""

from dataclasses import dataclass

from jobs.operators.actors import Actor
from reminders.models import Attachment, ScanState, ThumbnailState, Todo
from reminders.operators import attachments
from reminders.services.attachments import why_not_served

MOST = 100
_STATES = {
    ScanState.PENDING: "waits for the virus scanner",
    ScanState.CLEAN: "no virus found",
    ScanState.INFECTED: "infected, and removed",
    ScanState.NOT_SCANNED: "not scanned for viruses",
}


@dataclass(frozen=True)
class File:
    """One attachment. why_not: why it is not given out; empty if it is."""

    attachment: Attachment
    state: str
    why_not: str
    is_good: bool
    has_thumbnail: bool


def of(actor: Actor, todo: Todo) -> list[File]:
    """The newest first."""
    rows = attachments.attachments_of(actor, todo.pk).order_by("-created_at", "-id")[:MOST]
    return [_shown(row) for row in rows]


def _shown(row: Attachment) -> File:
    why_not = why_not_served(row.blob)
    return File(
        attachment=row,
        state=_STATES[ScanState(row.blob.scan_state)],
        why_not=why_not,
        is_good=row.blob.scan_state == ScanState.CLEAN,
        has_thumbnail=not why_not and row.blob.thumbnail_state == ThumbnailState.READY,
    )
