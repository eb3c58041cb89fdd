"""Documents as tests store them, and what came of it."""

from typing import Any

from embeddings.models import Chunk
from embeddings.services import documents
from jobs.models import Job


def put(*given: Any, collection: str = "notes") -> documents.PutResult:
    return documents.put(None, collection, list(given))


def counts(result: documents.PutResult) -> tuple[int, int, int]:
    return result.created, result.updated, result.unchanged


def chunks(external_id: str) -> list[Chunk]:
    return list(Chunk.objects.filter(document__external_id=external_id).order_by("position"))


def catch_ups() -> int:
    return Job.objects.filter(task="embeddings.catch_up").count()
