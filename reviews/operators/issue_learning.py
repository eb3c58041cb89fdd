"""A repository's issues as a whole: fetched from GitHub, and learned from. Each is done by a job."""

from jobs.operators.actors import Actor
from reviews.operators.repositories import find_repository
from reviews.services import issue_importing, label_training

PERMISSION = "reviews.enrich_issue"


def import_issues(actor: Actor, repository_id: int) -> str:
    """Have a repository's issues fetched from GitHub, and its labels learned from them; the job's id.

    Raises PermissionDenied (reviews.enrich_issue), NotHere, UnknownRepository for one that GitHub never told
    of, or that is gone.
    """
    actor.require(PERMISSION)
    return issue_importing.request(actor, find_repository(repository_id))


def learn_labels(actor: Actor, repository_id: int) -> str:
    """Have a repository's labels learned from its issues here; the job's id.

    Raises PermissionDenied (reviews.enrich_issue), NotHere.
    """
    actor.require(PERMISSION)
    return label_training.request_by(actor, find_repository(repository_id))
