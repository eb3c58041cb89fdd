"""The ledger of background jobs, and what operators do with it.

`from jobs import job` registers a task; inside a running task the same name reports progress:

    @job(queue="default")
    def count_words(document_id: int) -> int:
        job.progress(0.5, "half of the pages")
"""

from jobs.ledger.errors import Discard, Snooze
from jobs.ledger.hasten import hasten
from jobs.registry import job

__all__ = ["Discard", "Snooze", "hasten", "job"]
