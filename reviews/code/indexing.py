"""Brings an index to a commit: fetches, compares, reads what is new, and keeps it in batches."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from embeddings.corpus import Corpus
from jobs import job
from reviews.code import languages, storing
from reviews.code.mirror import Mirror, MirrorDamaged
from reviews.code.mirror_reading import contents, entries
from reviews.code.parsing import NotParsed, Parser, parser
from reviews.code.planning import Plan, Work, plan
from reviews.code.storing import Read
from reviews.models import CodeFile, CodeIndex, Repository
from reviews.paths import PathPatterns

#: Raised when what is read of a file, or how, changes: all files are read again then.
INDEXER = 1
BATCH_FILES = 200
BATCH_CHUNKS = 1_000
BATCH_REFERENCES = 10_000
FETCHED, STORED = 0.1, 0.98
#: The default branch may not be where a push has said at once.
LAG_SECONDS = 2.0


@dataclass
class Done:
    """What a round did. read, unchanged, gone: files. skipped: reason → files. seconds: of all of it."""

    sha: str = ""
    read: int = 0
    unchanged: int = 0
    gone: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    mirror_bytes: int = 0
    seconds: float = 0.0


def bring_up_to_date(repository: Repository, index: CodeIndex, wanted: str) -> Done:
    """Index the newest commit of the default branch. wanted: one that should be in it. Raises GitError, GitHubError."""
    mirror = Mirror(repository)
    try:
        return _round(mirror, index, wanted)
    except MirrorDamaged:
        mirror.remove()
        return _round(mirror, index, wanted)


def _round(mirror: Mirror, index: CodeIndex, wanted: str) -> Done:
    began = time.monotonic()
    job.progress(0.0, "fetching")
    sha = _fetch(mirror, wanted)
    found = storing.corpus()
    excluded = PathPatterns(tuple(mirror.repository.excluded_paths))
    if index.indexer != INDEXER or not storing.has_documents(index):
        storing.forget_blobs(index, INDEXER)
    made = plan(index, entries(mirror, sha) if sha else (), excluded)
    job.progress(FETCHED, f"{len(made.work):,} files to read, {made.unchanged:,} unchanged")
    _read_all(mirror, index, found, made)
    storing.remove_files(found, made.gone)
    skipped = made.skipped + Counter(
        CodeFile.objects.filter(index=index).exclude(skipped="").values_list("skipped", flat=True)
    )
    job.progress(STORED, "counting")
    return Done(
        sha=sha,
        read=len(made.work),
        unchanged=made.unchanged,
        gone=len(made.gone),
        skipped=dict(skipped.most_common()),
        mirror_bytes=mirror.size_bytes(),
        seconds=time.monotonic() - began,
    )


def _fetch(mirror: Mirror, wanted: str) -> str:
    sha = mirror.update(job.check_cancelled)
    if wanted and not mirror.has(wanted):
        time.sleep(LAG_SECONDS)
        sha = mirror.update(job.check_cancelled)
    return sha


def _read_all(mirror: Mirror, index: CodeIndex, found: Corpus, made: Plan) -> None:
    done = 0
    with parser() as reading:
        for batch in _batches(mirror, reading, made.work):
            storing.store(index, mirror.repository, found, batch)
            done += len(batch)
            fraction = FETCHED + (STORED - FETCHED) * done / len(made.work)
            job.progress(fraction, f"{done:,} of {len(made.work):,} files")


def _batches(mirror: Mirror, reading: Parser, work: list[Work]) -> Iterator[list[Read]]:
    """What is read, in portions that a transaction takes well."""
    batch: list[Read] = []
    chunks = references = 0
    texts = contents(mirror, (one.entry.blob for one in work))
    for one, (_, text) in zip(work, texts, strict=True):
        read = _read(reading, one, text)
        batch.append(read)
        chunks += len(read.parsed.chunks) if read.parsed else 0
        references += len(read.parsed.references) if read.parsed else 0
        if len(batch) >= BATCH_FILES or chunks >= BATCH_CHUNKS or references >= BATCH_REFERENCES:
            yield batch
            batch, chunks, references = [], 0, 0
    if batch:
        yield batch


def _read(reading: Parser, work: Work, text: bytes) -> Read:
    if reason := languages.why_not_content(text):
        return Read(work, None, reason)
    try:
        return Read(work, reading.parse(work.entry.path, text))
    except NotParsed as exc:
        return Read(work, None, str(exc))
