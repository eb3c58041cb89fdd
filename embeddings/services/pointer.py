"""Which version of its index a collection is searched with."""

import json
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from embeddings.engines import engine
from embeddings.errors import EngineUnavailable, IndexDamaged, VersionNotActivated
from embeddings.models import Activation, Collection, EmbeddingModel, IndexVersion, VersionState
from embeddings.services import store, versions
from jobs.operators.actors import Actor

#: Readers listen on this channel of Postgres'; the payload is {"collection": id}.
CHANNEL = "embeddings"
SYSTEM = "hot_swap_index"
MAX_REASON = 255


@dataclass(frozen=True)
class Place:
    """The column that points at a version of a model."""

    column: str
    model_id: int


def activate(actor: Actor | None, version: IndexVersion, reason: str = "") -> Activation | None:
    """Put a version in use, while the collection is searched: the next search of every process uses it.

    None if it is in use already. An older version is gone back to likewise, and stays until a newer one is built.
    Raises PermissionDenied (embeddings.activate_index), IndexVersion.DoesNotExist, VersionNotActivated, IndexDamaged,
    StoreUnavailable.
    """
    if actor is not None:
        actor.require("embeddings.activate_index")
        versions.check_seen(actor, version)
    _check_usable(version)
    with transaction.atomic():
        collection = Collection.objects.select_for_update(of=("self",), no_key=True).get(pk=version.collection_id)
        now = IndexVersion.objects.select_for_update(of=("self",), no_key=True).get(pk=version.pk)
        _check_ready(now)
        place = _place(collection, now)
        before = getattr(collection, f"{place.column}_id")
        if before == now.pk:
            return None
        setattr(collection, place.column, now)
        collection.save(update_fields=[place.column])
        activation = Activation.objects.create(
            collection=collection, version=now, actor=actor.name if actor else SYSTEM, reason=reason[:MAX_REASON]
        )
        if actor is not None:
            actor.record("index.activate", collection.name, version=now.number, instead_of=before, reason=reason)
        tell(collection)
    return activation


def tell(collection: Collection) -> None:
    """Have every reader look at a collection anew, once this transaction is committed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps({"collection": collection.pk})])


def swap_to_newest(name: str) -> dict[str, Any]:
    """Put a collection's newest ready versions in use: its model's, and its fast model's.

    One that was built before the last activation is passed over: somebody went back to an older one on purpose.
    Raises Collection.DoesNotExist, IndexDamaged, StoreUnavailable.
    """
    collection = Collection.objects.select_related("model", "fast_model").get(name=name)
    swapped, kept = [], []
    for model in (collection.model, collection.fast_model):
        if model is None:
            continue
        newest = versions.newest_ready(collection, model)
        if newest is None:
            continue
        if _is_news(collection, newest) and _swap(newest):
            swapped.append(newest.number)
        else:
            kept.append(_kept(collection, model))
    return {"collection": name, "swapped": swapped, "kept": kept}


def _swap(newest: IndexVersion) -> bool:
    """False if the collection has just been switched to another model, whose version is in use then."""
    try:
        return activate(None, newest, "newest") is not None
    except VersionNotActivated:
        now = Collection.objects.get(pk=newest.collection_id)
        if newest.model_id in (now.model_id, now.fast_model_id):
            raise
        return False


def _kept(collection: Collection, model: EmbeddingModel) -> int | None:
    active = versions.active_of(collection, model)
    return active.number if active is not None else None


def _is_news(collection: Collection, newest: IndexVersion) -> bool:
    """Whether nobody has chosen a version of its model since it was built, or there is none to go on with."""
    active = versions.active_of(Collection.objects.get(pk=collection.pk), newest.model)
    if active is None:
        return True
    chosen_since = Activation.objects.filter(
        collection=collection, version__model=newest.model_id, at__gte=newest.built_at
    ).exists()
    return active.pk != newest.pk and not chosen_since


def _check_usable(version: IndexVersion) -> None:
    """That its files are here, or can be fetched, and open; before the transaction, because it may take long."""
    _check_ready(version)
    folder = store.fetch(version)
    try:
        engine(version.engine).open(version, folder).close()
    except EngineUnavailable as exc:
        raise VersionNotActivated(f"{version.label} cannot be opened: {exc}") from None


def _check_ready(version: IndexVersion) -> None:
    if version.state != VersionState.READY:
        why = f": {version.reason}" if version.reason else ""
        raise VersionNotActivated(f"{version.label} is {version.state}{why}; only a ready version can be activated")


def _place(collection: Collection, version: IndexVersion) -> Place:
    for model_column, column in (("model_id", "active_version"), ("fast_model_id", "fast_version")):
        if getattr(collection, model_column) == version.model_id:
            return Place(column, version.model_id)
    raise VersionNotActivated(
        f"{version.label} is of model {version.model}, and collection {collection.name!r} is searched with "
        f"{collection.model or 'none yet'}; switch the collection's model first"
    )


__all__ = ["CHANNEL", "IndexDamaged", "VersionNotActivated", "activate", "swap_to_newest", "tell"]
