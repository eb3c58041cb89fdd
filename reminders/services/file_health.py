"""What can be wrong with attached files and the virus scanner, for the doctor."""

import os

from django.conf import settings

from jobs.models import Job, State
from jobs.operators.health import Finding
from reminders.files import clamav, receiving, storing
from reminders.models import Blob, ScanState

PART = "attachments"


def examine() -> list[Finding]:
    return [_scanner(), *_canary(), _storage(), *_waiting()]


def _scanner() -> Finding:
    if not clamav.is_configured():
        served = "served all the same" if settings.ATTACHMENTS["SERVE_UNSCANNED"] else "not served"
        words = f"there is no virus scanner; attached files are {served}"
        return Finding(PART, "warning", words, "run clamd, and set CLAMAV to tcp://HOST:3310 or unix:///PATH")
    try:
        return Finding(PART, "ok", f"the virus scanner answers: {clamav.version()[:100]}")
    except clamav.ScanFailed as exc:
        return Finding(PART, "wrong", str(exc), "start clamd; until then new files wait, and are not served")


def _canary() -> list[Finding]:
    if not clamav.is_configured():
        return []
    newest = Job.objects.filter(task="reminders.scanner_canary", state__in=(State.SUCCEEDED, State.FAILED))
    last = newest.order_by("-finished_at").first()
    if last is None or last.state == State.SUCCEEDED:
        return []
    words = f"the virus scanner did not find the EICAR test file (job {last.pk})"
    return [Finding(PART, "wrong", words, "see that its signatures are there: freshclam, and clamd's log")]


def _storage() -> Finding:
    remedy = "see ATTACHMENT_STORAGE, its credentials and its network; until then no file is taken or given out"
    try:
        if not os.access(receiving.folder(), os.W_OK):
            return Finding(PART, "wrong", f"{receiving.folder()} cannot be written to", "let this account write there")
        storing.exists("contents/none")
    except (storing.StorageAway, OSError) as exc:
        return Finding(PART, "wrong", str(exc)[:200], remedy)
    return Finding(PART, "ok", "the storage of files answers")


def _waiting() -> list[Finding]:
    stuck = Blob.objects.filter(scan_state=ScanState.PENDING).exclude(error="").order_by("pk").first()
    if stuck is None:
        return []
    return [Finding(PART, "warning", f"files wait for the virus scanner: {stuck.error[:200]}", "see clamd's log")]
