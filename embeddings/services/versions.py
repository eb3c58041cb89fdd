"""Rows of index versions: what there is, what is new, and whether files are still whole."""

from typing import Any

from django.db import transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now

from embeddings.errors import VersionWithoutFiles
from embeddings.models import Activation, Collection, EmbeddingModel, IndexVersion, VersionState
from embeddings.services import collections, folders
from jobs.operators.actors import Actor

LARGEST_ID = 2**63 - 1
LARGEST_NUMBER = 2**31 - 1
MOST_ACTIVATIONS = 20


def versions(user: Any = None) -> QuerySet[IndexVersion]:
    """Of the collections that the user may see. user: None sees all."""
    rows = IndexVersion.objects.select_related("collection", "model")
    return rows if user is None else rows.filter(collection__in=collections.visible_to(user))


def find_version(version_id: int, user: Any = None) -> IndexVersion:
    """Raises IndexVersion.DoesNotExist for an unknown id, and for one of a collection that the user may not see."""
    found = versions(user).filter(pk=version_id).first() if 0 < version_id <= LARGEST_ID else None
    if found is None:
        raise IndexVersion.DoesNotExist(f"no index version {version_id}")
    return found


def check_seen(actor: Actor, version: IndexVersion) -> None:
    """Raises IndexVersion.DoesNotExist if whoever acts may not see the version's collection."""
    find_version(version.pk, actor.user)


def find_named(name: str) -> IndexVersion:
    """By id, or by COLLECTION/NUMBER. Raises IndexVersion.DoesNotExist for what is neither."""
    collection, slash, number = name.rpartition("/")
    if not (number.isascii() and number.isdigit() and int(number[:20]) <= LARGEST_ID):
        raise IndexVersion.DoesNotExist(
            f"no index version {name[:100]!r}; give its id, or its collection and number, such as documents/5"
        )
    if not slash:
        return find_version(int(number[:20]))
    found = versions().filter(collection__name=collection, number=min(int(number[:20]), LARGEST_NUMBER)).first()
    if found is None:
        raise IndexVersion.DoesNotExist(f"no index version {name[:100]!r}; see manage.py indexes list")
    return found


def is_active(version: IndexVersion) -> bool:
    """Whether its collection is searched with it, in either tier."""
    return version.pk in (version.collection.active_version_id, version.collection.fast_version_id)


def damage(version: IndexVersion) -> str:
    """What is wrong with the files of a version that is in use, by their sizes on this host; else empty."""
    from embeddings.services import store

    return store.damage(version) if is_active(version) else ""


def activations(version: IndexVersion) -> QuerySet[Activation]:
    """When it came into use, the latest first; the latest twenty."""
    return Activation.objects.filter(version=version).order_by("-at", "-id")[:MOST_ACTIVATIONS]


def newest_ready(collection: Collection, model: EmbeddingModel) -> IndexVersion | None:
    """Of the collection's engine."""
    return (
        versions()
        .filter(collection=collection, model=model, engine=collection.engine, state=VersionState.READY)
        .order_by("-number")
        .first()
    )


def active_of(collection: Collection, model: EmbeddingModel) -> IndexVersion | None:
    """What a collection is searched with by that model now."""
    ids = [pk for pk in (collection.active_version_id, collection.fast_version_id) if pk is not None]
    return versions().filter(pk__in=ids, model=model).first()


def begin(collection: Collection, model: EmbeddingModel, fields: dict[str, Any]) -> IndexVersion:
    """A new version that is being built, with the next number, and a name for its folder that was never used."""
    with transaction.atomic():
        # Whoever else numbers versions waits here.
        Collection.objects.select_for_update(of=("self",), no_key=True).get(pk=collection.pk)
        last = IndexVersion.objects.filter(collection=collection).aggregate(last=Max("number"))["last"]
        number = (last or 0) + 1
        return IndexVersion.objects.create(
            collection=collection,
            number=number,
            model=model,
            engine=collection.engine,
            manifest={"folder": folders.new_name(collection.name, number)},
            **fields,
        )


def end(version: IndexVersion, state: VersionState, reason: str = "") -> bool:
    """building → ready, refused or failed, with all that was set. False if it is no longer building."""
    version.state = state
    version.reason = reason
    written = {
        name: getattr(version, name)
        for name in (
            *("state", "reason", "kind", "parameters", "count", "bytes", "digest", "fingerprint", "watermark"),
            *("recall_mean", "recall_p5", "build_seconds", "manifest"),
        )
    }
    building = IndexVersion.objects.filter(pk=version.pk, state=VersionState.BUILDING)
    ended = building.update(**written, **({"built_at": Now()} if state == VersionState.READY else {})) == 1
    if ended:
        version.refresh_from_db(fields=["built_at"])
    return ended


def verify(actor: Actor, version: IndexVersion) -> dict[str, Any]:
    """Read a version's files whole and compare them with what was built; nothing is changed.

    Raises PermissionDenied (embeddings.view_indexversion), IndexVersion.DoesNotExist, IndexDamaged, EngineUnavailable,
    VersionWithoutFiles.
    """
    from embeddings.engines import engine
    from embeddings.services import manifest, store

    actor.require("embeddings.view_indexversion")
    check_seen(actor, version)
    if version.state != VersionState.READY:
        raise VersionWithoutFiles(f"{version.label} is {version.state}; only a ready one has files to check")
    folder = store.fetch(version)
    if folder is not None:
        manifest.verify(version, folder, anew=True)
    engine(version.engine).open(version, folder).close()
    files = version.manifest.get("files", {})
    return {"files": {name: file["bytes"] for name, file in files.items()}, "folder": str(folder or "")}
