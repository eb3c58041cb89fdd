"""The row by which a worker, or a beat, tells that it lives."""

import json
import os
import socket
from collections.abc import Collection

import psutil

from jobs.ledger.lease import clock
from jobs.ledger.states import Cursor

#: When each process began to report: forked from one that has loaded this module, it is not as old as that one. A row
#: that is written anew must not tell that the process is new: its jobs would be taken from it.
_began: dict[int, float] = {}

#: Names whose end this process has written: a report that comes after it would show a worker that has died.
_left: set[str] = set()


def begin() -> None:
    """Note that this process begins now; called before it can run anything. Without it, the first report begins it.

    A job that was claimed before its worker's beginning is taken for one of an earlier worker of that name.
    """
    _began.setdefault(os.getpid(), clock())


def report(
    cursor: Cursor,
    *,
    name: str,
    queues: list[str],
    children: int,
    memory: int | None,
    running: Collection[str] = (),
    fetched: Collection[str] = (),
) -> None:
    """Write this process' heartbeat, by Postgres' clock, in one statement; nothing once it has left.

    running: ids of the jobs that its children run. fetched: ids of the messages that wait in it for a free child.
    """
    if name in _left:
        return
    cursor.execute(
        """
        INSERT INTO jobs_worker (name, host, pid, queues, children, memory_bytes, version, running, fetched,
                                 started_at, heartbeat_at, stopped_at)
        VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s, %s::jsonb, %s::jsonb,
                clock_timestamp() - make_interval(secs => %s), clock_timestamp(), NULL)
        ON CONFLICT (name) DO UPDATE SET
            started_at = CASE WHEN jobs_worker.pid = EXCLUDED.pid AND jobs_worker.stopped_at IS NULL
                              THEN jobs_worker.started_at ELSE EXCLUDED.started_at END,
            host = EXCLUDED.host, pid = EXCLUDED.pid, queues = EXCLUDED.queues, children = EXCLUDED.children,
            memory_bytes = EXCLUDED.memory_bytes, version = EXCLUDED.version, running = EXCLUDED.running,
            fetched = EXCLUDED.fetched,
            heartbeat_at = clock_timestamp(), stopped_at = NULL
        """,
        [
            name,
            socket.gethostname(),
            os.getpid(),
            json.dumps(queues),
            children,
            memory,
            os.environ.get("SWITCHYARD_VERSION", ""),
            json.dumps(list(running)),
            json.dumps(list(fetched)),
            _age_seconds(),
        ],
    )


def _age_seconds() -> float:
    begin()
    return clock() - _began[os.getpid()]


def namesake(cursor: Cursor, name: str, lease_seconds: float) -> int | None:
    """The process id of another living worker of this name on this machine, or None."""
    cursor.execute(
        """
        SELECT pid FROM jobs_worker
        WHERE name = %s AND host = %s AND pid <> %s AND stopped_at IS NULL
          AND heartbeat_at > clock_timestamp() - make_interval(secs => %s)
        """,
        [name, socket.gethostname(), os.getpid(), lease_seconds],
    )
    row = next(iter(cursor.fetchall()), None)
    try:
        is_alive = row is not None and psutil.Process(row[0]).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return row[0] if row is not None and is_alive else None


def fetched_before(cursor: Cursor, name: str) -> list[str]:
    """What an earlier process of this name had fetched when it died: nobody else knows of these messages."""
    cursor.execute(
        "SELECT fetched FROM jobs_worker WHERE name = %s AND pid <> %s AND stopped_at IS NULL", [name, os.getpid()]
    )
    row = next(iter(cursor.fetchall()), None)
    return [str(job_id) for job_id in row[0]] if row else []


def leave(cursor: Cursor, name: str) -> None:
    """Note that this process ended in order. A row that another process of this name writes by now stays as it is."""
    _left.add(name)
    cursor.execute(
        "UPDATE jobs_worker SET stopped_at = clock_timestamp() WHERE name = %s AND host = %s AND pid = %s",
        [name, socket.gethostname(), os.getpid()],
    )


def memory_bytes() -> int | None:
    """The proportional set size of this process and its children, which counts shared pages once; None if unknown."""
    total = 0
    try:
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            try:
                total += getattr(process.memory_full_info(), "pss", 0)
            except psutil.NoSuchProcess:
                continue
    except (psutil.AccessDenied, OSError):
        return None
    return total or None
