"""Changing the model of a collection: a second one is embedded beside the first, compared, switched to, and back.

```
 (one model) ──begin──▶ candidate ──switch──▶ previous ──close──▶ (one model)
                          │   ▲                  │
                        close └─────go back──────┘
```

At any time a collection has a candidate, or a previous model, or neither. New documents are embedded by both, so either
side may be switched to without a gap. Each step holds the collection's row, so it is before or after any swap.
"""

from collections.abc import Sequence

from django.db import transaction

from embeddings.models import Collection, EmbeddingRun, IndexVersion
from embeddings.models.run import OPEN_RUNS
from embeddings.services.collections import find
from embeddings.services.migration_state import (
    CandidateNotReady,
    MigrationUnderWay,
    NoMigration,
    SameModel,
    current_encoder,
    newest_version,
    ready_to_switch,
    sides,
)
from jobs.ledger.door import sent_by
from jobs.operators.actors import Actor

PERMISSION = "embeddings.activate_index"


def begin(actor: Actor, name: str, spec: str, *, hand_over: bool = False) -> Collection:
    """Have a second model embed the collection: a run, then an index of it, then a comparison, all as jobs.

    hand_over: instead of being compared, it is switched to as soon as its index is ready. Raises PermissionDenied
    (embeddings.activate_index), UnknownCollection, UnknownEncoder, SameModel, MigrationUnderWay.
    """
    from embeddings.encoders.registry import check_spec, pinned

    actor.require(PERMISSION)
    check_spec(spec)
    with transaction.atomic():
        collection = _locked(actor, name)
        if collection.candidate_encoder or collection.previous_encoder:
            raise MigrationUnderWay(_what_is_open(collection))
        if spec == current_encoder(collection):
            if collection.model is None:
                raise SameModel(f"collection {name!r} is to be embedded by {spec} already; choose another encoder")
            # Other weights under the same name, perhaps: the job will tell.
            collection.encoder = pinned(spec, collection.model.digest)
        collection.candidate_encoder, collection.candidate = spec, None
        collection.save(update_fields=["encoder", "candidate_encoder", "candidate"])
        actor.record("migration.begin", collection.pk, name=collection.name, encoder=spec)
        send_jobs(actor, collection, hand_over=hand_over)
    return collection


def embed_again(actor: Actor, name: str) -> Collection:
    """Send the candidate's run, index and comparison once more, after they failed or were cancelled."""
    actor.require(PERMISSION)
    with transaction.atomic():
        collection = _locked(actor, name)
        if not collection.candidate_encoder:
            raise NoMigration(f"collection {name!r} has no candidate; begin a migration first")
        actor.record("migration.embed_again", collection.pk, name=collection.name)
        send_jobs(actor, collection)
    return collection


def switch(actor: Actor, name: str) -> IndexVersion:
    """Put the candidate's newest good index in use, and the model behind it; the old one is kept up as `previous`.

    Raises PermissionDenied, UnknownCollection, NoMigration, CandidateNotReady.
    """
    actor.require(PERMISSION)
    _fetch(find(name, actor.user))
    with transaction.atomic():
        collection = _locked(actor, name)
        if not collection.candidate_encoder:
            raise NoMigration(f"collection {name!r} has no candidate to switch to; begin a migration first")
        version = ready_to_switch(collection)
        collection.previous_encoder, collection.previous = "", None
        if collection.model is not None:
            collection.previous_encoder, collection.previous = current_encoder(collection), collection.model
        collection.encoder, collection.model = collection.candidate_encoder, collection.candidate
        collection.candidate_encoder, collection.candidate = "", None
        _put_in_use(actor, collection, version, "migration.switch", f"switched to {collection.encoder}")
    return version


def go_back(actor: Actor, name: str) -> IndexVersion:
    """The other way: the previous model and its index are in use again, and the one that was left is the candidate.

    Documents that it lacks are embedded next; it is not refused for them. Raises PermissionDenied, UnknownCollection,
    NoMigration, CandidateNotReady.
    """
    actor.require(PERMISSION)
    _fetch(find(name, actor.user))
    with transaction.atomic():
        collection = _locked(actor, name)
        if not collection.previous_encoder or collection.previous is None:
            raise NoMigration(f"collection {name!r} has no previous model to go back to")
        version = newest_version(collection, collection.previous)
        if version is None:
            raise CandidateNotReady(f"no good index of {collection.previous_encoder} is left; rebuild the index first")
        left, left_encoder = collection.model, current_encoder(collection)
        collection.encoder, collection.model = collection.previous_encoder, collection.previous
        collection.candidate_encoder, collection.candidate = left_encoder, left
        collection.previous_encoder, collection.previous = "", None
        _put_in_use(actor, collection, version, "migration.back", f"back to {collection.encoder}")
    return version


def close(actor: Actor, name: str) -> str:
    """Forget the candidate or the previous model; the clean-up removes its vectors and indexes. Returns its encoder.

    Raises PermissionDenied, UnknownCollection, NoMigration.
    """
    actor.require(PERMISSION)
    with transaction.atomic():
        collection = _locked(actor, name)
        forgotten = collection.candidate_encoder or collection.previous_encoder
        if not forgotten:
            raise NoMigration(f"collection {name!r} has no migration under way")
        forget(collection)
        actor.record("migration.close", collection.pk, name=collection.name, encoder=forgotten)
        _stop_run(collection, forgotten)
    return forgotten


def forget(collection: Collection) -> None:
    """Leave it with the one model that is in use, in the caller's transaction, which holds the row."""
    from embeddings.encoders.registry import unpinned

    if unpinned(collection.encoder) == collection.candidate_encoder:
        collection.encoder = collection.candidate_encoder
    collection.candidate_encoder = collection.previous_encoder = ""
    collection.candidate = collection.previous = None
    columns = ("encoder", "candidate_encoder", "candidate", "previous_encoder", "previous")
    collection.save(update_fields=columns)


def ask(actor: Actor, name: str, queries: Sequence[str] | None = None) -> str:
    """Have a worker put questions to both models; returns the job's id. None samples the collection's own texts.

    Raises PermissionDenied, UnknownCollection, NoMigration, CandidateNotReady.
    """
    from embeddings import tasks

    actor.require(PERMISSION)
    collection = find(name, actor.user)
    sides(collection)
    with transaction.atomic(), sent_by(actor.via, actor.name):
        sent = tasks.compare_models.delay(collection=collection.name, **({"queries": list(queries)} if queries else {}))
        actor.record("migration.compare", collection.pk, name=collection.name, job=sent.id)
    return str(sent.id)


def _locked(actor: Actor, name: str) -> Collection:
    """The collection, whose row nobody else changes until the transaction ends. Raises UnknownCollection."""
    rows = Collection.objects.select_for_update(of=("self",), no_key=True)
    return rows.select_related("model", "candidate", "previous").get(pk=find(name, actor.user).pk)


def _fetch(collection: Collection) -> None:
    """Have the other model's index on this host before anything is locked: that may take long."""
    from embeddings.services import store

    other = collection.candidate or collection.previous
    version = newest_version(collection, other) if other is not None else None
    if version is not None:
        store.fetch(version)


def _what_is_open(collection: Collection) -> str:
    if collection.candidate_encoder:
        return (
            f"collection {collection.name!r} is being migrated to {collection.candidate_encoder}; "
            "switch to it, or close the migration first"
        )
    return (
        f"collection {collection.name!r} may still go back to {collection.previous_encoder}; close that migration first"
    )


def _put_in_use(actor: Actor, collection: Collection, version: IndexVersion, action: str, reason: str) -> None:
    from embeddings.services import pointer

    columns = ("encoder", "model", "candidate_encoder", "candidate", "previous_encoder", "previous")
    collection.save(update_fields=columns)
    actor.record(action, collection.pk, name=collection.name, encoder=collection.encoder, version=version.number)
    pointer.activate(actor, version, reason)


def send_jobs(actor: Actor, collection: Collection, *, hand_over: bool = False) -> None:
    """Send those that embed by the candidate, build its index, and compare it or hand over to it."""
    from celery import chain

    from embeddings import tasks

    chosen = {"collection": collection.name, "encoder": collection.candidate_encoder}
    steps = (
        tasks.embed_candidate.si(**chosen),
        tasks.build_candidate.si(**chosen),
        tasks.hand_over.si(**chosen) if hand_over else tasks.compare_models.si(collection=collection.name),
    )
    with sent_by(actor.via, actor.name):
        chain(*steps).delay()


def _stop_run(collection: Collection, encoder: str) -> None:
    from embeddings.services import endings

    open_ones = EmbeddingRun.objects.filter(collection=collection, encoder=encoder, state__in=OPEN_RUNS)
    for run_id in open_ones.values_list("pk", flat=True):
        endings.cancel(run_id, "the migration was closed")
