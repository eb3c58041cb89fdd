"""What Prometheus and alerts ask of reminders: a few counts over small indexes, whatever the size of the tables."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from math import inf
from typing import NamedTuple

from django.db import connection
from prometheus_client.core import GaugeMetricFamily, Metric

from reminders import moment

#: Counts stop here: of what there are so many, nobody needs to know it more exactly.
MOST = 100_000
FAILED_WITHIN = timedelta(days=1)


# Each condition is word for word an index's own, so that it is found there.
_ROWS = (
    "reminder WHERE state = 'held'",
    "reminderdelivery WHERE state = 'pending'",
    "reminderdelivery WHERE state IN ('failed', 'uncertain') AND state = 'failed' AND created_at >= %(failed_since)s",
    "reminderdelivery WHERE state = 'uncertain'",
    "blob WHERE scan_state = 'pending'",
    "blob WHERE scan_state IN ('pending', 'not_scanned') AND scan_state = 'not_scanned'",
    "channel WHERE set_aside_at IS NOT NULL",
)
_COUNT = "(SELECT count(*) FROM (SELECT 1 FROM reminders_{} LIMIT {}) AS few)"
_SCANNED = "(SELECT last_success_at FROM reminders_scanrecord WHERE id = 1)"
_COUNTS = "SELECT " + ", ".join([*(_COUNT.format(rows, MOST) for rows in _ROWS), _SCANNED])


class Counts(NamedTuple):
    """In the order of the statement. failed: of a day. pending_files: which wait for the virus scanner.

    scanned_at: when a scan for due reminders succeeded last.
    """

    held: int
    pending: int
    failed: int
    uncertain: int
    pending_files: int
    unscanned_files: int
    channels_set_aside: int
    scanned_at: datetime | None


def counts() -> Counts:
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"failed_since": moment.now() - FAILED_WITHIN})
        return Counts(*cursor.fetchone())


def collect() -> Iterator[Metric]:
    """All families, in a fixed order."""
    found = counts()
    age = inf if found.scanned_at is None else max((moment.now() - found.scanned_at).total_seconds(), 0.0)
    yield GaugeMetricFamily(
        "switchyard_reminder_scan_age_seconds",
        "Since when no scan for due reminders has succeeded; +Inf until the first has.",
        value=age,
    )
    yield GaugeMetricFamily(
        "switchyard_reminders_held", "Reminders that wait for the end of quiet hours or of a pause.", value=found.held
    )
    deliveries = GaugeMetricFamily(
        "switchyard_reminder_deliveries",
        "Messages to people: pending; failed, of the last 24 hours; uncertain, which wait for a person.",
        labels=["state"],
    )
    for state, count in (("pending", found.pending), ("failed", found.failed), ("uncertain", found.uncertain)):
        deliveries.add_metric([state], count)
    attachments = GaugeMetricFamily(
        "switchyard_attachments_unscanned",
        "Contents of attached files without a verdict: pending, for the virus scanner; not_scanned, as there was none.",
        labels=["state"],
    )
    for state, count in (("pending", found.pending_files), ("not_scanned", found.unscanned_files)):
        attachments.add_metric([state], count)
    yield from (deliveries, attachments)
    yield GaugeMetricFamily(
        "switchyard_reminder_channels_set_aside",
        "Ways to people that failed too often.",
        value=found.channels_set_aside,
    )
