"""Reviews that are posted to the stand-in GitHub by processes that are killed."""

import random
import tempfile
import time
from pathlib import Path

from reviews.standin import openapi
from reviews.standin.repositories import Repo
from reviews.standin.victims import victims

MOST_KILLS = 3


def kill(count: int, seconds: float) -> dict[str, int]:
    """Kill so many reviews, each step in turn and some more at random, and let each finish; no longer than `seconds`.

    Returns the counts: reviews, killed processes, steps of a review, and what was lost or doubled.
    """
    random_ = random.Random(2026)  # noqa: S311  (repeatable, and guards nothing)
    counts = dict.fromkeys(("reviews", "killed", "lost", "doubled"), 0)
    # Where the description is on disk, all requests were checked by the first review; they are always the same.
    with tempfile.TemporaryDirectory() as name, victims(Repo(Path(name) / "repo"), {}) as some:
        code, steps = some.run(some.review(1))
        if code:
            raise RuntimeError(f"a review that was not killed ended with {code}")
        vars(openapi)["violations"] = lambda *args: []
        began = time.monotonic()
        while counts["reviews"] < count and time.monotonic() - began < seconds:
            review = some.review(2 + counts["reviews"])
            more = [random_.randint(1, steps) for _ in range(random_.choice((0, 0, 1, MOST_KILLS - 1)))]
            # Spread over the steps, so that a run that is cut short has seen the whole review too.
            first = 1 + counts["reviews"] * 617 % steps
            counts["killed"] += some.kill_and_finish(review, first, *more)
            posted = some.posted(review)
            counts["reviews"] += 1
            counts["lost"] += posted.lost
            counts["doubled"] += posted.doubled
    return {**counts, "steps": steps}
