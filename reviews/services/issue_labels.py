"""Labels of issues: which there are, and which people gave or took; those of people stand for ever."""

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from jobs import Snooze
from jobs.operators.actors import Actor
from jobs.operators.search import is_storable
from reviews.models import Issue, IssueTag, Repository, TagSource

logger = logging.getLogger(__name__)

#: Of issues that belong to no repository.
DEFAULT_LABELS = ("bug", "documentation", "enhancement", "question")
MAX_LABEL = 100
MAX_LABELS = 100
_FRESH = timedelta(days=1)
#: GitHub, when it refused, is asked again after so long.
_AGAIN = timedelta(minutes=10)


class LabelRefused(ValueError):
    """A label that an issue cannot have; the message names those that it can."""


def known_labels(repository: Repository | None) -> list[str]:
    """What issues of a repository may be labelled with; empty where that is not known."""
    if repository is None:
        return list(DEFAULT_LABELS)
    if repository.issue_labels:
        return list(dict.fromkeys(repository.issue_labels))
    return [str(label["name"]) for label in repository.github_labels if isinstance(label, dict) and label.get("name")]


def refresh(repository: Repository | None) -> str:
    """Ask GitHub for a repository's labels where that is needed. Returns why it could not be done, or nothing."""
    if repository is None or repository.issue_labels or repository.github_id is None or repository.removed_at:
        return ""
    if repository.labels_fetched_at and repository.labels_fetched_at > timezone.now() - _FRESH:
        return ""
    from reviews.github.access import client_for
    from reviews.github.errors import GitHubError

    try:
        found = [
            {"name": label.name, "description": label.description[:200]}
            for label in client_for(repository).labels(repository.full_name)
        ]
    except (GitHubError, Snooze) as exc:
        # Also where GitHub is to be left alone: what is known of its labels will do until then.
        Repository.objects.filter(pk=repository.pk).update(labels_fetched_at=Now() - (_FRESH - _AGAIN))
        return f"its labels could not be fetched from GitHub: {exc}"
    repository.github_labels = found
    Repository.objects.filter(pk=repository.pk).update(github_labels=found, labels_fetched_at=Now())
    return ""


# --- by people -----------------------------------------------------------------------------------------------------


def label(actor: Actor, issue: Issue, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Issue:
    """Give an issue labels, and take others off, as a person; nothing automatic changes these any more.

    Raises PermissionDenied (reviews.change_issue), or LabelRefused for one that the repository does not have.
    """
    actor.require("reviews.change_issue")
    with transaction.atomic():
        issue = Issue.objects.select_for_update(of=("self",)).select_related("repository").get(pk=issue.pk)
        add, remove = _checked(issue, list(add)), _spelled(issue, list(remove))
        if both := set(add) & set(remove):
            raise LabelRefused(f"label {min(both)!r} is to be added and removed; choose one")
        for name in add:
            put_by_human(issue, name, actor.name)
        for name in remove:
            removed_by_human(issue, name, actor.name)
        Issue.objects.filter(pk=issue.pk).update(updated_at=Now())
        actor.record("issue.label", issue.pk, added=add, removed=remove)
        after_labels(issue)
    return _fresh(issue)


def set_labels(actor: Actor, issue: Issue, names: Sequence[str], shown: Collection[str] | None = None) -> Issue:
    """Have an issue bear these labels and no others, as a person. Raises what `label` raises.

    shown: those that it bore when the person looked; what came and went since then is left alone. None: as it is now.
    """
    before = sorted(set(issue.tags if shown is None else shown))
    had, wanted = ({name.strip().lower() for name in some} for some in (before, names))
    add = [name for name in names if name.strip().lower() not in had]
    return label(actor, issue, add, [name for name in before if name.strip().lower() not in wanted])


def put_by_human(issue: Issue, name: str, by: str, *, at_github: bool | None = None) -> None:
    values = {"source": TagSource.HUMAN, "by": by[:150], "confidence": None, "reason": "", "removed": False}
    if at_github is not None:
        values["at_github"] = at_github
    IssueTag.objects.update_or_create(issue=issue, name=name, defaults=values)


def removed_by_human(issue: Issue, name: str, by: str, *, at_github: bool | None = None) -> None:
    """Remember that it is not wanted, also where the issue did not have it."""
    values = {"source": TagSource.HUMAN, "by": by[:150], "confidence": None, "reason": "", "removed": True}
    if at_github is not None:
        values["at_github"] = at_github
    IssueTag.objects.update_or_create(issue=issue, name=name, defaults=values)


def _checked(issue: Issue, names: Sequence[str]) -> list[str]:
    """The names of labels to give, each once, as they are written here. Raises LabelRefused."""
    known = {one.lower(): one for one in known_labels(issue.repository)} if issue.repository else {}
    for name in names:
        if known and name.strip().lower() not in known:
            choices = ", ".join(sorted(known.values())[:40])
            raise LabelRefused(f"{issue.repository} has no label {name.strip()[:60]!r}; choose from: {choices}")
    return _spelled(issue, names)


def _spelled(issue: Issue, names: Sequence[str]) -> list[str]:
    """The names, each once, as the issue or else its repository writes them: case does not tell two labels apart.

    Raises LabelRefused for what can be no name.
    """
    if len(names) > MAX_LABELS:
        raise LabelRefused(f"{len(names)} labels; an issue takes up to {MAX_LABELS}")
    there = [*known_labels(issue.repository), *IssueTag.objects.filter(issue=issue).values_list("name", flat=True)]
    written = {one.lower(): one for one in there}
    found = []
    for plain in (name.strip() for name in names):
        if not is_storable(plain):
            raise LabelRefused(f"label {plain[:60]!r} has characters that cannot be stored, such as NUL")
        if not 0 < len(plain) <= MAX_LABEL:
            raise LabelRefused(f"label {plain[:60]!r} has {len(plain)} characters; it takes 1 to {MAX_LABEL}")
        found.append(written.get(plain.lower(), plain))
    return list(dict.fromkeys(found))


def after_labels(issue: Issue) -> None:
    """What follows when an issue's labels changed: they are applied at GitHub, and learned from."""
    from reviews.services import label_posting, label_training

    label_posting.request(issue)
    if issue.repository is not None:
        label_training.request_if_due(issue.repository)


def labels_by_people(issues: Iterable[int]) -> dict[int, list[str]]:
    """Issue → the labels that people gave it, of those that have any."""
    found: dict[int, list[str]] = {}
    rows = IssueTag.objects.filter(issue__in=list(issues), source=TagSource.HUMAN, removed=False)
    for issue, name in rows.values_list("issue_id", "name"):
        found.setdefault(issue, []).append(name)
    return found


# --- the repository's list, as GitHub tells of it ------------------------------------------------------------------


def label_made(repository: Repository, name: str, description: str) -> None:
    kept = [one for one in repository.github_labels if one.get("name") != name]
    _keep(repository, [*kept, {"name": name, "description": description[:200]}])


def label_renamed(repository: Repository, before: str, name: str, description: str) -> None:
    kept = [one for one in repository.github_labels if one.get("name") not in (before, name)]
    _keep(repository, [*kept, {"name": name, "description": description[:200]}])
    if before != name:
        of_repository = IssueTag.objects.filter(issue__repository=repository)
        has_both = of_repository.filter(name=name).values("issue")
        of_repository.filter(name=before).exclude(issue__in=has_both).update(name=name)


def label_deleted(repository: Repository, name: str) -> None:
    _keep(repository, [one for one in repository.github_labels if one.get("name") != name])
    gone = IssueTag.objects.filter(issue__repository=repository, name=name)
    gone.filter(~Q(source=TagSource.HUMAN)).delete()
    gone.update(at_github=False)


def _keep(repository: Repository, labels: list[dict[str, str]]) -> None:
    repository.github_labels = labels
    Repository.objects.filter(pk=repository.pk).update(github_labels=labels)


def _fresh(issue: Issue) -> Issue:
    return Issue.objects.select_related("repository").prefetch_related("tag_rows").get(pk=issue.pk)
