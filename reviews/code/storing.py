"""Keeps what was read of a repository: rows of files, symbols and references, and chunks as documents."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection, transaction

from embeddings.corpus import Corpus
from reviews.code import languages
from reviews.code.parsing import ParsedFile
from reviews.code.planning import Work
from reviews.models import CodeFile, CodeIndex, Reference, Repository, Symbol

COLLECTION = "repository-code"
#: Who may search it beside superusers: code of private repositories is in it.
READERS = "Readers of repositories' code"
MOST_DOCUMENTS = 1_000
ROWS_AT_ONCE = 2_000


class ChunksRefused(Exception):
    """A chunk is none that can be a document; the message says why."""


@dataclass(frozen=True)
class Read:
    """A file that was read: what was found in it, or why nothing is taken of it."""

    work: Work
    parsed: ParsedFile | None
    skipped: str = ""


def corpus() -> Corpus:
    """The collection of code, closed to all but those that an operator puts into its group."""
    Group.objects.get_or_create(name=READERS)
    return Corpus.ensure(
        COLLECTION,
        description="Code of the repositories that are reviewed, a definition each.",
        language="simple",
        groups=[READERS],
    )


def has_documents(index: CodeIndex) -> bool:
    """Whether the index' chunks are in the collection. Somebody may have deleted it, or emptied it."""
    from embeddings.models import Document

    some = CodeFile.objects.filter(index=index).exclude(blob="").exclude(chunk_ids=[]).order_by("pk").first()
    if some is None:
        return True
    return Document.objects.filter(collection__name=COLLECTION, external_id__in=some.chunk_ids).exists()


def forget_blobs(index: CodeIndex, indexer: int) -> None:
    """Have every file read again, by this version of the indexer; a run that is cut off goes on where it was."""
    with transaction.atomic():
        CodeFile.objects.filter(index=index).update(blob="")
        CodeIndex.objects.filter(pk=index.pk).update(indexer=indexer)
    index.indexer = indexer


def store(index: CodeIndex, repository: Repository, found: Corpus, batch: Sequence[Read]) -> None:
    """Keep what was read of some files, all of it or nothing."""
    with transaction.atomic():
        rows = _rows(index, [read.work for read in batch])
        stale = [row.pk for row, read in zip(rows, batch, strict=True) if read.work.known and not read.work.is_moved]
        _forget(stale)
        documents: list[dict[str, Any]] = []
        leaving: list[str] = []
        for row, read in zip(rows, batch, strict=True):
            new = list(_documents(repository, row, read))
            ids = [one["id"] for one in new]
            leaving += sorted(set(row.chunk_ids) - set(ids))
            _fill(row, read, ids)
            documents += new
        _update(rows)
        _add_names(zip(rows, batch, strict=True))
        _delete(found, leaving)
        # Last, since whoever else sends documents waits from here on until this is committed.
        _put(found, documents)


def remove_files(found: Corpus, pks: Sequence[int]) -> None:
    """Forget files that are gone, with their chunks."""
    for start in range(0, len(pks), ROWS_AT_ONCE):
        part = list(pks[start : start + ROWS_AT_ONCE])
        with transaction.atomic():
            ids = [one for chunk_ids in CodeFile.objects.filter(pk__in=part).values_list("chunk_ids", flat=True)
                   for one in chunk_ids]  # fmt: skip
            _forget(part)
            CodeFile.objects.filter(pk__in=part).delete()
            _delete(found, ids)


def remove_documents(repository_id: int) -> int:
    """Delete all chunks of a repository, whether it is still known or not; how many."""
    from embeddings.models import Document

    deleted = 0
    while True:
        # The index on external_id serves a search by prefix.
        ids = list(
            Document.objects.filter(collection__name=COLLECTION, external_id__startswith=f"{repository_id}/")
            .order_by("external_id")
            .values_list("external_id", flat=True)[:MOST_DOCUMENTS]
        )
        if not ids:
            return deleted
        deleted += Corpus(COLLECTION).delete(ids)


def _rows(index: CodeIndex, works: Sequence[Work]) -> list[CodeFile]:
    """The row of each file, made where there is none."""
    known = CodeFile.objects.in_bulk([work.known for work in works if work.known])
    new = [CodeFile(index=index, path=work.entry.path) for work in works if work.known not in known]
    made = iter(CodeFile.objects.bulk_create(new, batch_size=ROWS_AT_ONCE))
    return [known[work.known] if work.known in known else next(made) for work in works]


def _fill(row: CodeFile, read: Read, ids: list[str]) -> None:
    row.path, row.blob = read.work.entry.path, read.work.entry.blob
    row.language = languages.language_of(row.path)
    row.lines = read.parsed.lines if read.parsed else 0
    row.skipped, row.chunk_ids = read.skipped, ids


def _documents(repository: Repository, row: CodeFile, read: Read) -> Iterator[dict[str, Any]]:
    """Ids are by the file's row and what tells a chunk from its neighbours: neither lines nor the path count."""
    for chunk in read.parsed.chunks if read.parsed else ():
        yield {
            "id": f"{repository.pk}/{row.pk}/{chunk.suffix}",
            "text": chunk.text,
            "metadata": {
                "repository": repository.full_name,
                "repository_id": repository.pk,
                "path": read.work.entry.path,
                "language": languages.language_of(read.work.entry.path),
                "symbol": chunk.symbol,
                "line": chunk.line,
                "end_line": chunk.end_line,
            },
        }


def _update(rows: Sequence[CodeFile]) -> None:
    """In one round trip; Django's bulk_update takes five times as long."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE reviews_codefile SET path = %s, blob = %s, language = %s, lines = %s, skipped = %s, chunk_ids = %s"
            " WHERE id = %s",
            [(row.path, row.blob, row.language, row.lines, row.skipped, row.chunk_ids, row.pk) for row in rows],
        )


def _add_names(pairs: Iterable[tuple[CodeFile, Read]]) -> None:
    fresh = [(row.pk, read.parsed) for row, read in pairs if read.parsed is not None and not read.work.is_moved]
    symbols = (
        (pk, one.name, one.qualified_name, one.kind, one.line, one.end_line, one.signature)
        for pk, parsed in fresh
        for one in parsed.symbols
    )
    references = (
        (pk, one.name, one.kind, one.receiver, one.line, one.enclosing)
        for pk, parsed in fresh
        for one in parsed.references
    )
    _copy("reviews_symbol (file_id, name, qualified_name, kind, line, end_line, signature)", symbols)
    _copy("reviews_reference (file_id, name, kind, receiver, line, enclosing)", references)


def _copy(table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """A file has hundreds of names: COPY takes a tenth of the time of INSERT."""
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _forget(pks: Sequence[int]) -> None:
    Symbol.objects.filter(file__in=pks).delete()
    Reference.objects.filter(file__in=pks).delete()


def _delete(found: Corpus, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), MOST_DOCUMENTS):
        found.delete(ids[start : start + MOST_DOCUMENTS])


def _put(found: Corpus, documents: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(documents), MOST_DOCUMENTS):
        result = found.put(documents[start : start + MOST_DOCUMENTS])
        if result.errors:
            raise ChunksRefused(f"{len(result.errors)} chunks were refused, the first because {result.errors[0].error}")
