"""What can be wrong with encoders, indexes and where they are kept, each with its remedy; for `manage.py doctor`."""

import tempfile
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage, storages
from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery

from embeddings.encoders.base import EncoderUnavailable
from embeddings.encoders.registry import UnknownEncoder, default_spec
from embeddings.engines import engine
from embeddings.errors import EngineUnavailable, IndexDamaged
from embeddings.models import Collection, Engine, IndexVersion, VersionState
from embeddings.services import store, versions
from jobs.operators.health import Finding

MOST_NAMED = 5
MAX_REASON = 200


def examine() -> list[Finding]:
    """Look at all of it; no encoder is loaded, and files of indexes are read only if they were touched."""
    return [_encoder(), *_folders(), _storage(), *_builds(), *_pgvector()]


def _encoder() -> Finding:
    from embeddings.encoders import weights

    try:
        spec = default_spec()
        if spec == "ngram" and settings.EMBEDDINGS["ENCODER"] == "auto":
            detail = "no weights are installed, so ngram serves: it finds words and their parts, not meaning"
            return Finding("encoder", "warning", detail, weights.INSTALL)
        if spec.startswith("minilm"):
            weights.find()
    except UnknownEncoder as exc:
        return Finding("encoder", "wrong", str(exc), "set EMBEDDING_ENCODER")
    except EncoderUnavailable as exc:
        return Finding("encoder", "wrong", str(exc), "or set EMBEDDING_ENCODER=ngram, which needs no weights")
    return Finding("encoder", "ok", f"{spec} embeds where a collection names none")


def _folders() -> list[Finding]:
    """Whether builds can write, by a file that is written and is gone again."""
    found = []
    for setting in ("INDEXES_DIR", "ENCODERS_DIR"):
        folder = Path(settings.EMBEDDINGS[setting])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"0")
        except OSError as exc:
            detail = f"{folder} cannot be written: {exc.strerror or exc}"
            remedy = "give this user the folder, make room on its disk, or set "
            remedy += "DATA_DIR" if setting == "INDEXES_DIR" else setting
            found.append(Finding("indexes", "wrong", detail, remedy))
    return found or [Finding("indexes", "ok", "this host's folders can be written")]


def _storage() -> Finding:
    remedy = "see INDEX_STORAGE, its credentials and its network; until then other hosts get no new index"
    try:
        shared = storages["indexes"]
        if isinstance(shared, FileSystemStorage):
            return Finding("index storage", "ok", f"the folder {shared.location}")
        shared.exists("doctor")
    except Exception as exc:
        # Each kind of storage has errors of its own.
        reason = str(exc).strip().splitlines() or [""]
        return Finding("index storage", "wrong", f"{type(exc).__name__}: {reason[0][:MAX_REASON]}", remedy)
    return Finding("index storage", "ok", "reachable")


def _builds() -> list[Finding]:
    """Collections whose newest build did not come into use, and those whose index is gone from this host."""
    newest = IndexVersion.objects.filter(collection=OuterRef("collection"), model=OuterRef("model")).order_by("-number")
    in_use = Q()
    for column in ("model", "fast_model", "candidate"):
        in_use |= Q(model=F(f"collection__{column}"))
    bad = IndexVersion.objects.filter(
        in_use, pk=Subquery(newest.values("pk")[:1]), state__in=(VersionState.REFUSED, VersionState.FAILED)
    )
    found = [
        Finding(
            "indexes",
            "wrong",
            f"collection {version.collection.name}: {version.label} was {version.state}: {version.reason[:MAX_REASON]}",
            "the index before it serves, with what is new beside it; see manage.py indexes, then rebuild it",
        )
        for version in bad.select_related("collection").order_by("collection__name")[:MOST_NAMED]
    ]
    return [*found, *_damaged()] or [Finding("indexes", "ok", "no collection's newest build was refused")]


def _damaged() -> list[Finding]:
    """Versions in use that cannot be opened, in either tier; what is not here yet is fetched when it is searched."""
    remedy = "the next hourly rebuild replaces it; rebuild the index to have it now, or activate another version"
    found = []
    pointers = Collection.objects.values_list("active_version", "fast_version")
    in_use = {pk for pair in pointers for pk in pair if pk is not None}
    for version in versions.versions().filter(pk__in=in_use).order_by("collection__name", "number"):
        wrong = _why_not(version)
        if wrong:
            detail = (
                f"collection {version.collection.name}: {version.label}, which is in use, cannot be opened: {wrong}"
            )
            found.append(Finding("indexes", "wrong", detail, remedy))
    return found[:MOST_NAMED]


def _why_not(version: IndexVersion) -> str:
    if version.engine != Engine.PGVECTOR:
        return store.damage(version, by_content=True)
    try:
        engine(version.engine).open(version, None).close()
    except (EngineUnavailable, IndexDamaged) as exc:
        return str(exc)
    return ""


def _pgvector() -> list[Finding]:
    names = list(Collection.objects.filter(engine=Engine.PGVECTOR).values_list("name", flat=True)[:MOST_NAMED])
    if not names:
        return []
    from embeddings.engines.pgvector_store import require_extension

    try:
        # It makes the extension where it can; looking shall change nothing.
        with transaction.atomic():
            require_extension()
            transaction.set_rollback(True)
    except EngineUnavailable as exc:
        remedy = "until then their searches answer by words alone"
        return [Finding("pgvector", "wrong", f"wanted by {', '.join(names)}: {exc}", remedy)]
    return [Finding("pgvector", "ok", "installed, or can be")]
