"""What no longer belongs to a task is removed: contents without attachments, and files without a row."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef

from reminders import moment
from reminders.files import receiving, storing
from reminders.models import Attachment, Blob

#: A content stays so long without attachments, for who deleted the wrong one, and for links that are open.
GRACE = timedelta(hours=24)
#: An upload takes no longer; what lies in quarantine since then was left by a process that died.
QUARANTINE_SECONDS = 6 * 3600.0
MOST_AT_ONCE = 1000

_USED = Exists(Attachment.objects.filter(blob=OuterRef("pk")))


def sweep() -> dict[str, int]:
    """Remove contents that nothing has referred to for a day, and what died in quarantine. Returns what was done."""
    due = Blob.objects.filter(unreferenced_at__lte=moment.now() - GRACE).order_by("unreferenced_at")
    removed = sum(_remove(sha256) for sha256 in list(due.values_list("sha256", flat=True)[:MOST_AT_ONCE]))
    return {"removed": removed, "quarantine": receiving.sweep(QUARANTINE_SECONDS)}


def reconcile() -> None:
    """Rows deleted behind Django's back are noticed here; the grace counts from then. Looks at every content."""
    Blob.objects.filter(~_USED, unreferenced_at=None).update(unreferenced_at=moment.now())
    Blob.objects.filter(_USED, unreferenced_at__isnull=False).update(unreferenced_at=None)


def _remove(sha256: str) -> bool:
    """One content with its thumbnail. Who uploads the same waits for this, and stores it anew."""
    with transaction.atomic():
        storing.lock(sha256)
        blob = Blob.objects.select_for_update().filter(sha256=sha256, unreferenced_at__lte=moment.now() - GRACE).first()
        if blob is None or Attachment.objects.filter(blob=blob).exists():
            return False
        storing.remove(blob.storage_key, blob.thumbnail_key)
        blob.delete()
        return True


def sweep_storage() -> dict[str, int]:
    """Remove stored files that no row knows and that are a day old: of uploads whose transaction was rolled back."""
    removed = 0
    before = moment.now() - GRACE
    for key, written_at in storing.listed():
        sha256 = key.rsplit("/", 1)[-1].partition(".")[0]
        if written_at > before or _is_known(key, sha256):
            continue
        with transaction.atomic():
            storing.lock(sha256)
            if not _is_known(key, sha256):
                storing.remove(key)
                removed += 1
    return {"removed": removed}


def _is_known(key: str, sha256: str) -> bool:
    column = "thumbnail_key" if key.startswith(f"{storing.THUMBNAILS}/") else "storage_key"
    return Blob.objects.filter(sha256=sha256, **{column: key}).exclude(scan_state="infected").exists()
