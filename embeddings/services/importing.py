"""Puts a file of documents into a collection: in batches, each committed by itself, in little memory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from embeddings.models import Collection
from embeddings.services import collections, documents
from embeddings.services.items import MAX_ITEMS
from embeddings.services.reading import Line
from jobs.operators.actors import Actor

#: Characters that a batch holds at most, beside one document.
BATCH_CHARACTERS = 4_000_000
#: A sync that would remove more than this part of what was there is refused unless it is forced.
MOST_REMOVED = 0.5

_SEEN = """
    CREATE TEMP TABLE IF NOT EXISTS embeddings_seen (external_id varchar(255) COLLATE "C");
    TRUNCATE embeddings_seen;
"""
_BEFORE = """
    FROM embeddings_document AS d
    WHERE d.collection_id = %(collection)s AND d.created_at < %(started)s
        AND (%(groups)s::int[] IS NULL OR d.group_ids = '{}' OR d.group_ids && %(groups)s::int[])
"""
_GONE = f"""{_BEFORE}
        AND NOT EXISTS (SELECT FROM embeddings_seen AS s WHERE s.external_id = d.external_id)
"""


class SyncRefused(Exception):
    """Documents that the file does not hold were not removed; the message says why. What it holds is stored."""


@dataclass
class Tally:
    """What has become of a file so far; all of it is committed. lines: the number of the last one."""

    lines: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    bad: int = 0
    deleted: int = 0

    @property
    def stored(self) -> int:
        return self.created + self.updated + self.unchanged


@dataclass
class Import:
    """One file into one collection.

    on_bad: told of each line that was not stored, its id if that is known, and why. on_batch: told after each commit.
    replace: afterwards remove documents that the file does not hold, of those that the actor may see; force: however
    many these are, and also if there were bad lines.
    """

    actor: Actor
    collection: Collection
    on_bad: Callable[[Line, str, str], None]
    on_batch: Callable[[Tally], None]
    replace: bool = False
    force: bool = False
    tally: Tally = field(default_factory=Tally)

    def run(self, lines: Iterable[Line]) -> Tally:
        """Raises PermissionDenied, FileUnreadable, SyncRefused. What was committed before stays."""
        self.actor.require("embeddings.add_document")
        self.actor.require("embeddings.change_document")
        if self.replace:
            self.actor.require("embeddings.delete_document")
        started = self._start()
        try:
            self._put_all(lines)
            if self.replace:
                self._remove_others(started)
        finally:
            self._record()
        return self.tally

    def _start(self) -> Any:
        with connection.cursor() as cursor:
            if self.replace:
                cursor.execute(_SEEN)
            cursor.execute("SELECT clock_timestamp()")
            return cursor.fetchone()[0]

    def _put_all(self, lines: Iterable[Line]) -> None:
        batch: list[Line] = []
        ids: set[str] = set()
        size = last = 0
        for line in lines:
            last = line.number
            external_id, length = _measure(line.item)
            # Of two lines with one id the later one counts, wherever they stand.
            if batch and (len(batch) >= MAX_ITEMS or size + length > BATCH_CHARACTERS or external_id in ids):
                self._put(batch)
                batch, ids, size = [], set(), 0
            if line.error:
                self._tell(line, external_id, line.error)
                continue
            batch.append(line)
            ids.add(external_id)
            size += length
        self._put(batch)
        self.tally.lines = last

    def _put(self, batch: list[Line]) -> None:
        if not batch:
            return
        tally = self.tally
        with transaction.atomic():
            result = documents.put(self.actor, self.collection, [line.item for line in batch], is_recorded=False)
            if self.replace:
                self._note_seen(batch)
        tally.created += result.created
        tally.updated += result.updated
        tally.unchanged += result.unchanged
        tally.lines = batch[-1].number
        for error in result.errors:
            self._tell(batch[error.index], error.id, error.error)
        self.on_batch(tally)

    def _note_seen(self, batch: list[Line]) -> None:
        ids = {_measure(line.item)[0] for line in batch}
        with connection.cursor() as cursor, cursor.copy("COPY embeddings_seen FROM STDIN") as copy:
            for external_id in ids:
                if external_id and "\x00" not in external_id and _is_storable(external_id):
                    copy.write_row([external_id])

    def _tell(self, line: Line, external_id: str, reason: str) -> None:
        self.tally.bad += 1
        self.on_bad(line, external_id, reason)

    def _remove_others(self, started: Any) -> None:
        groups = collections.groups_of(self.actor.user)
        named = {"collection": self.collection.pk, "started": started, "groups": groups}
        if self.tally.bad and not self.force:
            raise SyncRefused(
                f"nothing was removed, because {self.tally.bad:,} lines were bad: mend them, or force it (--force)"
            )
        with connection.cursor() as cursor:
            cursor.execute("CREATE INDEX IF NOT EXISTS embeddings_seen_id ON embeddings_seen (external_id)")
            cursor.execute("ANALYZE embeddings_seen")
            cursor.execute(
                f"SELECT (SELECT count(*) {_GONE}), (SELECT count(*) {_BEFORE})",
                named,
            )
            gone, before = cursor.fetchone()
        if gone > before * MOST_REMOVED and not self.force:
            raise SyncRefused(
                f"nothing was removed: the file does not hold {gone:,} of the {before:,} documents that "
                f"{self.collection.name} had; if that is meant, force it (--force)"
            )
        self._remove(named)

    def _remove(self, named: dict[str, Any]) -> None:
        after = ""
        while True:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT d.external_id {_GONE} AND d.external_id > %(after)s "
                    f"ORDER BY d.external_id LIMIT {MAX_ITEMS}",
                    {**named, "after": after},
                )
                ids = [external_id for (external_id,) in cursor.fetchall()]
                if not ids:
                    return
                self.tally.deleted += documents.remove(self.collection.pk, ids, named["groups"])
            after = ids[-1]
            self.on_batch(self.tally)

    def _record(self) -> None:
        tally = self.tally
        if tally.created or tally.updated or tally.deleted:
            self.actor.record(
                "documents.import",
                self.collection.name,
                created=tally.created,
                updated=tally.updated,
                deleted=tally.deleted,
            )


def _measure(item: Any) -> tuple[str, int]:
    """The id, empty if there is none, and the length of the text."""
    if not isinstance(item, dict):
        return "", 0
    external_id, text = item.get("id"), item.get("text")
    return (external_id if isinstance(external_id, str) else ""), (len(text) if isinstance(text, str) else 0)


def _is_storable(text: str) -> bool:
    return len(text) <= 255 and not any("\ud800" <= one <= "\udfff" for one in text)
