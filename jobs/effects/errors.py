"""Why an effect did not come about, or is not known to have."""

from jobs.ledger.errors import Snooze


class NotDone(Exception):
    """Raise in a call when it is certain that nothing happened, so that it may be tried again."""


class Refused(NotDone):
    """The far side answered that it did not do it."""


class TooLate(NotDone):
    """The try's deadline passed before anything was sent; another process may be at it by now."""


class EffectPostponed(Snooze):
    """It may not be tried yet. A job waits for it without using up an attempt."""


class EffectUnknown(Exception):
    """A try was cut off and its outcome is not known yet; the next run finds out before it tries again."""


class EffectUncertain(Exception):
    """It may have happened, and nobody can find out but a person, who decides; the job rests until then."""

    #: Another attempt would not know more.
    is_final = True


class EffectKeyReused(ValueError):
    """The key belongs to another effect."""
