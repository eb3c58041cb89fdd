"""The state machine: the only place that changes the state of a job.

Each function is one statement on a cursor of the caller's, so that it commits with whatever belongs to it. Each says
in its WHERE which state, and which claim, it expects; a row that has moved on is left alone, and not returned.
"""

from jobs.ledger.states.entering import insert, replace_awaited
from jobs.ledger.states.keys import debounce
from jobs.ledger.states.machine import TRANSITIONS, Cursor, rows
from jobs.ledger.states.operators import cancel_waiting, discard, fail_waiting, request_cancel, retry
from jobs.ledger.states.recovery import (
    LostRun,
    find_lost,
    is_any_message_old,
    latest_claimed,
    owe_all_again,
    park,
    requeue,
    resend_lost,
    running_of,
)
from jobs.ledger.states.running import CLAIM, SUCCEED, end_attempt, keep_superseded, succeed
from jobs.ledger.states.sending import (
    Owed,
    discard_expired,
    lock_owed,
    look,
    mark_sent,
    mark_unsent,
    owe_again,
    promote_due,
)

__all__ = [
    "CLAIM",
    "SUCCEED",
    "TRANSITIONS",
    "Cursor",
    "LostRun",
    "Owed",
    "cancel_waiting",
    "debounce",
    "discard",
    "discard_expired",
    "end_attempt",
    "fail_waiting",
    "find_lost",
    "insert",
    "is_any_message_old",
    "keep_superseded",
    "latest_claimed",
    "lock_owed",
    "look",
    "mark_sent",
    "mark_unsent",
    "owe_again",
    "owe_all_again",
    "park",
    "promote_due",
    "replace_awaited",
    "request_cancel",
    "requeue",
    "resend_lost",
    "retry",
    "rows",
    "running_of",
    "succeed",
]
