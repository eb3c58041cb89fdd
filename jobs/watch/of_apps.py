"""What other apps add to metrics and alerts. Imported when Django starts, so it imports nothing that takes long."""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from jobs.ledger.sweeps import Connection

if TYPE_CHECKING:
    from prometheus_client.core import Metric

logger = logging.getLogger(__name__)

Collect = Callable[[], "Iterable[Metric]"]
#: Returns None until the task has succeeded for the first time.
SinceSuccess = Callable[[Connection], timedelta | None]

_collectors: list[Collect] = []
_ages: dict[str, SinceSuccess] = {}


def also_collect(collect: Collect) -> None:
    """Have each scrape of /metrics tell an app's families, too: by a few cheap statements over Django's connection."""
    if collect not in _collectors:
        _collectors.append(collect)


def collected() -> "Iterable[Metric]":
    for collect in _collectors:
        yield from collect()


def also_watch(task: str, since_success: SinceSuccess) -> None:
    """Let alerts of the kind `age` watch how long ago a task succeeded last.

    since_success is called each ten seconds while such an alert is on, with an autocommit connection of the ledger.
    """
    _ages[task] = since_success


def watched_tasks() -> list[str]:
    return sorted(_ages)


def ages(connection: Connection, tasks: Iterable[str]) -> dict[str, float | None]:
    """Of these tasks, those that are known: seconds since each succeeded last, None where it never has.

    What cannot be asked is left out, and stops no other alert.
    """
    found: dict[str, float | None] = {}
    for task in tasks:
        if task not in _ages:
            continue
        try:
            age = _ages[task](connection)
        except Exception as exc:
            if connection.broken:
                raise
            logger.warning(
                "The last success of %s cannot be asked: %s: %s", task, type(exc).__name__, str(exc).strip()[:200]
            )
            continue
        found[task] = None if age is None else max(age.total_seconds(), 0.0)
    return found
