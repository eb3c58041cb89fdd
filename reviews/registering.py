"""What the doctor asks of this app. Imported when Django starts, so what it takes is imported when it is due."""

from jobs.operators import health


def _examine() -> list[health.Finding]:
    from reviews.analysis import health as of_analysers

    return of_analysers.examine()


health.also_examine(_examine)
