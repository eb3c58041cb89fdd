"""`Idempotency-Key`: a request that is sent again gets the job of the first time, for 24 hours."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from jobs.models import IdempotencyKey, Job
from jobs.operators.jobs import Enqueued

KEPT = timedelta(hours=24)


class KeyInUse(Exception):
    """The first request with this key is still being answered."""


class KeyUsedForAnother(ValueError):
    """The key came with another body before."""


def once(client: str, key: str, request: Any, enqueue: Callable[[], Enqueued]) -> tuple[Enqueued, bool]:
    """Enqueue under a client's key, or find what was enqueued under it. Returns that, and whether it was found.

    request: what the caller asked for, as JSON values. The key is written in the job's own transaction, so neither
    exists without the other; a request that fails leaves the key free.
    Raises KeyInUse, or KeyUsedForAnother if the key came with another request.
    """
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    with transaction.atomic():
        found = _find(client, key, digest)
        if found is not None:
            return Enqueued(Job.objects.get(pk=found.job_id), found.folded), True
        enqueued = enqueue()
        IdempotencyKey.objects.create(
            client=client, key=key, body_digest=digest, job_id=enqueued.job.pk, folded=enqueued.folded
        )
    return enqueued, False


def once_made(client: str, key: str, request: Any, make: Callable[[], str]) -> tuple[str, bool]:
    """The same for what is no job: `make` returns by what it is found again, such as its number.

    Returns that, and whether it was made before.
    """
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    with transaction.atomic():
        found = _find(client, key, digest)
        if found is not None:
            return found.job_id, True
        name = make()
        IdempotencyKey.objects.create(client=client, key=key, body_digest=digest, job_id=name)
    return name, False


def _find(client: str, key: str, digest: str) -> IdempotencyKey | None:
    """What is kept under a key, which is locked until the transaction ends."""
    if not _lock(client, key):
        raise KeyInUse(f"a request with the Idempotency-Key {key!r} is being answered; try again in a moment")
    kept = IdempotencyKey.objects.filter(client=client, key=key)
    kept.filter(created_at__lt=timezone.now() - KEPT).delete()
    found = kept.first()
    if found is not None and found.body_digest != digest:
        raise KeyUsedForAnother(f"the Idempotency-Key {key!r} came with another body before; use a new key")
    return found


def _lock(client: str, key: str) -> bool:
    """Held until the transaction ends; False, at once, if another holds it."""
    digest = hashlib.sha256(f"{client}\0{key}".encode()).digest()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [int.from_bytes(digest[:8], "big", signed=True)])
        return bool(cursor.fetchone()[0])
