"""What is read from the store to enrich one issue."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.db.models.functions import Left

from reviews.enrichment import cleaning
from reviews.enrichment.similar import Alike, TermIndex
from reviews.models import Issue

#: The newest issues of a repository, among which similar ones are looked for.
MOST_COMPARED = 3_000
#: With those that came since, before it is read anew; and of how many repositories they are kept.
MOST_KEPT = 4_500
MOST_REPOSITORIES = 8
OVERLAP = timedelta(minutes=5)
#: Of whose latest bodies the template is told.
TEMPLATE_SAMPLE = 50
TEMPLATE_CHARACTERS = 20_000


def template_of(issue: Issue) -> frozenset[str]:
    newest = _siblings(issue).order_by("-created_at")
    bodies = newest.values_list(Left("body", TEMPLATE_CHARACTERS), flat=True)[:TEMPLATE_SAMPLE]
    return cleaning.template_lines(bodies)


def nearest(issue: Issue, terms: list[str]) -> list[Alike]:
    """Issues of the same repository that share words with this one, the most alike first."""
    return _index_of(issue).nearest(terms, exclude=issue.pk)


def _index_of(issue: Issue) -> TermIndex:
    """The terms of the repository's newest issues; kept in this process, and brought up to date."""
    known = _kept.pop(issue.repository_id, None)
    if known is None or len(known.index) > MOST_KEPT:
        known = _Kept()
        newest = _siblings(issue).exclude(terms=[]).order_by("-created_at")
        rows = list(newest.values_list("pk", "enriched_at", "terms")[:MOST_COMPARED])
    else:
        # A transaction that began before the last one that was seen may have been committed after it.
        since = known.until - OVERLAP if known.until else None
        changed = _siblings(issue).filter(enriched_at__gte=since) if since else _siblings(issue)
        times = dict(changed.values_list("pk", "enriched_at"))
        fresh = [pk for pk, at in times.items() if known.at.get(pk) != at]
        rows = list(Issue.objects.filter(pk__in=fresh).values_list("pk", "enriched_at", "terms")[:MOST_COMPARED])
    for pk, at, terms in rows:
        known.put(pk, at, terms)
    _kept[issue.repository_id] = known  # the one that was used last stands last
    while len(_kept) > MOST_REPOSITORIES:
        del _kept[next(iter(_kept))]
    return known.index


@dataclass
class _Kept:
    """at: when each issue was enriched; until: the latest of these."""

    index: TermIndex = field(default_factory=TermIndex)
    at: dict[int, datetime | None] = field(default_factory=dict)
    until: datetime | None = None

    def put(self, issue: int, at: datetime | None, terms: list[str]) -> None:
        self.index.put(issue, terms)
        self.at[issue] = at
        if at is not None and (self.until is None or at > self.until):
            self.until = at


_kept: dict[int | None, _Kept] = {}


def _siblings(issue: Issue) -> QuerySet[Issue]:
    """Of the same repository: what others are about is not told across them."""
    return Issue.objects.filter(repository=issue.repository_id)
