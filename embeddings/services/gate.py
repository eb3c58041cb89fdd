"""What a new index must show before it may be used."""

from embeddings.engines.base import Built, Held, Searcher, Source
from embeddings.models import IndexVersion
from embeddings.services.held_queries import mean, recalls, worst_twentieth

#: How much less than the active version's a recall may be.
MOST_LOST = 0.05
#: Of sums of floats.
ROUNDING = 1e-9


def least_recall(collection_target: float, active: IndexVersion | None) -> float:
    """What a build aims at: the collection's target, and not much less than what is in use."""
    measured = active.recall_mean if active is not None else None
    return max(collection_target, (measured or 0.0) - MOST_LOST)


def is_asked_more(version: IndexVersion) -> bool:
    """Whether its collection asks for a higher recall than it has, because that was raised since it was built."""
    collection = version.collection
    return (version.recall_mean or 0.0) < collection.recall_target - ROUNDING or (
        version.recall_p5 or 0.0
    ) < collection.recall_floor - ROUNDING


def reasons_against(
    version: IndexVersion,
    built: Built,
    searcher: Searcher,
    source: Source,
    held: Held,
    active: IndexVersion | None,
) -> list[str]:
    """Why a version is refused; empty if it is good. Recall is measured anew, on the files as they lie on disk.

    Sets the version's recall.
    """
    measured = recalls(searcher.search, source, held)
    version.recall_mean, version.recall_p5 = mean(measured), worst_twentieth(measured)
    return [
        *_of_recall(version, active),
        *_of_content(searcher, source),
        *_of_files(version, built),
    ]


def _of_recall(version: IndexVersion, active: IndexVersion | None) -> list[str]:
    assert version.recall_mean is not None, "just measured"
    assert version.recall_p5 is not None, "just measured"
    collection = version.collection
    against = []
    if version.recall_mean < collection.recall_target - ROUNDING:
        against.append(
            f"its recall@10 is {version.recall_mean:.3f}, and the collection asks for {collection.recall_target:g} "
            "(recall_target)"
        )
    if version.recall_p5 < collection.recall_floor - ROUNDING:
        against.append(
            f"the recall@10 of its worst twentieth of queries is {version.recall_p5:.3f}, and the collection asks for "
            f"{collection.recall_floor:g} (recall_floor)"
        )
    if active is not None and version.recall_mean < (active.recall_mean or 0.0) - MOST_LOST - ROUNDING:
        against.append(
            f"its recall@10 is {version.recall_mean:.3f}, more than {MOST_LOST:g} below the {active.recall_mean:.3f} "
            f"of version {active.number}, which is in use"
        )
    return against


def _of_content(searcher: Searcher, source: Source) -> list[str]:
    if searcher.count != len(source.ids):
        return [f"it holds {searcher.count:,} vectors of {len(source.ids):,}"]
    return [] if (searcher.ids() == source.ids).all() else ["the ids in it are not those that were asked for"]


def _of_files(version: IndexVersion, built: Built) -> list[str]:
    """What was read back from the disk, for the manifest, against what was meant to be written."""
    files = version.manifest.get("files", {})
    if files and built.digest not in {file["sha256"] for file in files.values()}:
        return ["the index file on disk is not what was written: the disk, or somebody, altered it"]
    return []
