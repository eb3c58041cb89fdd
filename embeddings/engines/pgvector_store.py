"""Tables of pgvector's: one for each index version, filled by COPY, with an HNSW index where that pays."""

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from typing import Any

import numpy as np
from django.db import connection, transaction
from psycopg import errors, sql

from embeddings.engines.base import EngineUnavailable, Source
from jobs import job
from jobs.ledger.connection import claims

PREFIX = "embeddings_pgindex_"
#: halfvec came with 0.7, scans that go on until a filter has found enough with 0.8.
OLDEST = (0, 8)
SLICE = 8192
#: HNSW in pgvector takes so many dimensions of halfvec; a row of a table that many that are not moved out of it.
MOST_INDEXED = 4000
MOST_IN_ROW = 3900
HNSW = {"m": 16, "ef_construction": 64}
#: The graph is built in memory; what does not fit is built many times slower. Least and most, in MiB.
BUILD_MIB = (64, 2048)
PARALLEL = 3
CHECK_SECONDS = 5
POLL_SECONDS = 0.5


def table_of(version_id: int) -> str:
    return f"{PREFIX}{int(version_id)}"


def identifier(version_id: int) -> sql.Identifier:
    return sql.Identifier(table_of(version_id))


def require_extension() -> None:
    """Make the extension if the server has it. Raises EngineUnavailable with what to do, if that cannot be."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        row = cursor.fetchone()
        if row is None:
            _create_extension(cursor)
            cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            row = cursor.fetchone()
        version = tuple(int(part) for part in row[0].split(".")[:2])
        if version < OLDEST:
            raise EngineUnavailable(
                f"pgvector {row[0]} is too old, 0.8 is needed; have an administrator install a newer one and run "
                "ALTER EXTENSION vector UPDATE, or set the collection's engine to faiss"
            )


def _create_extension(cursor: Any) -> None:
    cursor.execute("SELECT current_user, current_database() FROM pg_available_extensions WHERE name = 'vector'")
    found = cursor.fetchone()
    if found is None:
        raise EngineUnavailable(
            "this Postgres server has no pgvector; install it there (Debian: postgresql-NN-pgvector), "
            "or set the collection's engine to faiss"
        )
    try:
        with transaction.atomic():
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except Exception as exc:
        if not isinstance(exc.__cause__, errors.InsufficientPrivilege):
            raise
        raise EngineUnavailable(
            f"the role {found[0]} may not create the extension; have an administrator run CREATE EXTENSION vector "
            f"in the database {found[1]}, or set the collection's engine to faiss"
        ) from None


def fill(version_id: int, source: Source) -> None:
    """Make the version's table and copy the vectors into it, in the caller's transaction.

    FREEZE marks the rows as seen by everybody, so that no vacuum rewrites what is never changed.
    """
    table = identifier(version_id)
    with connection.cursor() as cursor:
        # Of a version whose row has gone without it, by a restore for example.
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        cursor.execute(
            sql.SQL("CREATE TABLE {} (chunk_id bigint PRIMARY KEY, vector halfvec({}) NOT NULL)").format(
                table, sql.Literal(source.dimension)
            )
        )
        if source.dimension <= MOST_IN_ROW:
            cursor.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN vector SET STORAGE PLAIN").format(table))
        with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary, FREEZE)").format(table)) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\x00" + bytes(8))
            for first in range(0, len(source.ids), SLICE):
                ids = source.ids[first : first + SLICE]
                copy.write(_rows(ids, source.vectors[first : first + SLICE], source.dimension))
                job.check_cancelled()
            copy.write(b"\xff\xff")
        cursor.execute(sql.SQL("ANALYZE {}").format(table))


def _rows(ids: Any, vectors: Any, dimension: int) -> bytes:
    """Rows as COPY's binary format has them, all numbers big-endian; a halfvec is its dimension, a zero, the values."""
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("id_bytes", ">i4"),
            ("id", ">i8"),
            ("vector_bytes", ">i4"),
            ("dimension", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f2", (dimension,)),
        ]
    )
    rows = np.zeros(len(ids), dtype=row)
    rows["fields"], rows["id_bytes"], rows["id"] = 2, 8, ids
    rows["vector_bytes"], rows["dimension"], rows["vector"] = 4 + 2 * dimension, dimension, vectors
    return rows.tobytes()


def build_hnsw(version_id: int, count: int, dimension: int) -> None:
    """Make the HNSW index, in the caller's transaction, reporting progress and heeding a cancellation."""
    statement = sql.SQL(
        "CREATE INDEX ON {} USING hnsw (vector halfvec_ip_ops) WITH (m = {}, ef_construction = {})"
    ).format(identifier(version_id), sql.Literal(HNSW["m"]), sql.Literal(HNSW["ef_construction"]))
    needed = count * (2 * dimension + 400) // 2**20
    memory = min(max(needed, BUILD_MIB[0]), BUILD_MIB[1])
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL maintenance_work_mem = '{memory}MB'")
        cursor.execute(f"SET LOCAL max_parallel_maintenance_workers = {PARALLEL}")
        # The server notices when the process that waits for it has been killed.
        cursor.execute(f"SET LOCAL client_connection_check_interval = '{CHECK_SECONDS}s'")
    try:
        with transaction.atomic():
            _watched(statement)
    except errors.DiskFull:
        # Parallel builds share their memory in /dev/shm, which containers keep small; one process needs none of it.
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        _watched(statement)


def drop_hnsw(version_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT i.indexrelid::regclass::text FROM pg_index AS i WHERE i.indrelid = %s::regclass "
            "AND NOT i.indisprimary",
            [table_of(version_id)],
        )
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))


def _watched(statement: sql.Composed) -> None:
    """Run a long statement on Django's connection, from a thread, so that this one can look after the job.

    Raises what the statement raises (psycopg's errors), or JobCancelled, after having stopped the statement.
    """
    raw: Any = connection.connection
    pid = raw.info.backend_pid
    with ThreadPoolExecutor(1, thread_name_prefix="pgvector-build") as pool:
        running = pool.submit(raw.execute, statement)
        try:
            while True:
                try:
                    running.result(timeout=POLL_SECONDS)
                    return
                except StillRunning:
                    if not running.done():
                        _report(pid)
        except BaseException:
            if not running.done():
                raw.cancel_safe()
            raise


_PROGRESS = """
    SELECT tuples_done::float8 / greatest(tuples_total, tuples_done, 1)
    FROM pg_stat_progress_create_index WHERE pid = %s
"""


def _report(pid: int) -> None:
    row = claims().use(lambda other: other.execute(_PROGRESS, [pid]).fetchone())
    if row is not None:
        job.progress(0.35 + 0.45 * float(row[0]), "making the HNSW index in Postgres")
    job.check_cancelled()


def size(version_id: int) -> int:
    """Bytes of the table and its indexes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size(%s::regclass)", [table_of(version_id)])
        return int(cursor.fetchone()[0])


def drop(version_id: int, wait_seconds: int = 5) -> None:
    """Drop a version's table. Raises OperationalError if somebody reads it for longer than that."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{int(wait_seconds)}s'")
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(identifier(version_id)))


def tables() -> list[int]:
    """Numbers of the versions that have a table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT substring(relname FROM '[0-9]+$')::bigint FROM pg_class "
            "WHERE relkind = 'r' AND relname ~ %s AND pg_table_is_visible(oid)",
            [f"^{PREFIX}[0-9]{{1,18}}$"],
        )
        return sorted(row[0] for row in cursor.fetchall())


__all__ = ["build_hnsw", "drop", "drop_hnsw", "fill", "identifier", "require_extension", "size", "table_of", "tables"]
