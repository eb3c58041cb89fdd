"""How long a job holds its unique key, and what becomes of a newer one with the same key."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

#: Until its run ends, or only until it begins.
UNFINISHED = "unfinished"
QUEUED = "queued"
MOST_SECONDS = 3660 * 86_400.0
#: A burst that never ends still runs once in so many debounce times, unless the task says otherwise.
DEBOUNCE_MAX_FACTOR = 10


@dataclass(frozen=True)
class UniqueOptions:
    """What a unique key means for the jobs of a task, or for one job.

    unique_while: "unfinished" (the default) holds the key until the job has finished; "queued" gives it up when a
    run begins, so that one more may wait while the job runs.
    unique_for_seconds: holds it besides for so long after the job was enqueued, also when it has succeeded. A job that
    failed, or was cancelled or discarded, gives its key up.
    debounce_seconds: a job waits so long before it runs; a newer one hands the waiting one its arguments and moves its
    start to so long after itself, at most to `debounce_max_seconds` after the first (default: ten times as long).
    supersede: a newer job takes the place of one that waits, and asks one that runs to stop.
    Raises ValueError for what is out of range or excludes each other.
    """

    unique_while: str = ""
    unique_for_seconds: float | None = None
    debounce_seconds: float | None = None
    debounce_max_seconds: float | None = None
    supersede: bool = False

    def __post_init__(self) -> None:
        self._check_seconds()
        kinds = ("unique_for_seconds", "debounce_seconds", "supersede")
        chosen = [name for name in kinds if getattr(self, name) not in (None, False)]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} exclude each other; choose one")
        if self.unique_while not in ("", UNFINISHED, QUEUED):
            raise ValueError(f"unique_while {self.unique_while!r} is unknown; choose from: {UNFINISHED}, {QUEUED}")
        given, needed = self.unique_while, QUEUED if self.debounce_seconds is not None else UNFINISHED
        if given and given != needed and chosen:
            raise ValueError(f'{chosen[0]} needs unique_while="{needed}", not "{given}"; leave unique_while out')
        object.__setattr__(self, "unique_while", given or needed)
        if self.debounce_seconds is not None and self.debounce_max_seconds is None:
            most = min(self.debounce_seconds * DEBOUNCE_MAX_FACTOR, MOST_SECONDS)
            object.__setattr__(self, "debounce_max_seconds", most)

    def _check_seconds(self) -> None:
        for name in ("unique_for_seconds", "debounce_seconds", "debounce_max_seconds"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} {value!r} is not a number of seconds")  # noqa: TRY004  (as documented)
            if not (math.isfinite(value) and 0 < value <= MOST_SECONDS):
                raise ValueError(f"{name} {value} is outside 0 to {MOST_SECONDS:.0f} seconds")
        if self.debounce_max_seconds is not None:
            if self.debounce_seconds is None:
                raise ValueError("debounce_max_seconds needs debounce_seconds")
            if self.debounce_max_seconds < self.debounce_seconds:
                raise ValueError(
                    f"debounce_max_seconds {self.debounce_max_seconds} is less than debounce_seconds "
                    f"{self.debounce_seconds}; give at least as much"
                )

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


NAMES = tuple(field.name for field in fields(UniqueOptions))


def given_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that a caller gave: neither None nor empty nor False. Raises TypeError for other names."""
    unknown = [name for name in values if name not in NAMES]
    if unknown:
        raise TypeError(f"unknown options of a key: {', '.join(unknown)}; choose from: {', '.join(NAMES)}")
    given = {name: values.get(name) for name in NAMES}
    return {name: value for name, value in given.items() if not (value is None or value is False or value == "")}


def options_from(values: Any) -> UniqueOptions:
    """Options from outside, by name. Raises ValueError for an unknown name as well."""
    if not isinstance(values, Mapping):
        raise ValueError(f"unique_options {values!r:.60} is not an object of options")  # noqa: TRY004
    unknown = [str(name)[:40] for name in values if name not in NAMES]
    if unknown:
        raise ValueError(f"unique_options has {', '.join(unknown)}, which is unknown; choose from: {', '.join(NAMES)}")
    if not isinstance(values.get("unique_while") or "", str) or not isinstance(values.get("supersede") or False, bool):
        raise ValueError("unique_while takes text, and supersede true or false")  # noqa: TRY004
    return UniqueOptions(**given_options(values))
