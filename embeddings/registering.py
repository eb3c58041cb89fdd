"""What the doctor asks of this app. Imported when Django starts, so what it takes is imported when it is due."""

from jobs.operators import health


def _examine() -> list[health.Finding]:
    from embeddings.services import health as of_search

    return of_search.examine()


health.also_examine(_examine)
