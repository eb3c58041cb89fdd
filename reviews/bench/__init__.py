"""`manage.py bench reviews`."""

from jobs.bench.figures import Options, Report
from jobs.bench.registry import benchmark

#: Part → the module that measures it.
PARTS = {
    "webhook": "reviews.bench.webhook",
    "seeded": "reviews.bench.seeded_part",
    "histories": "reviews.bench.histories",
    "enrichment": "reviews.bench.enrichment",
    "posting": "reviews.bench.posting",
}


@benchmark("reviews", summary="take in events, review git histories and seeded bugs, post", parts=tuple(PARTS))
def reviews(options: Options) -> Report:
    from reviews.bench.report import run

    return run(options)
