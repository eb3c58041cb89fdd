"""Which repository a name means: one may have been deleted at GitHub, and another made under its name."""

from django.db.models import F, QuerySet

from reviews.models import Repository

# One that is there goes before those that are gone; then one that GitHub knows, before one of which we have the name.
_MEANT_FIRST = (F("removed_at").desc(nulls_first=True), F("github_id").asc(nulls_last=True), "pk")


def by_name(full_name: str) -> QuerySet[Repository]:
    """The repositories that have a name, or had it; the one that is meant first. full_name: storable."""
    rows = Repository.objects.select_related("access", "installation")
    return rows.filter(full_name__iexact=full_name).order_by(*_MEANT_FIRST)
