"""Why an effect did not come about, or is not known to have."""

from typing import Literal

from jobs.ledger.errors import Snooze


class NotDone(Exception):
    """Raise in a call when it is certain that nothing happened, so that it may be tried again."""


class Refused(NotDone):
    """The far side answered that it did not do it.

    status: the code of its answer, of SMTP or HTTP, if it gave one. about: what of a mail it refused.
    """

    def __init__(
        self, message: str = "", status: int | None = None, about: Literal["", "sender", "recipient", "text"] = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.about = about


class TooLate(NotDone):
    """The try's deadline passed before anything was sent; another process may be at it by now."""


class EffectPostponed(Snooze):
    """It may not be tried yet. A job waits for it without using up an attempt."""


class EffectUnknown(Exception):
    """A try was cut off and its outcome is not known yet; the next run finds out before it tries again.

    is_final: another attempt would end in the same way; only a person has it tried again.
    """

    is_final = False


class EffectUncertain(Exception):
    """It may have happened, and nobody can find out but a person, who decides; the job rests until then."""

    #: Another attempt would not know more.
    is_final = True


class EffectKeyReused(ValueError):
    """The key belongs to another effect."""
