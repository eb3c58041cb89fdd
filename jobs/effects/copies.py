"""The later look: whether the far side has a second copy of what was tried twice."""

import logging
from collections.abc import Callable
from datetime import timedelta

from django.db.models.functions import Now

from jobs.models import Effect

logger = logging.getLogger(__name__)

BATCH = 100
COUNT_AGAIN_SECONDS = 600

Counter = Callable[[Effect], int]
_counters: dict[str, Counter] = {}


def counts_copies(kind: str) -> Callable[[Counter], Counter]:
    """Register how many of an effect of this kind the far side has. `context` and `identity` tell what to look for."""

    def register(counter: Counter) -> Counter:
        _counters[kind] = counter
        return counter

    return register


class _CannotCount(Exception):
    """The far side could not be asked now."""


def check_copies() -> dict[str, int]:
    """Count at the far side what may be there twice. Returns how many effects were counted, doubled and put off."""
    counts = {"counted": 0, "doubled": 0, "put_off": 0}
    for effect in Effect.objects.filter(check_at__lte=Now()).order_by("check_at")[:BATCH]:
        row = Effect.objects.filter(pk=effect.pk, check_at=effect.check_at)
        try:
            copies = _count(effect)
        except _CannotCount:
            row.update(check_at=Now() + timedelta(seconds=COUNT_AGAIN_SECONDS))
            counts["put_off"] += 1
            continue
        row.update(check_at=None, copies=copies)
        counts["counted"] += copies is not None
        if copies is not None and copies > 1:
            counts["doubled"] += 1
            logger.error("Effect %s is at the far side %d times", effect.key, copies)
    return counts


def _count(effect: Effect) -> int | None:
    """How many there are; None for a kind that cannot be counted."""
    counter = _counters.get(effect.kind)
    if counter is None:
        return None
    try:
        return max(int(counter(effect)), 0)
    except Exception as exc:
        logger.warning("The copies of effect %s cannot be counted: %s: %s", effect.key, type(exc).__name__, exc)
        raise _CannotCount from exc
