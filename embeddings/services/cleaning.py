"""The daily clean-up: vectors, rows, index versions and files that nothing needs any more.

Every step is safe to be cut off and to be run again, and beside builds, swaps and searches: rows go in small
transactions, a version is marked as removed under the lock of its collection before its files and tables go, and files
that somebody maps stay until the next time.
"""

from typing import Any

from django.db import transaction

from jobs import job
from jobs.ledger.door import sent_by
from jobs.operators.actors import Actor


def clean_up(*, dry_run: bool = False) -> dict[str, int]:
    """Remove what nothing needs. Returns how many of each kind; with dry_run how many it would be, changing nothing."""
    from embeddings.services import cleaning_rows, cleaning_versions

    counts: dict[str, int] = {}
    steps = [*cleaning_versions.STEPS, *cleaning_rows.STEPS]
    for number, (name, step) in enumerate(steps):
        job.progress(number / len(steps), name)
        counts[name] = step(dry_run)
    return counts


def send(actor: Actor) -> str:
    """Have a worker clean up; returns the id of the job. Raises PermissionDenied (embeddings.build_index)."""
    from embeddings import tasks

    actor.require("embeddings.build_index")
    with transaction.atomic(), sent_by(actor.via, actor.name):
        sent = tasks.clean_up.delay()
        actor.record("embeddings.clean_up", sent.id)
    return str(sent.id)


def sentence(counts: dict[str, Any]) -> str:
    """For people: "12 vectors, 1 index_versions"; "nothing" where nothing was to be done."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "nothing"
