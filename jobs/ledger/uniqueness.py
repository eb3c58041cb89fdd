"""What becomes of a send that meets its id or its unique key in the ledger already.

Postgres' unique index on held keys decides, whatever the race: the second of two senders waits there for the first
one's commit. What follows looks at the row in the way, and folds the send into it, or clears it and inserts again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.ledger import cancel, states
from jobs.ledger.connection import claims
from jobs.ledger.errors import JobRefused
from jobs.ledger.events import note
from jobs.ledger.records import Record
from jobs.ledger.states import keys

#: Each further round means that somebody else's commit came in between.
MOST_ROUNDS = 100


@dataclass(frozen=True)
class Settled:
    """state: of the inserted row. holder: the job that took the send in. owed: its message is to be sent now.

    All None or False: a job of this id was there already.
    """

    state: str | None = None
    holder: str | None = None
    is_owed: bool = False


def superseded_keys(records: Sequence[Record]) -> list[str]:
    """The keys under which these records take the place of others, in the order in which they are to be locked."""
    return sorted(
        {
            record.unique_key
            for record in records
            if record.unique_key is not None and record.unique_options is not None and record.unique_options.supersede
        }
    )


def settle(cursor: states.Cursor, record: Record, sender: str = "") -> Settled:
    """Fold a record into the job that is in its way, or insert it after all.

    sender: the id of the running job that sends it, which is never asked to stop. For superseding, and to keep a
    waiting job waiting, this must be called in the transaction that the record belongs to; for superseding, after
    keys.queue_up.
    Raises JobRefused in the unlikely case that others took and freed the key all the time.
    """
    for _ in range(MOST_ROUNDS):
        obstacle = keys.find_obstacle(cursor, record.id, record.unique_key)
        if obstacle is not None:
            if obstacle.id == record.id:
                return Settled(state="queued" if states.replace_awaited(cursor, record) else None)
            folded = _fold_or_clear(cursor, record, obstacle, sender)
            if folded is not None:
                return folded
        state = states.insert(cursor, [record]).get(record.id)
        if state is not None:
            return Settled(state=state)
    raise JobRefused(f"job {record.id} met the key {record.unique_key!r} being taken and freed; send it again")


def _fold_or_clear(cursor: states.Cursor, record: Record, obstacle: keys.Obstacle, sender: str) -> Settled | None:
    """Fold into the obstacle. Returns None if it is out of the way, by what is done here or by itself."""
    options = record.unique_options
    if obstacle.is_elapsed:
        keys.release_elapsed(cursor, str(record.unique_key))
        return None
    # A key may be shared between tasks, but no task's sender may stop or change another task's job.
    if options is not None and obstacle.task == record.task:
        if options.supersede:
            if obstacle.id == sender:
                # On the connection of its progress: a lock of the sender's transaction on it would block that.
                claims().use(lambda connection: keys.release_key(connection.cursor(), sender))
            supersede(cursor, record, sender)
            return None
        moved = states.debounce(cursor, record) if options.debounce_seconds is not None else None
        if moved is not None:
            return Settled(holder=moved[0], is_owed=moved[1])
    if obstacle.unique_until_start and not keys.hold_waiting(cursor, obstacle.id):
        return None  # its run has begun: it may not have seen what the sender is about to commit
    return Settled(holder=obstacle.id)


def supersede(cursor: states.Cursor, record: Record, sender: str = "") -> list[str]:
    """Discard what waits under the record's key, ask what runs to stop, and free the key. Returns their ids."""
    superseded = keys.lock_unfinished(cursor, record, sender)
    reason = f"superseded by job {record.id}"
    for job_id, state in superseded:
        if state == "running":
            cancel.request(cursor, job_id, reason, by=record.id)
            keys.release_key(cursor, job_id)
        else:
            states.discard(cursor, job_id, reason)
            text = f"Job {record.id} of the same key came: this one, which waited, was discarded."
            note(cursor, job_id, "superseded", text, by=record.id)
    return [job_id for job_id, _ in superseded]
