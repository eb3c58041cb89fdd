"""Indexes of repositories' code: listed, asked for, and removed."""

from django.db import transaction
from django.db.models import Q, QuerySet

from jobs.operators.actors import Actor
from jobs.operators.lookups import find
from jobs.operators.search import is_storable
from reviews.models import CodeIndex, Repository
from reviews.operators.lookups import repository_named
from reviews.services import code_index
from reviews.services.code_index import IndexRefused

__all__ = ["PERMISSION", "IndexRefused", "code_indexes", "find_code_index", "remove_index", "request_index"]

PERMISSION = "reviews.index_repository"


def code_indexes(*, repository: str = "", state: "str | list[str]" = "") -> "QuerySet[CodeIndex]":
    found = CodeIndex.objects.select_related("repository")
    if not is_storable(repository):
        return found.none()
    conditions = Q()
    if repository:
        conditions &= Q(repository__full_name__iexact=repository)
    if state:
        conditions &= Q(state__in=[state] if isinstance(state, str) else state)
    return found.filter(conditions)


def find_code_index(index_id: int) -> CodeIndex:
    """Raises NotHere."""
    return find(code_indexes(), index_id, "code index")


def request_index(actor: Actor, repository: str) -> tuple[Repository, str]:
    """Have a repository's code indexed; the repository, and the job's id.

    Raises PermissionDenied (reviews.index_repository), NotHere, IndexRefused.
    """
    actor.require(PERMISSION)
    row = repository_named(repository)
    return row, code_index.request(actor, row)


def remove_index(actor: Actor, index_id: int) -> str:
    """Have an index removed, with its mirror and chunks; the job's id.

    A push makes it anew unless `index_enabled` is switched off. Raises PermissionDenied (reviews.index_repository),
    NotHere.
    """
    from reviews.tasks import forget_repository  # tasks call services

    actor.require(PERMISSION)
    index = find_code_index(index_id)
    with transaction.atomic():
        sent = forget_repository.apply_async(kwargs={"repository_id": index.repository_id})
        actor.record("index.remove", index.repository.full_name, job=sent.id)
    return str(sent.id)
