"""Learning a repository's labels from the issues that its people labelled."""

import logging
import time
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Left, Now

from jobs.operators.actors import Actor
from reviews.enrichment import classifier, cleaning
from reviews.enrichment.classifier import BadArchive, Classifier
from reviews.models import Issue, IssueClassifier, IssueTag, Repository, TagSource
from reviews.services.issue_labels import known_labels, labels_by_people

logger = logging.getLogger(__name__)

MOST_ISSUES = 3_000
#: It is learned anew when a tenth more is known, and not for fewer new examples than this.
LEAST_NEW = 10
WAIT_SECONDS = 120.0
SAMPLE = 50


_loaded: dict[int, tuple[Any, Classifier]] = {}


def _labelled(repository: Repository) -> Any:
    given = IssueTag.objects.filter(issue=OuterRef("pk"), source=TagSource.HUMAN, removed=False)
    return Issue.objects.filter(Exists(given), repository=repository)


def request_if_due(repository: Repository) -> str:
    """Send the job that learns, where enough is new; its id, or nothing. In the caller's transaction."""
    from reviews.enrichment.training import LEAST_ISSUES

    known = IssueClassifier.objects.filter(repository=repository).values_list("examples", flat=True).first() or 0
    due = max(LEAST_ISSUES, known + max(LEAST_NEW, known // 10))
    # Whether there are so many; how many more does not matter.
    if known >= MOST_ISSUES or len(_labelled(repository).values_list("pk")[:due]) < due:
        return ""
    return request(repository)


def request(repository: Repository) -> str:
    from reviews.tasks import train_issue_labels  # tasks call services

    sent = train_issue_labels.apply_async(kwargs={"repository_id": repository.pk})
    return str(sent.id)


def request_by(actor: Actor, repository: Repository) -> str:
    """Send the job that learns, as an operator. Raises PermissionDenied (reviews.enrich_issue)."""
    actor.require("reviews.enrich_issue")
    with transaction.atomic():
        job_id = request(repository)
        actor.record("issue.train", repository.full_name, job=job_id)
    return job_id


def train(repository_id: int) -> dict[str, Any]:
    """Learn from the newest labelled issues; what was learned before is replaced, also where nothing is learned."""
    from reviews.enrichment.features import features
    from reviews.enrichment.training import learn

    began = time.perf_counter()
    repository = Repository.objects.filter(pk=repository_id).first()
    if repository is None:
        return {"trained": False, "note": "the repository is gone"}
    rows = list(
        _labelled(repository)
        .order_by("-created_at", "-id")
        .values_list("pk", "title", Left("body", cleaning.MAX_READ))[:MOST_ISSUES]
    )
    given = labels_by_people(issue for issue, _, _ in rows)
    allowed = set(known_labels(repository))
    template = cleaning.template_lines(body for _, _, body in rows[:SAMPLE])
    texts = [features(cleaning.clean(title, body, template)) for _, title, body in rows]
    learned = learn(texts, [[name for name in given.get(issue, ()) if name in allowed] for issue, _, _ in rows])
    IssueClassifier.objects.update_or_create(
        repository=repository,
        defaults={
            "weights": learned.classifier.dump() if learned.classifier else b"",
            "labels": learned.labels,
            "examples": len(rows),
            "note": learned.note,
            "seconds": round(time.perf_counter() - began, 3),
            "trained_at": Now(),
        },
    )
    trained = learned.classifier is not None
    return {"trained": trained, "examples": len(rows), "labels": learned.labels, "note": learned.note}


def classifier_of(repository: Repository | None) -> Classifier | None:
    """What was learned of a repository; kept in this process until it is learned anew."""
    if repository is None:
        return None
    row = IssueClassifier.objects.filter(repository=repository).only("trained_at").first()
    if row is None:
        return None
    kept = _loaded.get(repository.pk)
    if kept is not None and kept[0] == row.trained_at:
        return kept[1]
    weights = bytes(IssueClassifier.objects.filter(pk=row.pk).values_list("weights", flat=True).first() or b"")
    if not weights:
        return None
    try:
        found = classifier.load(weights)
    except BadArchive as exc:
        logger.warning("What was learned of the labels of %s is left out: %s", repository, exc)
        return None
    if len(_loaded) >= 20:
        _loaded.clear()
    _loaded[repository.pk] = (row.trained_at, found)
    return found
