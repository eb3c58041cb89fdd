"""Jobs, sent as any code sends them."""

from typing import Any

from celery import chain

from embeddings import tasks
from jobs.ledger import publisher


def send(task: str, **arguments: Any) -> str:
    """Send a task of this app. Returns the job's id."""
    job_id = str(getattr(tasks, task).delay(**arguments).id)
    publisher.drain(30)
    return job_id


def send_rebuild(collection: str) -> list[str]:
    """What a rebuild sends for a collection. Returns the ids of the first job and of the last."""
    steps = (tasks.embed_all_documents, tasks.build_faiss_index, tasks.hot_swap_index)
    last = chain(step.si(collection=collection) for step in steps).delay()
    publisher.drain(30)
    return [str(last.parent.parent.id), str(last.id)]
