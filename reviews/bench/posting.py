"""Reviews killed at each step in turn: what is lost, and what is posted twice."""

from embeddings.bench.children import child
from jobs.bench.figures import Figure, Options
from jobs.bench.parts import Outcome, tell
from jobs.bench.stack import Stack

REVIEWS, QUICK_REVIEWS = 1_000, 12
#: What does not fit in this time is not done, and the report says how many were; --large takes all the time it needs.
SECONDS, LARGE_SECONDS = 300.0, 36_000.0


def measure(stack: Stack, options: Options) -> Outcome:
    count = options.tasks or (QUICK_REVIEWS if options.quick else REVIEWS)
    with child(stack, "posting", "reviews.bench.inside") as one:
        said = one.call("posting.kill", count=count, seconds=LARGE_SECONDS if options.large else SECONDS)
    tell(f"posting: {said['killed']:,} kills of {said['reviews']:,} reviews, {said['lost']} lost")
    return Outcome(
        figures={
            "posted_lost": Figure(said["lost"], "comments", at_most=0),
            "posted_doubled": Figure(said["doubled"], "comments", at_most=0),
        },
        told={"posting": said},
    )
