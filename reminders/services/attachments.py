"""Files of tasks: taken in, given out, let go. One content is stored once, however often it is attached."""

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete

from reminders import moment
from reminders.files import clamav, detecting, kinds, names, storing
from reminders.files.receiving import Received
from reminders.files.refusals import FileRefused, Refusal
from reminders.models import Attachment, Blob, ScanState, ThumbnailState, Todo
from reminders.services import file_scanning

MOST_OF_A_TODO = 100


class NotServed(Exception):
    """A file that is not given out as it is. state: why, for programs; the message says it for people."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state = state


def add(todo: Todo, received: Received, user: Any = None) -> Attachment:
    """Attach a file from quarantine, under its name or, where the task has that already, one with a number.

    Raises FileRefused, having stored nothing.
    """
    name = names.cleaned(received.name)
    kind = detecting.detect(received.path)
    name = names.fitted(name, kind)
    try:
        with transaction.atomic():
            # A lock that a scan's foreign keys pass: storing the file may take long, and no reminder waits for that.
            Todo.objects.select_for_update(of=("self",), no_key=True).only("pk").get(pk=todo.pk)
            name = _free_name(todo, name)
            blob = _blob(received, kind)
            attachment = Attachment.objects.create(todo=todo, blob=blob, name=name, uploaded_by=user)
    except storing.StorageAway as exc:
        raise FileRefused(Refusal.STORAGE_AWAY, f"{exc}; try again later") from None
    except Todo.DoesNotExist:
        raise FileRefused(Refusal.NO_FILE, f"task {todo.pk} was deleted meanwhile") from None
    return attachment


def _free_name(todo: Todo, name: str) -> str:
    taken = set(Attachment.objects.filter(todo=todo).values_list("name", flat=True))
    if len(taken) >= MOST_OF_A_TODO:
        words = f"the task has {len(taken)} files, the most that one may have; delete some first"
        raise FileRefused(Refusal.TOO_MANY, words)
    numbered = (names.numbered(name, number) for number in range(2, MOST_OF_A_TODO + 3))
    return name if name not in taken else next(found for found in numbered if found not in taken)


def _blob(received: Received, kind: kinds.Kind) -> Blob:
    """The row of a content, stored if it is new, or rescued from the sweeper.

    It is stored before the transaction ends: what is then rolled back leaves a file without a row, which the sweeper
    finds; a row without its file would be a loss.
    """
    storing.lock(received.sha256)
    blob = Blob.objects.select_for_update().filter(sha256=received.sha256).first()
    if blob is None:
        return _new_blob(received, kind)
    if blob.scan_state == ScanState.INFECTED:
        if not clamav.is_configured():
            raise FileRefused(Refusal.INFECTED, f"the virus scanner found {blob.verdict} in this content before")
        # Its content is gone; newer signatures may find otherwise.
        storing.keep(received.path, blob.sha256)
        file_scanning.wait_again(blob)
    elif not storing.exists(blob.storage_key):
        storing.keep(received.path, blob.sha256)
    if blob.scan_state == ScanState.NOT_SCANNED and clamav.is_configured():
        # Attached before there was a scanner.
        file_scanning.wait_again(blob)
    if blob.unreferenced_at is not None:
        blob.unreferenced_at = None
        blob.save(update_fields=["unreferenced_at"])
    return blob


def _new_blob(received: Received, kind: kinds.Kind) -> Blob:
    blob = Blob.objects.create(
        sha256=received.sha256,
        size=received.size,
        content_type=kind.content_type,
        storage_key=storing.content_key(received.sha256),
        scan_state=ScanState.PENDING if clamav.is_configured() else ScanState.NOT_SCANNED,
        thumbnail_state=ThumbnailState.PENDING if kind.shows else ThumbnailState.NONE,
    )
    storing.keep(received.path, received.sha256)
    file_scanning.send_jobs(blob)
    return blob


def delete(attachment_id: int) -> None:
    """Its content goes with the sweeper, once nothing else refers to it. Raises Attachment.DoesNotExist."""
    with transaction.atomic():
        Attachment.objects.get(pk=attachment_id).delete()


def lock_contents(todo: Todo) -> None:
    """Of all its files, in one order: two tasks with the same files may be deleted at once."""
    contents = Blob.objects.select_for_update(of=("self",)).order_by("pk")
    list(contents.filter(pk__in=Attachment.objects.filter(todo=todo).values("blob")).values_list("pk"))


def let_go(blob_id: int) -> None:
    """Note when the last attachment of a content is gone; in the transaction that deletes it."""
    blob = Blob.objects.select_for_update().filter(pk=blob_id).first()
    if blob is not None and not Attachment.objects.filter(blob=blob).exists():
        blob.unreferenced_at = moment.now()
        blob.save(update_fields=["unreferenced_at"])


def _let_go(sender: Any, instance: Attachment, **_: Any) -> None:
    # Also when a task takes its attachments with it.
    let_go(instance.blob_id)


def connect() -> None:
    post_delete.connect(_let_go, sender=Attachment, dispatch_uid="reminders.attachments.let_go")


# --- Given out --------------------------------------------------------------------------------------------------------


def why_not_served(blob: Blob) -> str:
    """Why a content is not given out as it is now; empty if it is."""
    if blob.scan_state == ScanState.CLEAN:
        return ""
    if blob.scan_state == ScanState.INFECTED:
        return f"the virus scanner found {blob.verdict} in it, and it was removed"
    if blob.scan_state == ScanState.PENDING:
        return "it waits for the virus scanner" + (f": {blob.error}" if blob.error else "; try again in a moment")
    if file_scanning.serves_unscanned():
        return ""
    if clamav.is_configured():
        return "no virus scanner has seen it yet; it is scanned within ten minutes"
    return "no virus scanner has seen it; an operator can set one up, or allow such files (SERVE_UNSCANNED)"


def require_served(blob: Blob) -> None:
    """Raises NotServed."""
    reason = why_not_served(blob)
    if reason:
        raise NotServed(blob.scan_state, f"the file is not given out: {reason}")


def require_thumbnail(blob: Blob) -> None:
    """Raises NotServed."""
    require_served(blob)
    if blob.thumbnail_state == ThumbnailState.NONE:
        raise NotServed("thumbnail_none", "files of this type have no thumbnail")
    if blob.thumbnail_state == ThumbnailState.PENDING:
        raise NotServed("thumbnail_pending", "the thumbnail is being made; try again in a moment")
    if blob.thumbnail_state == ThumbnailState.FAILED:
        raise NotServed("thumbnail_failed", f"there is no thumbnail: {blob.thumbnail_error}")
