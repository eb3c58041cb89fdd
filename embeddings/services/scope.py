"""What a search may find: documents of a collection that the user may see and that the filter lets through."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import OperationalError, connection, transaction
from psycopg import errors

from embeddings.services.filters import Condition
from embeddings.vectors import Ids

#: So many chunks are told to an index by their ids at most.
MOST_ALLOWED = 50_000
#: And they are looked for so long: no index serves comparisons such as gte.
ALLOWED_SECONDS = 2.0


@dataclass(frozen=True)
class Scope:
    """groups: the numbers of the user's groups; None: who sees everything. condition: the filter's, on `d`."""

    collection_id: int
    groups: list[int] | None
    condition: Condition

    @property
    def is_filtered(self) -> bool:
        return self.condition[0] != "TRUE"

    @property
    def is_restricted(self) -> bool:
        return self.groups is not None or self.is_filtered

    def sql(self) -> Condition:
        """A condition on a chunk `c` and its document `d`, with its parameters."""
        text, parameters = self.condition
        sql = f"c.collection_id = %s AND d.collection_id = %s AND {text}"
        parameters = [self.collection_id, self.collection_id, *parameters]
        if self.groups is None:
            return sql, parameters
        return f"{sql} AND (d.group_ids = '{{}}' OR d.group_ids && %s::int[])", [*parameters, self.groups]

    def named_sql(self) -> tuple[str, dict[str, Any]]:
        """The same with names for its parameters."""
        sql, parameters = self.sql()
        names = [f"scope_{number}" for number in range(len(parameters))]
        return sql % tuple(f"%({name})s" for name in names), dict(zip(names, parameters, strict=True))

    def documents_of(self, chunk_ids: list[int]) -> dict[int, int]:
        """Of those chunks that are there and in scope: chunk → document."""
        if not chunk_ids:
            return {}
        sql, parameters = self.sql()
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT c.id, d.id
                FROM unnest(%s::bigint[]) AS wanted (id)
                JOIN embeddings_chunk AS c ON c.id = wanted.id
                JOIN embeddings_document AS d ON d.id = c.document_id
                WHERE {sql}
                """,  # noqa: S608  # see `sql`: of constants; what is asked for are parameters
                [chunk_ids, *parameters],
            )
            return dict(cursor.fetchall())

    def allowed_ids(self) -> Ids | None:
        """All chunks in scope, ascending; None if they are more than an index is told of, or take too long to find."""
        sql, parameters = self.sql()
        try:
            with within(ALLOWED_SECONDS) as cursor:
                cursor.execute(
                    f"""
                    SELECT c.id
                    FROM embeddings_document AS d JOIN embeddings_chunk AS c ON c.document_id = d.id
                    WHERE {sql} LIMIT %s
                    """,  # noqa: S608
                    [*parameters, MOST_ALLOWED + 1],
                )
                ids = np.array([row[0] for row in cursor.fetchall()], dtype=np.int64)
        except OperationalError as exc:
            if not isinstance(exc.__cause__, errors.QueryCanceled):
                raise
            return None
        return None if len(ids) > MOST_ALLOWED else np.sort(ids)

    def details(self, chunk_ids: list[int]) -> dict[int, dict[str, Any]]:
        """What is shown of chunks; those that have gone meanwhile are left out."""
        sql, parameters = self.sql()
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT c.id, d.id AS document_id, d.external_id, d.metadata, d.updated_at, c.position, c.start, c."end",
                       substr(d.text, c.start + 1, c."end" - c.start) AS text
                FROM embeddings_chunk AS c JOIN embeddings_document AS d ON d.id = c.document_id
                WHERE c.id = ANY (%s) AND {sql}
                """,  # noqa: S608
                [chunk_ids, *parameters],
            )
            names = [column.name for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        # Django has psycopg leave JSON as text.
        return {row["id"]: {**row, "metadata": json.loads(row["metadata"])} for row in rows}


@contextmanager
def within(seconds: float) -> Iterator[Any]:
    """A cursor whose statements Postgres gives up after so long; what was set before holds again afterwards."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        before = cursor.fetchone()[0]
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])
        yield cursor
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
