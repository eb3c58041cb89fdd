"""One try of an effect, as the call that makes it sees it."""

from jobs.effects.errors import TooLate
from jobs.ledger.effects import Known
from jobs.ledger.lease import clock

__all__ = ["Try", "clock"]


class Try:
    """What a call gets. It calls `check()` just before it writes anything to its socket, and not earlier.

    identity: the same for every try of this effect; send it as idempotency key, marker or Message-ID.
    request: the bytes to send, if the effect was given any.
    """

    def __init__(self, known: Known, *, began: float, write_seconds: float, seconds: float) -> None:
        self.key = known.key
        self.identity = known.identity
        self.request = known.request
        self._write_by = began + write_seconds
        self._answer_by = began + seconds
        self._may_have_happened = False

    def check(self) -> float:
        """Just before a write: the seconds left for it, to be set as its timeout. Raises TooLate after the deadline.

        A process that was frozen, and wakes up when others have taken its job over, stops here.
        """
        left = self._write_by - clock()
        if left <= 0:
            raise TooLate(f"the deadline of effect {self.key!r} passed {-left:.1f} s ago")
        self._may_have_happened = True
        return left

    @property
    def seconds_left(self) -> float:
        """How long to wait for the answer to what was written; at least a tenth of a second, to be set as a timeout."""
        return max(self._answer_by - clock(), 0.1)

    @property
    def may_have_happened(self) -> bool:
        """Whether a write may have begun."""
        return self._may_have_happened
