"""What the doctor asks of reminders: whether scans succeed, what waits for a person, and whose clock it is."""

from django.conf import settings

from jobs.admin.service_pages import counted
from jobs.admin.show import duration_text
from jobs.operators.health import Finding
from reminders import moment
from reminders.operators import metrics, reminders
from reminders.services import sending

_REMEDY = "see that the schedule reminders-send-due-soon is on, and that beat and a worker of the default lane run"


def examine() -> list[Finding]:
    """A scan is each minute, so one that is minutes old was the last."""
    found = [_scan(), *_mail(), *_left_to_people()]
    if settings.VIRTUAL_CLOCK:
        found.append(
            Finding(
                "reminders",
                "warning",
                "VIRTUAL_CLOCK is set: reminders go by the time in that file",
                "unset VIRTUAL_CLOCK",
            )
        )
    return found


def _scan() -> Finding:
    scan = reminders.last_scan()
    if scan is None or scan.last_success_at is None:
        return Finding("reminders", "warning", "no scan for due reminders has succeeded yet", _REMEDY)
    age = moment.now() - scan.last_success_at
    words = f"the last scan for due reminders succeeded {duration_text(age)} ago"
    if age > reminders.SCAN_TOO_OLD:
        return Finding("reminders", "wrong", words, _REMEDY)
    return Finding("reminders", "ok", words)


def _mail() -> list[Finding]:
    if sending.has_mail_server():
        return []
    words = "there is no mail server; reminders by mail fail"
    remedy = "set EMAIL_URL, for example to smtp+tls://USER:PASSWORD@HOST:587, and MAIL_FROM"
    return [Finding("reminders", "warning", words, remedy)]


def _left_to_people() -> list[Finding]:
    counts, found = metrics.counts(), []
    if counts.failed:
        words = f"{counted(counts.failed, 'delivery', 'deliveries')} of the last 24 hours failed"
        remedy = (
            "see why: manage.py reminders deliveries --state failed; then send them again: manage.py reminders retry ID"
        )
        found.append(Finding("reminders", "warning", words, remedy))
    if counts.uncertain:
        words = f"{counted(counts.uncertain, 'delivery', 'deliveries')} may have arrived, or not; a person decides"
        found.append(Finding("reminders", "warning", words, "see manage.py reminders deliveries --state uncertain"))
    if counts.channels_set_aside:
        words = f"{counted(counts.channels_set_aside, 'channel')} set aside after failures"
        found.append(Finding("reminders", "warning", words, "see why: manage.py reminders channels --unusable"))
    return found
