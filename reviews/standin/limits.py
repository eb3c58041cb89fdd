"""GitHub's secondary limits at the stand-in: what is written in a minute and in an hour, and points a minute."""

import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from reviews.standin.rules import Refused

RETRY_AFTER_SECONDS = 60
MESSAGE = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


@dataclass
class Limits:
    """What an account may do; None: without limit. refused: how many requests met a limit."""

    writes_a_minute: int | None = 80
    writes_an_hour: int | None = 500
    points_a_minute: int | None = 900
    refused: int = 0
    _done: "defaultdict[tuple[str, str], deque[tuple[float, int]]]" = field(default_factory=lambda: defaultdict(deque))

    def count(self, account: str, verb: str, path: str) -> None:
        """Raises Refused, and counts nothing, where a limit is met."""
        writes = verb != "GET" and not path.startswith("/app/")
        wanted = [("points", 60, self.points_a_minute, 5 if verb != "GET" else 1)]
        if writes:
            wanted += [("minute", 60, self.writes_a_minute, 1), ("hour", 3600, self.writes_an_hour, 1)]
        now = time.monotonic()
        for name, seconds, most, cost in wanted:
            done = self._done[account, name]
            while done and done[0][0] <= now - seconds:
                done.popleft()
            if most is not None and sum(spent for _, spent in done) + cost > most:
                self.refused += 1
                raise Refused(403, MESSAGE, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        for name, _, _, cost in wanted:
            self._done[account, name].append((now, cost))
