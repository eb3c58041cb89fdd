"""Collections: finding, making and changing them, and who sees them."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import Q, QuerySet

from embeddings.models import Collection
from embeddings.services.collection_settings import CUTTING, SETTINGS, CollectionRefused, apply_settings, group_ids
from embeddings.services.items import shown
from jobs.ledger.door import sent_by
from jobs.operators.actors import Actor

logger = logging.getLogger(__name__)

MOST_NAMED = 20


class UnknownCollection(LookupError):
    """No collection has that name, or whoever asks may not see it; the message names some that there are."""


class CollectionExists(ValueError):
    """Another collection has that name."""


class CollectionNotEmpty(Exception):
    """A collection that has documents is deleted with force alone."""


class HoldsHiddenDocuments(CollectionNotEmpty):
    """Whoever deletes a collection must see all of its documents."""

    def __init__(self, name: str) -> None:
        super().__init__(f"collection {name} holds documents that you may not see; have it deleted by somebody who may")


@dataclass(frozen=True)
class Changed:
    """fields: what differs now. recut_job: the job that cuts its documents anew, empty if none does."""

    collection: Collection
    fields: list[str]
    recut_job: str


def find(name: str, user: Any = None) -> Collection:
    """The collection of a name. user: who asks; None sees all. Raises UnknownCollection."""
    seen = visible_to(user)
    found = seen.filter(name=name).first() if isinstance(name, str) and "\x00" not in name else None
    if found is None:
        known = list(seen.order_by("name").values_list("name", flat=True)[: MOST_NAMED + 1])
        names = ", ".join(known[:MOST_NAMED]) + (", …" if len(known) > MOST_NAMED else "")
        raise UnknownCollection(f"unknown collection {shown(name)}; choose from: {names or 'none, so make one'}")
    return found


def visible_to(user: Any) -> QuerySet[Collection]:
    """Collections that are for everybody or for a group of the user's. None and superusers see all."""
    if user is None or user.is_superuser:
        return Collection.objects.all()
    allowed = Collection.groups.through.objects.filter(group__in=user.groups.all()).values("collection")
    restricted = Collection.groups.through.objects.values("collection")
    return Collection.objects.filter(~Q(pk__in=restricted) | Q(pk__in=allowed))


def groups_of(user: Any) -> list[int] | None:
    """The numbers of a user's groups; None for who sees everything."""
    if user is None or user.is_superuser:
        return None
    return list(user.groups.values_list("pk", flat=True))


def hold_settings(collection_id: int) -> Collection:
    """Keep a collection's settings from changing until the transaction ends; any number may hold them at once.

    Returns the collection as it is now. Raises UnknownCollection if it has gone.
    """
    _lock("pg_advisory_xact_lock_shared", collection_id)
    collection = Collection.objects.filter(pk=collection_id).first()
    if collection is None:
        raise UnknownCollection(f"collection {collection_id} has been deleted")
    return collection


def lock_settings(collection_id: int) -> None:
    """Wait for all who hold a collection's settings, and keep others from it, until the transaction ends."""
    _lock("pg_advisory_xact_lock", collection_id)


def _lock(function: str, collection_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(hashtextextended(%s, 0))", [f"embeddings collection {collection_id}"])


def ensure(name: str, **settings: Any) -> Collection:
    """The collection of a name, made with these settings if there is none yet. For code that brings its own.

    One that is there keeps its settings, since operators may have changed them; what differs is logged. Raises
    CollectionRefused for a setting that no collection can have.
    """
    found = Collection.objects.filter(name=name).first() if isinstance(name, str) and "\x00" not in name else None
    if found is None:
        try:
            return create(None, name, settings)
        except CollectionExists:
            found = Collection.objects.get(name=name)
    _tell_differences(found, settings)
    return found


def _tell_differences(collection: Collection, settings: Mapping[str, Any]) -> None:
    wanted = dict(settings)
    if wanted.pop("groups", None) is not None:
        group_ids(settings["groups"])
    there = {name: getattr(collection, name) for name in wanted if name in SETTINGS}
    copy = Collection.objects.get(pk=collection.pk)
    differing = [name for name in apply_settings(copy, wanted) if name != "description"]
    if differing:
        said = "; ".join(f"{name} is {shown(there[name])}, not {shown(wanted[name])}" for name in differing)
        logger.info("Collection %s is there with other settings: %s", collection.name, said)


def create(actor: Actor | None, name: str, settings: Mapping[str, Any] | None = None) -> Collection:
    """Make a collection. settings: see `SETTINGS`; groups as names or numbers.

    Raises PermissionDenied (embeddings.add_collection), CollectionRefused, CollectionExists.
    """
    if actor is not None:
        actor.require("embeddings.add_collection")
    collection = Collection(name=_checked_name(name))
    wanted = dict(settings or {})
    groups = group_ids(wanted.pop("groups")) if wanted.get("groups") is not None else []
    apply_settings(collection, {key: value for key, value in wanted.items() if key != "groups"})
    try:
        with transaction.atomic():
            collection.save(force_insert=True)
            collection.groups.set(groups)
            if actor is not None:
                actor.record("collection.create", name, fields=sorted(wanted))
    except IntegrityError:
        if not Collection.objects.filter(name=name).exists():
            raise
        raise CollectionExists(f"there is a collection {name!r} already; choose another name") from None
    # As Postgres made it: created_at.
    return Collection.objects.get(pk=collection.pk)


def change(actor: Actor | None, collection: Collection | str, changes: Mapping[str, Any]) -> Changed:
    """Change settings. If documents are to be cut anew, or by other words, a job is sent that does it.

    Raises PermissionDenied (embeddings.change_collection), UnknownCollection, CollectionRefused.
    """
    if actor is not None:
        actor.require("embeddings.change_collection")
    seen = find(collection if isinstance(collection, str) else collection.name, None if actor is None else actor.user)
    wanted = dict(changes)
    groups = group_ids(wanted.pop("groups")) if wanted.get("groups") is not None else None
    with transaction.atomic():
        lock_settings(seen.pk)
        row = Collection.objects.select_for_update(of=("self",), no_key=True).select_related("model").get(pk=seen.pk)
        changed = apply_settings(row, wanted)
        if "fast_encoder" in changed:
            # The next document brings the model of the new one.
            row.fast_model = row.fast_version = None
        if changed:
            row.save(update_fields=[*changed, "model", "fast_model", "fast_version"])
        if groups is not None and set(groups) != set(row.groups.values_list("pk", flat=True)):
            row.groups.set(groups)
            changed.append("groups")
        if actor is not None and changed:
            actor.record("collection.change", row.name, fields=sorted(changed))
        recut = bool(CUTTING & set(changed)) and row.documents.exists()
        return Changed(row, sorted(changed), _send(actor, "recut", row) if recut else "")


def delete(actor: Actor | None, collection: Collection | str, force: bool = False) -> str:
    """Delete an empty collection; with `force` one that has documents, by a job.

    Returns the job's id, empty if the collection is gone already. Raises PermissionDenied
    (embeddings.delete_collection, and embeddings.delete_document to force), UnknownCollection, CollectionRefused,
    CollectionNotEmpty, HoldsHiddenDocuments.
    """
    from embeddings import tasks
    from embeddings.services import document_lists

    if actor is not None:
        actor.require("embeddings.delete_collection")
    seen = find(collection if isinstance(collection, str) else collection.name, None if actor is None else actor.user)
    if seen.name == tasks.FIRST:
        raise CollectionRefused({"name": f"{seen.name} is used where no collection is named, and stays"})
    has_documents = seen.documents.exists()
    if has_documents and not force:
        raise CollectionNotEmpty(f"collection {seen.name} has documents; delete them first, or force it")
    if has_documents and actor is not None:
        actor.require("embeddings.delete_document")
    groups = None if actor is None else groups_of(actor.user)
    if document_lists.has_hidden(seen, groups):
        raise HoldsHiddenDocuments(seen.name)
    with transaction.atomic():
        if actor is not None:
            actor.record("collection.delete", seen.name, documents=has_documents)
        if has_documents:
            # Others may put documents until the job has ended.
            return _send(actor, "delete_collection", seen, **({} if groups is None else {"groups": groups}))
        from embeddings.services import emptying

        emptying.delete_row(seen)
    return ""


def _send(actor: Actor | None, task: str, collection: Collection, **more: Any) -> str:
    """Send a job about a collection; returns its id."""
    from embeddings import tasks

    with sent_by(actor.via, actor.name) if actor else contextlib.nullcontext():
        sent = getattr(tasks, task).delay(collection=collection.name, **more)
    return str(sent.id)


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise CollectionRefused({"name": f"is {shown(name)}; it takes a text"})
    try:
        Collection._meta.get_field("name").clean(name, None)
    except ValidationError as exc:
        raise CollectionRefused({"name": f"{shown(name)}: {' '.join(exc.messages)}"}) from None
    return name
