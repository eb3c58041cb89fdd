"""The way of an effect: written down, tried, and found out about before it is tried again.

What it rests on:
- The intent, and each try with its deadline, are on disk before anything is sent.
- Nothing is sent after the deadline, which lies within what is left of the worker's lease; so whoever takes the job
  over waits until the deadline has passed, by Postgres' clock, and knows that an earlier try sends no more.
- A freeze between the check and the write remains. Therefore the far side is looked at afterwards too (`copies`).
"""

import enum
import json
import logging
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from celery.exceptions import Ignore, Reject, Retry

from jobs.effects.errors import (
    EffectKeyReused,
    EffectPostponed,
    EffectUncertain,
    EffectUnknown,
    NotDone,
    TooLate,
)
from jobs.effects.trying import Try, clock
from jobs.ledger import effects as store
from jobs.ledger import lease
from jobs.ledger.effects import Known
from jobs.ledger.errors import Discard, JobCancelled, JobMovedOn, Snooze
from jobs.ledger.records import clean_json, clean_text
from jobs.ledger.run import current_run
from jobs.models import EffectState
from jobs.models.effect import MAY_BE_TRIED

logger = logging.getLogger(__name__)

#: Less than this is not begun with.
LEAST_SECONDS = 1.0
#: A far side that was asked at once may still be at work on the request: "not there" must be said twice.
SETTLE_SECONDS = 2.0
#: A wait up to this is slept through; for a longer one the job gives its process to others.
LONGEST_SLEEP_SECONDS = 2.0
#: What a task says to the ledger by an exception; passed on as it is.
_SIGNALS = (Snooze, Discard, JobCancelled, JobMovedOn, Retry, Ignore, Reject)

#: Characters of JSON.
LONGEST_RECEIPT = 10_000

LookUp = Callable[[str], Any]


class Uncertain(enum.Enum):
    """What to do when nobody can find out whether a try succeeded.

    FAIL: fail the job until a person decides. AGAIN: try once more with the same bytes and the same identity.
    """

    FAIL = "fail"
    AGAIN = "again"


@dataclass(frozen=True)
class _FarSide:
    """What the far side offers to find out, or to bear, a second try."""

    look_up: LookUp | None
    look_first: bool
    idempotent_seconds: float
    uncertain: Uncertain

    def can_bear(self, known: Known) -> bool:
        """Whether a second request of the same identity does no harm."""
        return 0 < known.age_seconds < self.idempotent_seconds

    def is_hopeless(self, known: Known, doubts: int) -> bool:
        """Whether nobody but a person can find out what became of the try, of which `doubts` went before it."""
        if self.look_up is not None or self.can_bear(known):
            return False
        return known.state == EffectState.UNCERTAIN or self.uncertain is Uncertain.FAIL or doubts > 0


def once(
    key: str,
    call: Callable[[Try], Any],
    *,
    kind: str,
    target: str = "",
    look_up: LookUp | None = None,
    look_first: bool = False,
    idempotent_seconds: float = 0,
    policy: Uncertain = Uncertain.FAIL,
    timeout_seconds: float = 30,
    identity: str | None = None,
    request: bytes | None = None,
    context: dict[str, Any] | None = None,
) -> Any:
    """Have `call` happen once for this key, however often this is run. Returns its receipt (JSON).

    An effect that is done returns the receipt it had, without a call.
    call: does it; gets a `Try`, calls its `check()` just before the write, and returns a receipt, such as the far
    side's id. Raises NotDone (or Refused) when it is certain that nothing happened; any other error after `check()`
    leaves the outcome unknown.
    look_up: from the identity to the receipt of what the far side has, or None if it is not there; look_first has it
    asked before the first try too. idempotent_seconds: how long the far side takes two requests of the same identity
    for one. Where there is neither, `policy` decides. timeout_seconds: how long one try may take in all.
    target, context: shown to people and kept for later looks; no secrets.
    Raises what the call raised when it is known not to have happened; EffectPostponed, which has the job run again
    later; EffectUnknown, after which the job's next attempt finds out; EffectUncertain, after which a person does;
    EffectKeyReused for a key of another kind or target.
    """
    _check(key, kind, timeout_seconds)
    run = current_run()
    far_side = _FarSide(look_up, look_first, idempotent_seconds, policy)
    known = store.intend(
        key,
        kind=kind,
        target=clean_text(target)[:255],
        identity=identity or str(uuid.uuid4()),
        request=request,
        context=context or {},
        run=run,
    )
    if (known.kind, known.target) != (kind, clean_text(target)[:255]):
        raise EffectKeyReused(
            f"effect {key!r} is {known.kind} to {known.target!r}, not {kind} to {target!r}; give this one another key"
        )
    while True:
        known = _find_out(known, far_side)
        if known.state == EffectState.DONE:
            return known.receipt
        begun = _begin(known, timeout_seconds)
        if begun is not None:
            return _make(*begun, call, far_side)
        moved_on = _again(key)
        if (moved_on.state, moved_on.try_id) == (known.state, known.try_id):
            raise JobMovedOn(f"effect {key!r} is not tried: this run's job was given to another")
        known = moved_on


def _check(key: str, kind: str, timeout_seconds: float) -> None:
    if not 0 < len(key) <= 255 or clean_text(key) != key:
        raise ValueError(f"the effect's key {key[:80]!r} has {len(key)} characters; it takes 1 to 255, without NUL")
    if not 0 < len(kind) <= 64:
        raise ValueError(f"the effect's kind {kind[:80]!r} has {len(kind)} characters; it takes 1 to 64")
    if timeout_seconds < LEAST_SECONDS:
        raise ValueError(f"timeout_seconds is {timeout_seconds}; it must be at least {LEAST_SECONDS:g}")


def _again(key: str) -> Known:
    known = store.find(key)
    if known is None:
        raise EffectUnknown(f"effect {key!r} was deleted while it was tried")
    return known


# --- Before a try --------------------------------------------------------------------------------------------------


def _find_out(known: Known, far_side: _FarSide) -> Known:
    """Until the effect is done, or may be tried. Raises EffectPostponed, EffectUnknown or EffectUncertain."""
    while known.state != EffectState.DONE:
        if known.state == EffectState.TRIED and known.wait_seconds > 0:
            _wait(known)
        elif known.state in MAY_BE_TRIED and not far_side.look_first:
            return known
        elif far_side.look_up is not None:
            receipt = _look(known, far_side.look_up)
            if receipt is None:
                return known
            store.conclude(known, EffectState.DONE, receipt=_storable(receipt))
        elif known.state in MAY_BE_TRIED or not far_side.is_hopeless(known, known.doubts):
            return known
        elif known.state == EffectState.UNCERTAIN:
            raise _uncertain(known)
        else:
            error = known.error or "the try was cut off"
            store.conclude(known, EffectState.UNCERTAIN, error=error)
        known = _again(known.key)
    return known


def _wait(known: Known) -> None:
    """Let the deadline of a try pass that another process may be at."""
    if known.wait_seconds > LONGEST_SLEEP_SECONDS:
        raise EffectPostponed(known.wait_seconds, f"an earlier try of effect {known.key!r} may still be under way")
    time.sleep(known.wait_seconds + 0.01)


def _look(known: Known, look_up: LookUp) -> Any:
    """What the far side has. After a try, "not there" counts when it is said again a while later."""
    try:
        receipt = look_up(known.identity)
        if receipt is None and known.state not in MAY_BE_TRIED:
            time.sleep(SETTLE_SECONDS)
            receipt = look_up(known.identity)
    except _SIGNALS:
        raise
    except Exception as exc:
        raise EffectUnknown(
            f"effect {known.key!r} cannot be looked up at the far side ({_one_line(exc)}); it is not tried until it can"
        ) from exc
    return receipt


def _begin(known: Known, timeout_seconds: float) -> tuple[Known, Try] | None:
    left = min(lease.seconds_left(), timeout_seconds)
    if left < LEAST_SECONDS:
        raise EffectPostponed(LEAST_SECONDS, f"effect {known.key!r} is not tried: too little is left of the lease")
    began = clock()
    try_id = str(uuid.uuid4())
    begun = store.begin(known, try_id, seconds=timeout_seconds, run=current_run())
    if begun is None:
        return None
    return begun, Try(begun, began=began, write_seconds=left, seconds=timeout_seconds)


# --- The try -------------------------------------------------------------------------------------------------------


def _make(begun: Known, attempt: Try, call: Callable[[Try], Any], far_side: _FarSide) -> Any:
    try:
        receipt = call(attempt)
    except Exception as exc:
        if _is_known_not_done(exc, attempt):
            store.conclude(begun, EffectState.FAILED, error=_one_line(exc))
            raise
        return _unknown(begun, exc, far_side)
    kept = _storable(receipt)
    if not store.conclude(begun, EffectState.DONE, receipt=kept):
        _answered_late(begun, kept)
    if not attempt.may_have_happened:
        raise RuntimeError(
            f"the call of effect {begun.key!r} did not check its deadline; call check() before the write"
        )
    return kept


def _is_known_not_done(exc: Exception, attempt: Try) -> bool:
    if not attempt.may_have_happened:
        return True
    # Too late, and yet some of it was sent in time.
    return isinstance(exc, NotDone | ConnectionRefusedError | socket.gaierror) and not isinstance(exc, TooLate)


def _unknown(begun: Known, exc: Exception, far_side: _FarSide) -> Any:
    """A try was cut off. Ask at once, for it is most often there; that it is not, is believed later."""
    store.note_error(begun, _one_line(exc))
    if isinstance(exc, _SIGNALS):
        raise exc
    if far_side.look_up is not None:
        try:
            receipt = far_side.look_up(begun.identity)
        except Exception as failure:
            logger.info("Effect %s cannot be looked up yet: %s", begun.key, _one_line(failure))
            receipt = None
        if receipt is not None:
            kept = _storable(receipt)
            store.conclude(begun, EffectState.DONE, receipt=kept)
            return kept
    elif far_side.is_hopeless(begun, begun.doubts):
        store.conclude(begun, EffectState.UNCERTAIN, error=_one_line(exc))
        raise _uncertain(replace(begun, error=_one_line(exc))) from exc
    unknown = EffectUnknown(f"whether effect {begun.key!r} happened is not known yet: {_one_line(exc)}")
    unknown.is_final = getattr(exc, "is_final", False)
    raise unknown from exc


def _answered_late(begun: Known, receipt: Any) -> None:
    """The far side answered when others had taken over."""
    now = store.find(begun.key)
    if now is None:
        return
    if now.attempts > begun.attempts:
        store.doubt(begun.key)
        logger.warning("Effect %s: try %d was answered after try %d began", begun.key, begun.attempts, now.attempts)
    elif now.state == EffectState.UNCERTAIN and store.conclude(now, EffectState.DONE, receipt=receipt):
        store.note_happened(begun.key)


def _uncertain(known: Known) -> EffectUncertain:
    because = f" ({known.error})" if known.error else ""
    return EffectUncertain(
        f"effect {known.key!r} may have happened, and nobody can find out but a person{because}; decide it in the "
        f"admin or by: manage.py effects decide {known.id} happened|not-happened"
    )


def _one_line(exc: BaseException) -> str:
    text = " ".join(clean_text(str(exc)).split())
    return f"{type(exc).__name__}: {text}"[:500] if text else type(exc).__name__


def _storable(receipt: Any) -> Any:
    """The receipt as Postgres can hold it: that it happened must not be lost over how it is told."""
    text = json.dumps(receipt, default=str)
    return {"cut": clean_text(text[:2_000])} if len(text) > LONGEST_RECEIPT else clean_json(json.loads(text))
