"""Issues as documents of the collection `issues`: what resembles one in meaning, where an index of them exists."""

import logging
from typing import TYPE_CHECKING, Any

from django.db import transaction

from reviews.enrichment.similar import MOST_NEIGHBOURS, Alike
from reviews.interruptions import INTERRUPTIONS
from reviews.models import Issue, Repository

if TYPE_CHECKING:
    from embeddings.corpus import Corpus

logger = logging.getLogger(__name__)

NAME = "issues"
#: Who may search it beside superusers: issues of private repositories are in it.
READERS = "Readers of issues"
MOST_AT_ONCE = 1_000
DESCRIPTION = "Issues of repositories, without code, logs and personal data; kept by the enrichment of issues."


def keep(issue: Issue, text: str) -> None:
    """Put an issue's cleaned text into the collection; it is embedded by a job."""
    item = {"id": str(issue.pk), "text": text, "metadata": _place(issue)}
    try:
        with transaction.atomic():
            result = _corpus().put([item])
        if result.errors:
            logger.warning("Issue %s is not in the collection %s: %s", issue.pk, NAME, result.errors[0].error)
    except INTERRUPTIONS:
        raise
    except Exception:
        # Enrichment does not hang on search.
        logger.exception("Issue %s could not be put into the collection %s", issue.pk, NAME)


def _corpus() -> "Corpus":
    from django.contrib.auth.models import Group

    from embeddings.corpus import Corpus
    from embeddings.models import Collection

    if Collection.objects.filter(name=NAME).exists():
        return Corpus(NAME)
    Group.objects.get_or_create(name=READERS)
    # Without a fast encoder: nobody waits for a vector at once, and this process need not load one.
    return Corpus.ensure(NAME, description=DESCRIPTION, fast_encoder="", groups=[READERS])


def forget(issue: Issue) -> None:
    from embeddings.corpus import Corpus
    from embeddings.models import Document

    if Document.objects.filter(collection__name=NAME, external_id=str(issue.pk)).exists():
        Corpus(NAME).delete([str(issue.pk)])


def forget_of(repository_id: int) -> int:
    """Forget all issues of a repository that was deleted here; how many."""
    from embeddings.corpus import Corpus
    from embeddings.models import Document

    deleted = 0
    while not Repository.objects.filter(pk=repository_id).exists():
        found = Document.objects.filter(collection__name=NAME, metadata__contains={"repository": repository_id})
        ids = list(found.values_list("external_id", flat=True)[:MOST_AT_ONCE])
        if not ids:
            break
        deleted += Corpus(NAME).delete(ids)
    return deleted


def alike(issue: Issue, text: str) -> list[Alike]:
    """Issues of the same repository that resemble a text in meaning; none where no index of them is in use."""
    from embeddings.corpus import Corpus
    from embeddings.models import Collection

    if not text or not Collection.objects.filter(name=NAME, active_version__isnull=False).exists():
        return []
    try:
        with transaction.atomic():
            hits = Corpus(NAME).similar(text=text, k=MOST_NEIGHBOURS + 1, filters=_place(issue))
    except INTERRUPTIONS:
        raise
    except Exception:
        logger.exception("What resembles issue %s in meaning is left out", issue.pk)
        return []
    return [
        Alike(int(hit.id), max(0.0, min(1.0, hit.score)), "means something alike")
        for hit in hits
        if hit.id.isdigit() and int(hit.id) != issue.pk
    ]


def _place(issue: Issue) -> dict[str, Any]:
    return {"repository": issue.repository_id or 0}
