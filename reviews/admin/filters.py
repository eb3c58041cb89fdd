"""Filters of the pages of reviews."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.admin.filters import FixedFilter, note
from reviews.llm import accounts
from reviews.models import PullRequestReview, Repository

MOST_REPOSITORIES = 200
#: No index serves some filters: they look at no more rows than this.
NEWEST = 10_000


def newest(request: HttpRequest, queryset: QuerySet[Any], order: str) -> QuerySet[Any]:
    """Only the newest rows, which is said above the list."""
    note(request, f"This filter looks at the newest {NEWEST:,} rows.")
    ids = queryset.model._default_manager.order_by(f"-{order}").values("pk")[:NEWEST]
    return queryset.filter(pk__in=ids)


class ChoiceFilter(FixedFilter):
    """choices_of: value and text of each. Whoever names something else in the address is offered that too."""

    choices_of: tuple[tuple[str, str], ...] = ()
    takes_others = False

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        choices = list(self.choices_of)
        given = request.GET.get(str(self.parameter_name), "")
        if self.takes_others and given and given not in dict(choices):
            choices.append((given, given[:80]))
        return choices


class RepositoryFilter(FixedFilter):
    title = "repository"
    parameter_name = "repository"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = list(Repository.objects.order_by("full_name").values_list("full_name", flat=True)[:MOST_REPOSITORIES])
        given = request.GET.get("repository")
        return [(name, name) for name in dict.fromkeys([*names, *([given] if given else [])])]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(repository__full_name=value)


class ProviderFilter(FixedFilter):
    """Of reviews: the embedded reviewer, and the language models that are entered."""

    title = "provider"
    parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in dict.fromkeys(["embedded", *accounts.names()])]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if queryset.model is PullRequestReview:
            queryset = newest(request, queryset, "created_at")
        return queryset.filter(provider=value)
