"""What is paused, as this worker knows it: messages of it are turned away before they reach a child.

A pause often comes because a queue is full. Each of its messages would take a child's time, and those of a lane that
renews its children after some jobs a new child, only for the claim to refuse it.
"""

from collections import deque
from collections.abc import Sequence

import psycopg

from jobs.ledger import states
from jobs.ledger.limits import hold

_paused: frozenset[str] = frozenset()
_turned_away: deque[str] = deque()


def note_paused(scopes: Sequence[str]) -> None:
    """scopes: "everything:", "queue:NAME" or "task:NAME", as of the dispatcher's latest look."""
    global _paused
    _paused = frozenset(scopes)


def turn_away(job_id: str, queue: str, task: str) -> bool:
    """Whether to drop a message because its job is paused. The dispatcher holds the job at its next look.

    Should this process die before that, the message is missed like any other that was lost.
    """
    if not _paused or not _paused & {"everything:", f"queue:{queue}", f"task:{task}"}:
        return False
    _turned_away.append(job_id)
    return True


def hold_turned_away(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """Hold what was turned away; what is not paused any more is owed a message again."""
    ids = [_turned_away.popleft() for _ in range(len(_turned_away))]
    if not ids:
        return
    try:
        with connection.cursor() as cursor:
            held = set(hold(cursor, ids))
            states.owe_again(cursor, [job_id for job_id in ids if job_id not in held])
    except psycopg.errors.LockNotAvailable:
        _turned_away.extend(ids)  # somebody holds one of these rows, which is no reason to dispatch nothing
    except psycopg.Error:
        _turned_away.extend(ids)
        raise
