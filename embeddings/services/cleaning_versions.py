"""Index versions that are no longer kept, with their files and tables, and what builds left behind."""

import logging
from datetime import timedelta

from django.db import OperationalError, transaction
from django.db.models import Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from psycopg.errors import LockNotAvailable

from embeddings.engines import engine
from embeddings.models import Activation, Collection, Engine, IndexVersion, VersionState
from embeddings.services import builds, folders, store
from embeddings.services.cleaning_rows import Step
from jobs import job
from jobs.models import Job, State

logger = logging.getLogger(__name__)

#: A reader that is in the middle of a search when another version comes into use is done with the old one by then.
SETTLED_MINUTES = 10
FAILED_DAYS = 1
#: Rows of versions that went long ago, for what happened when.
ROW_DAYS = 90


def dead_builds(dry_run: bool) -> int:
    """Versions that are being built by nobody any more: they failed."""
    if not dry_run:
        return sum(builds.clear_up(collection) for collection in Collection.objects.order_by("pk"))
    building = IndexVersion.objects.filter(state=VersionState.BUILDING)
    running = set(
        Job.objects.filter(pk__in=building.values("job_id"), state=State.RUNNING).values_list("pk", flat=True)
    )
    return sum(version.job_id not in running for version in building)


def old_versions(dry_run: bool) -> int:
    """Ready versions beyond those that are kept: first the row, so that nobody activates it, then files and tables."""
    removed = 0
    for collection in Collection.objects.order_by("pk"):
        for version in _beyond(collection):
            job.check_cancelled()
            if dry_run or _give_up(collection, version):
                removed += 1
    if not dry_run:
        _remove_all(IndexVersion.objects.filter(state=VersionState.REMOVED, removed_at=None))
    return removed


def failed_versions(dry_run: bool) -> int:
    """What refused and failed builds left, after a day; their rows stay a while, with the reason."""
    old = IndexVersion.objects.filter(
        state__in=(VersionState.REFUSED, VersionState.FAILED), removed_at=None, created_at__lt=_days_ago(FAILED_DAYS)
    )
    return old.count() if dry_run else _remove_all(old)


def version_rows(dry_run: bool) -> int:
    """Rows of versions that went long ago."""
    gone = IndexVersion.objects.filter(removed_at__lt=_days_ago(ROW_DAYS)).exclude(state=VersionState.READY)
    many = gone.count()
    if many and not dry_run:
        gone.delete()
    return many


def leftovers(dry_run: bool) -> int:
    """This host's temporary folders of processes that ended, and copies of versions that are gone."""
    # The folders first: a version's row is there before its folder.
    there = store.local_folders()
    needed = _folders_needed()
    stray = [folder for name, folder in there.items() if name not in needed]
    if not dry_run:
        return sum(folders.remove(folder) for folder in stray) + len(store.remove_leftovers())
    # Those of builds that died go with them.
    of_builds = {f"{folders.BUILDING}{name}" for name in needed}
    return sum(not folders.in_use(folder) for folder in stray) + len(set(store.leftovers()) - of_builds)


def tables(dry_run: bool) -> int:
    """Tables of pgvector's without a version."""
    from embeddings.engines import pgvector_store

    # The tables first: a build's row is there before its table.
    there = pgvector_store.tables()
    kept = IndexVersion.objects.filter(pk__in=there).filter(
        Q(state__in=(VersionState.BUILDING, VersionState.READY)) | Q(removed_at=None)
    )
    stray = sorted(set(there) - set(kept.values_list("pk", flat=True)))
    if dry_run:
        return len(stray)
    return sum(_drop(version_id) for version_id in stray)


def _drop(version_id: int) -> bool:
    from embeddings.engines import pgvector_store

    try:
        pgvector_store.drop(version_id)
    except OperationalError as exc:
        if not isinstance(exc.__cause__, LockNotAvailable):
            raise
        logger.warning("Table of version %s is being read, and stays for now", version_id)
        return False
    return True


def _beyond(collection: Collection) -> list[IndexVersion]:
    """Ready versions that a collection does not keep, oldest first; none shortly after another came into use."""
    ready = list(
        IndexVersion.objects.filter(collection=collection, state=VersionState.READY)
        .select_related("collection", "model")
        .order_by("-number")
    )
    most = {
        collection.candidate_id: 1,
        collection.previous_id: 1,
        collection.model_id: collection.keep_versions,
        collection.fast_model_id: collection.keep_versions,
    }
    kept = {collection.active_version_id, collection.fast_version_id}
    for model_id, many in most.items():
        # What is in use counts among those that are kept, also when somebody went back to an old one.
        of_model = [version.pk for version in ready if version.model_id == model_id]
        in_use = [pk for pk in of_model if pk in kept]
        kept.update((in_use + [pk for pk in of_model if pk not in in_use])[: max(many, len(in_use))])
    beyond = [version for version in reversed(ready) if version.pk not in kept]
    return [] if beyond and _has_just_changed(collection) else beyond


def _has_just_changed(collection: Collection) -> bool:
    settled = Now() - timedelta(minutes=SETTLED_MINUTES)
    return Activation.objects.filter(collection=collection, at__gt=settled).exists()


def _give_up(collection: Collection, version: IndexVersion) -> bool:
    """ready → removed, unless it came into use meanwhile or a process of this host reads it."""
    if store.folder_name(version) and store.in_use(store.local_folder(version)):
        return False
    with transaction.atomic():
        now = Collection.objects.select_for_update(of=("self",), no_key=True).get(pk=collection.pk)
        if version.pk in (now.active_version_id, now.fast_version_id) or version.pk not in {
            one.pk for one in _beyond(now)
        }:
            return False
        ready = IndexVersion.objects.filter(pk=version.pk, state=VersionState.READY)
        return ready.update(state=VersionState.REMOVED) == 1


def _remove_all(versions: QuerySet[IndexVersion]) -> int:
    """Remove tables and files; what somebody reads stays until the next time."""
    removed = 0
    for version in versions.select_related("collection", "model"):
        job.check_cancelled()
        if _remove(version):
            IndexVersion.objects.filter(pk=version.pk).update(removed_at=Now())
            removed += 1
    return removed


def _remove(version: IndexVersion) -> bool:
    """False if somebody reads it, or its storage is away."""
    try:
        if version.engine == Engine.PGVECTOR:
            return _drop(version.pk)
        engine(version.engine).remove(version)
        return store.remove(version)
    except OSError as exc:
        logger.warning(
            "Version %s of collection %s stays for now: %s",
            version.number,
            version.collection,
            exc,
            extra={"action": "index_left", "version_id": version.pk},
        )
        return False


def _folders_needed() -> set[str]:
    live = IndexVersion.objects.filter(Q(state__in=(VersionState.BUILDING, VersionState.READY)) | Q(removed_at=None))
    return {store.folder_name(version) for version in live.only("manifest")}


def _days_ago(many: int) -> CombinedExpression:
    """By Postgres' clock."""
    return Now() - timedelta(days=many)


STEPS: list[tuple[str, Step]] = [
    ("dead_builds", dead_builds),
    ("index_versions", old_versions),
    ("failed_versions", failed_versions),
    ("version_rows", version_rows),
    ("folders", leftovers),
    ("tables", tables),
]
