"""Jobs of a collection that was deleted meanwhile: nobody wants them any more, and that is no failure."""

import contextlib
from collections.abc import Iterator

from celery.exceptions import Reject
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError

from embeddings.models import Collection
from embeddings.services.collections import UnknownCollection
from jobs import Discard
from jobs.ledger.run import current_run
from jobs.models import AuditEntry

#: What becomes of work on rows that go away.
_SIGNS = (UnknownCollection, ObjectDoesNotExist, IntegrityError)


@contextlib.contextmanager
def collection_may_go(name: str, *, asked_for: bool = False) -> Iterator[None]:
    """Inside a job, raise Discard instead of what its body raises because the collection is not there any more.

    asked_for: people send the job by themselves, so a collection that never was is their mistake: the job fails at
    once. A deletion is known by its audit entry.
    """
    try:
        yield
    except _SIGNS as exc:
        if current_run() is None or (isinstance(name, str) and Collection.objects.filter(name=name).exists()):
            raise
        if asked_for and not AuditEntry.objects.filter(action="collection.delete", target=str(name)).exists():
            # Tried again it would be unknown again: a rejected job fails at once.
            raise Reject(_named(name, exc)) from exc
        raise Discard(f"collection {name!r} was deleted") from exc


def _named(name: str, exc: Exception) -> Exception:
    return exc if isinstance(exc, UnknownCollection) else UnknownCollection(f"unknown collection {name!r}")
