"""What the virus scanner says of a content, and its thumbnail. Closed while in doubt: no verdict, not served."""

import logging
import shutil
import tempfile
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.db import transaction

from reminders import moment
from reminders.files import clamav, receiving, storing, thumbnails
from reminders.models import Blob, ScanState, ThumbnailState

logger = logging.getLogger(__name__)

#: The test file of EICAR, which every scanner finds and which does nothing; in two parts, so that this source is none.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}" + rb"$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
MOST_AT_ONCE = 500


class CanaryNotFound(Exception):
    """The virus scanner passes what every scanner finds."""


class ScanNotPossible(ValueError):
    """It cannot be scanned again as it is; the message says why, and what to do."""


def serves_unscanned() -> bool:
    """Whether what was never scanned is served: an operator allows it, and there is no scanner that it waits for."""
    return bool(settings.ATTACHMENTS["SERVE_UNSCANNED"]) and not clamav.is_configured()


def send_jobs(blob: Blob) -> None:
    """Enqueue what a content waits for; the jobs exist if the transaction commits."""
    from reminders import file_tasks

    if blob.scan_state in (ScanState.PENDING, ScanState.NOT_SCANNED) and clamav.is_configured():
        file_tasks.scan_file.delay(blob_id=blob.pk)
    elif blob.thumbnail_state == ThumbnailState.PENDING and may_be_read(blob):
        file_tasks.make_thumbnail.delay(blob_id=blob.pk)


def may_be_read(blob: Blob) -> bool:
    """Whether a content may be decoded here: it is clean, or there is no scanner to wait for."""
    if blob.scan_state == ScanState.NOT_SCANNED:
        return not clamav.is_configured()
    return blob.scan_state == ScanState.CLEAN


def wait_again(blob: Blob) -> None:
    """Have a locked content scanned anew, as if it were new; until then it is not served."""
    blob.scan_state, blob.scanned_at, blob.verdict, blob.error = ScanState.PENDING, None, "", ""
    blob.save(update_fields=["scan_state", "scanned_at", "verdict", "error"])
    send_jobs(blob)


def scan(blob_id: int) -> dict[str, Any]:
    """Ask the scanner about one content, and keep its verdict.

    Raises ScanFailed or StorageAway, after which the content waits on and tells why.
    """
    blob = Blob.objects.filter(pk=blob_id, scan_state__in=(ScanState.PENDING, ScanState.NOT_SCANNED)).first()
    if blob is None:
        return {"skipped": "it is gone, or has its verdict"}
    if not clamav.is_configured():
        return {"skipped": "no virus scanner is configured; set CLAMAV"}
    try:
        verdict = clamav.scan(storing.pieces(blob.storage_key))
    except (clamav.ScanFailed, storing.StorageAway) as exc:
        waiting = Blob.objects.filter(pk=blob.pk, scan_state=blob.scan_state)
        # A file that nobody has scanned is one that waits for the scanner, as soon as there is one.
        waiting.update(error=str(exc)[:1000], scan_state=ScanState.PENDING)
        raise
    return _keep(blob, verdict)


def _keep(blob: Blob, verdict: clamav.Verdict) -> dict[str, Any]:
    state = ScanState.CLEAN if verdict.is_clean else ScanState.INFECTED
    with transaction.atomic():
        storing.lock(blob.sha256)
        row = Blob.objects.select_for_update().filter(pk=blob.pk, scan_state=blob.scan_state).first()
        if row is None:
            return {"skipped": "another scan was first"}
        row.scan_state, row.scanned_at, row.verdict, row.error = state, moment.now(), verdict.signature, ""
        if not verdict.is_clean:
            storing.remove(row.storage_key, row.thumbnail_key)
            row.thumbnail_key = ""
            if row.thumbnail_state != ThumbnailState.NONE:
                row.thumbnail_state = ThumbnailState.PENDING
        row.save()
        send_jobs(row)
    if not verdict.is_clean:
        logger.warning("File %s is infected: %s", row.sha256, verdict.signature, extra={"blob_id": row.pk})
    return {"state": str(state), "verdict": verdict.signature}


def check_scanner() -> dict[str, Any]:
    """Whether the scanner finds what it must find. Raises CanaryNotFound, ScanFailed."""
    if not clamav.is_configured():
        return {"skipped": "no virus scanner is configured; set CLAMAV"}
    verdict = clamav.scan([EICAR])
    if verdict.is_clean:
        logger.error("The virus scanner does not find the EICAR test file: its signatures are missing or not loaded")
        raise CanaryNotFound(
            "the virus scanner calls the EICAR test file clean; see that its signatures are there and loaded"
        )
    return {"found": verdict.signature}


def rescan(blob: Blob) -> None:
    """Have a content scanned again; until then it is not served. Raises ScanNotPossible."""
    if not clamav.is_configured():
        raise ScanNotPossible("no virus scanner is configured; set CLAMAV to tcp://HOST:3310 or unix:///PATH")
    with transaction.atomic():
        storing.lock(blob.sha256)
        row = Blob.objects.select_for_update().filter(pk=blob.pk).first()
        if row is None:
            raise ScanNotPossible("its content is gone")
        if row.scan_state == ScanState.INFECTED:
            raise ScanNotPossible(f"its content was removed as {row.verdict} was found in it; attach the file again")
        wait_again(row)


def resend() -> int:
    """Enqueue again what waits for the scanner, or for a thumbnail; unfinished jobs take these in. Returns how many."""
    waiting = Blob.objects.filter(unreferenced_at=None)
    states = [ScanState.PENDING]
    if clamav.is_configured():
        states.append(ScanState.NOT_SCANNED)
    else:
        # The scanner was taken away: what waited for it has not been scanned.
        Blob.objects.filter(scan_state=ScanState.PENDING).update(scan_state=ScanState.NOT_SCANNED)
    to_scan = list(waiting.filter(scan_state__in=states).order_by("pk")[:MOST_AT_ONCE])
    to_show = list(waiting.filter(thumbnail_state=ThumbnailState.PENDING).order_by("pk")[:MOST_AT_ONCE])
    found = {blob.pk: blob for blob in (*to_scan, *to_show) if blob.scan_state != ScanState.INFECTED}
    for blob in found.values():
        send_jobs(blob)
    return len(found)


def make_thumbnail(blob_id: int) -> dict[str, Any]:
    """Make and keep the thumbnail of one content. Raises StorageAway."""
    blob = Blob.objects.filter(pk=blob_id, thumbnail_state=ThumbnailState.PENDING).first()
    if blob is None or not may_be_read(blob):
        return {"skipped": "it is gone, has one, or waits for the virus scanner"}
    with tempfile.NamedTemporaryFile(dir=receiving.folder(), prefix=receiving.PREFIX) as copy:
        with storing.opened(blob.storage_key) as file:
            shutil.copyfileobj(file, copy)
        copy.flush()
        try:
            made = thumbnails.make(cast(BinaryIO, copy.file), blob.content_type)
        except thumbnails.ThumbnailRefused as exc:
            return _keep_thumbnail(blob, b"", str(exc)[:1000])
    return _keep_thumbnail(blob, made, "")


def _keep_thumbnail(blob: Blob, made: bytes, error: str) -> dict[str, Any]:
    with transaction.atomic():
        storing.lock(blob.sha256)
        row = Blob.objects.select_for_update().filter(pk=blob.pk, thumbnail_state=ThumbnailState.PENDING).first()
        if row is None or not may_be_read(row):
            return {"skipped": "it changed meanwhile"}
        row.thumbnail_state = ThumbnailState.READY if made else ThumbnailState.FAILED
        row.thumbnail_key = storing.keep_thumbnail(made, row.sha256) if made else ""
        row.thumbnail_error = error
        row.save(update_fields=["thumbnail_state", "thumbnail_key", "thumbnail_error"])
    return {"thumbnail": str(row.thumbnail_state), **({"error": error} if error else {"bytes": len(made)})}
