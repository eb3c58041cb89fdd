"""Moving a collection along when its encoder has become another one under the same name.

An update may build MiniLM in another way. Queries then cannot be embedded as the index was, so the collection is
embedded anew beside what it has, by the steps of `migration`, and handed over as soon as the new index is ready.
"""

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from embeddings.encoders.base import EncoderUnavailable, Identity, ProviderBusy
from embeddings.encoders.registry import UnknownEncoder, load, unpinned
from embeddings.models import Collection, EmbeddingModel, IndexVersion
from embeddings.services import migration
from embeddings.services.migration_state import MigrationRefused
from jobs.models import AuditEntry, Job
from jobs.models.job import UNFINISHED
from jobs.operators.actors import Actor

logger = logging.getLogger(__name__)

SYSTEM = Actor(name="system", via="command")
#: Hosts with different programs would otherwise move a collection to and fro for ever.
MOST_A_DAY = 2
#: Another table comes every night and the old one stays; what is sent elsewhere may cost money.
BY_HAND = ("static", "openai:")
STEPS = ("embeddings.embed_candidate", "embeddings.build_candidate", "embeddings.hand_over")


def look_after(collection: Collection) -> bool:
    """Begin such a move if one is due, or see that one goes on. Returns whether one is under way.

    Nothing is done for an encoder that is pinned to a digest or cannot be loaded here, nor during another migration.
    """
    if collection.candidate_encoder:
        if not _is_ours(collection):
            return False
        _go_on(collection)
        return True
    found = _what_it_became(collection)
    if found is None or collection.previous_encoder or collection.model is None:
        return False
    if _begun_lately(collection) >= MOST_A_DAY:
        logger.warning(
            "Collection %s is embedded by %s, and %s is another encoder here; it was moved twice within a day, so see "
            "that all hosts run the same program, then: manage.py migrate_model %s begin %s",
            *(collection.name, collection.model, found.digest[:8], collection.name, collection.model.spec),
        )
        return False
    try:
        migration.begin(SYSTEM, collection.name, found.spec, hand_over=True)
    except MigrationRefused:
        # Somebody else has begun one meanwhile.
        return False
    return True


def hand_over(name: str) -> IndexVersion:
    """Put the renewed model and its index in use, and forget the old one, which nothing can embed queries for.

    Raises UnknownCollection, NoMigration, CandidateNotReady.
    """
    with transaction.atomic():
        version = migration.switch(SYSTEM, name)
        migration.close(SYSTEM, name)
    return version


def _what_it_became(collection: Collection) -> Identity | None:
    """The encoder of the collection's spec, if that is not the one that its model was made by."""
    model: EmbeddingModel | None = collection.model
    if model is None or model.spec.startswith(BY_HAND) or unpinned(collection.encoder) != collection.encoder:
        return None
    if collection.encoder not in ("", model.spec):
        return None
    try:
        found = load(model.spec).identity
    except ProviderBusy:
        raise
    except (EncoderUnavailable, UnknownEncoder):
        return None
    return found if found.digest != model.digest else None


def _is_ours(collection: Collection) -> bool:
    """Whether the migration under way was begun here, and no person has taken a step of it."""
    steps = AuditEntry.objects.filter(target=str(collection.pk), action__startswith="migration.").order_by("-at", "-pk")
    latest = steps.values_list("action", "actor").first()
    return latest == ("migration.begin", SYSTEM.name)


def _go_on(collection: Collection) -> None:
    """Send the jobs again, unless some are unfinished."""
    chosen = {"kwargs__collection": collection.name, "kwargs__encoder": collection.candidate_encoder}
    if not Job.objects.filter(task__in=STEPS, state__in=UNFINISHED, **chosen).exists():
        migration.send_jobs(SYSTEM, collection, hand_over=True)


def _begun_lately(collection: Collection) -> int:
    """How often within a day."""
    begun = AuditEntry.objects.filter(target=str(collection.pk), action="migration.begin", actor=SYSTEM.name)
    return begun.filter(at__gt=Now() - timedelta(days=1)).count()
