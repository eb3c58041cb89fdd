"""Rows made old enough to be cleaned up."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from embeddings.models import (
    Activation,
    Collection,
    IndexVersion,
)
from embeddings.services import builds, pointer
from embeddings.tests.factories import fill, settle

#: Builds read by connections of their own, and so only what is committed.
committed = pytest.mark.django_db(transaction=True)


def age(rows, column: str = "created_at", days: float = 2) -> None:
    rows.update(**{column: Now() - timedelta(days=days)})


def release(collection: Collection, n: int = 1) -> Any:
    """Another version with some more chunks, put in use long ago."""
    for _ in range(n):
        fill(collection, 20, seed=IndexVersion.objects.count() + 1)
        settle()
        builds.build(collection.name)
        pointer.swap_to_newest(collection.name)
    age(Activation.objects, "at", days=1)
    collection.refresh_from_db()
    return collection.active_version
