"""What a collection points at, and opening it."""

from dataclasses import dataclass

from embeddings.models import Collection, EmbeddingModel, IndexVersion, VersionState
from embeddings.serving.delta import Delta
from embeddings.serving.snapshot import Opened, Tier

#: Older versions that are tried where the one that is pointed at cannot be opened and nothing serves yet.
MOST_TRIED = 3


@dataclass(frozen=True)
class Aim:
    """A model, and the index of it that is to be used; no index: all of its vectors lie beside."""

    model: EmbeddingModel
    version: IndexVersion | None

    @property
    def key(self) -> tuple[int, int | None]:
        return self.model.pk, self.version.pk if self.version is not None else None


@dataclass(frozen=True)
class Pointer:
    """What a collection is to be searched with. None: it has no model (of the fast tier) yet."""

    collection_id: int
    main: Aim | None
    fast: Aim | None


def pointers(collection_ids: list[int]) -> dict[int, Pointer]:
    """Of those collections that there are, as they are now, in one statement."""
    rows = Collection.objects.filter(pk__in=collection_ids).select_related(
        *("model", "fast_model", "active_version__model", "fast_version__model")
    )
    return {
        row.pk: Pointer(row.pk, _aim(row.active_version, row.model), _aim(row.fast_version, row.fast_model))
        for row in rows
    }


def _aim(version: IndexVersion | None, model: EmbeddingModel | None) -> Aim | None:
    """A version brings its own model: a query must be embedded by what the index was made of."""
    if version is not None:
        return Aim(version.model, version)
    return None if model is None else Aim(model, None)


class Serving:
    """A tier that is kept up: an open index, and the changes since it was built. Not for several threads at once."""

    def __init__(self, collection_id: int, aim: Aim) -> None:
        """Open the index, which may take long. Raises IndexDamaged, EngineUnavailable, OSError."""
        self.aim = aim
        self.opened = None if aim.version is None else _open(aim.version)
        held = None if self.opened is None else self.opened.ids
        watermark = 0 if aim.version is None else aim.version.watermark
        self.delta = Delta(collection_id, aim.model.pk, aim.model.dimension, held, watermark)
        self.delta.load()

    def tier(self) -> Tier:
        return Tier(
            model=self.aim.model,
            version=self.aim.version,
            opened=self.opened,
            beside=self.delta.beside(),
            tombstones=self.delta.tombstones,
            is_partial=self.delta.is_partial,
            damaged=len(self.delta.damaged),
        )


def _open(version: IndexVersion) -> Opened:
    from embeddings.engines import engine
    from embeddings.services import store

    return Opened(engine(version.engine).open(version, store.fetch(version)))


def instead_of(collection_id: int, aim: Aim) -> list[Aim]:
    """What may serve while a version cannot be opened: older ones of its model, at last its newest vectors alone."""
    older = IndexVersion.objects.filter(
        collection_id=collection_id, model=aim.model, state=VersionState.READY
    ).select_related("model")
    if aim.version is not None:
        older = older.exclude(pk=aim.version.pk)
    return [*(Aim(aim.model, one) for one in older.order_by("-number")[:MOST_TRIED]), Aim(aim.model, None)]
