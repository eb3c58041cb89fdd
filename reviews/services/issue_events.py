"""What GitHub tells of issues and labels: stored in order, and enriched where there is something new to read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils.dateparse import parse_datetime

from jobs.models import Job
from jobs.models.job import UNFINISHED
from reviews.models import EnrichmentState, GoneIssue, Issue, IssueTag, Repository, TagSource
from reviews.services import issue_labels, issue_requests
from reviews.services.issue_labels import put_by_human, removed_by_human

ENRICHED_ACTIONS = ("opened", "edited", "reopened")
GONE_ACTIONS = ("deleted", "transferred")
MAX_TITLE = 1000
MAX_NUMBER = 2**31 - 1
FIRST_YEAR, LAST_YEAR = 2000, 9000
_REPLACED = {0: "\ufffd", **dict.fromkeys(range(0xD800, 0xE000), "\ufffd")}


@dataclass(frozen=True)
class FromEvent:
    """What an event came to. text: “job …”, or “ignored, because …”; job_id: of the job that it started."""

    text: str
    job_id: str = ""
    repository: Repository | None = None
    issue: Issue | None = None


class _Unfit(ValueError):
    """The payload lacks what is needed; the message says what."""


def from_event(payload: Mapping[str, Any], repository: Repository | None = None) -> FromEvent:
    """Take in a payload of GitHub's event `issues` or `label`, and send what it starts, in one transaction.

    repository: its row, where the caller has it already.
    """
    try:
        with transaction.atomic():
            row = repository or _repository(payload)
            if "issue" in payload:
                return _issue_event(payload, row)
            return _label_event(payload, row)
    except _Unfit as exc:
        return FromEvent(f"ignored, because {exc}", repository=repository)


# --- issues --------------------------------------------------------------------------------------------------------


def _issue_event(payload: Mapping[str, Any], repository: Repository) -> FromEvent:
    action = _text(payload.get("action"))[:64]
    told = _mapping(payload, "issue")
    number = _number(told, "number")
    if told.get("pull_request"):
        return FromEvent("ignored, because it is a pull request", repository=repository)
    if action in GONE_ACTIONS:
        return _gone(repository, number, action)
    if GoneIssue.objects.filter(repository=repository, number=number).exists():
        why = f"issue {number} was deleted at GitHub, or transferred from there, before"
        return FromEvent(f"ignored, because {why}", repository=repository)
    issue, made = _row(repository, number, told)
    at = read_time(told.get("updated_at"))
    if not made and issue.github_updated_at and at and at < issue.github_updated_at:
        _late_label(issue, action, payload)
        return FromEvent("ignored, because a newer event of this issue came before", repository=repository, issue=issue)
    new_text = _store(issue, told, at) or made
    _labels(issue, action, payload, told, made=made)
    # Whatever the event tells of: that of the edit itself may come later, or be lost.
    edited = action == "edited" or (new_text and not made and action not in ENRICHED_ACTIONS)
    return _start(issue, action, new_text=new_text, edited=edited)


def _start(issue: Issue, action: str, *, new_text: bool, edited: bool) -> FromEvent:
    repository = issue.repository
    if repository is not None and not repository.issues_enabled:
        why = f"issues of {repository.full_name} are not enriched"
    elif action not in ENRICHED_ACTIONS and not new_text:
        why = f"the action {action!r} of an issue starts nothing; the text of issue {issue.pk} is as it was"
    elif not new_text and issue.enriched_hash == issue.content_hash:
        why = f"the text of issue {issue.pk} was read before"
    elif not new_text and _is_awaited(issue):
        why = f"issue {issue.pk} waits for job {issue.job_id}"
    else:
        job_id = issue_requests.after_grace(issue) if edited else issue_requests.at_once(issue)
        when = ", when nobody has edited it for a while" if issue.enrichment_state == EnrichmentState.WAITING else ""
        return FromEvent(f"job {job_id}: enriches issue {issue.pk}{when}", job_id, repository, issue)
    return FromEvent(f"ignored, because {why}", repository=repository, issue=issue)


def _is_awaited(issue: Issue) -> bool:
    """Whether its job is still to end: one that failed, or found enrichment switched off, reads it no more."""
    return Job.objects.filter(pk=issue.job_id, state__in=UNFINISHED).exists()


def _row(repository: Repository, number: int, told: Mapping[str, Any]) -> tuple[Issue, bool]:
    """The issue's row, locked, and whether it is new."""
    issue, made = Issue.objects.get_or_create(
        repository=repository, number=number, defaults={"title": "", "enrichment_state": EnrichmentState.WAITING}
    )
    locked = Issue.objects.select_for_update(of=("self",)).select_related("repository").get(pk=issue.pk)
    return locked, made


def _store(issue: Issue, told: Mapping[str, Any], at: datetime | None) -> bool:
    """Note what the event tells; whether title or body are others than before."""
    title = _text(told.get("title"))[:MAX_TITLE]
    body = _text(told.get("body"))
    user = told.get("user")
    digest = issue_requests.content_hash(title, body)
    new_text = digest != issue.content_hash
    changes: dict[str, Any] = {
        "title": title,
        "body": body,
        "content_hash": digest,
        "author": _text(user.get("login") if isinstance(user, Mapping) else "")[:100],
        "state": _text(told.get("state"))[:16] or "open",
        "url": _text(told.get("html_url"))[:500],
        "github_id": told["id"] if _is_id(told.get("id")) else issue.github_id,
        "github_updated_at": at or issue.github_updated_at,
    }
    for name, value in changes.items():
        setattr(issue, name, value)
    Issue.objects.filter(pk=issue.pk).update(**changes, updated_at=Now())
    created = read_time(told.get("created_at"))
    if created is not None:
        Issue.objects.filter(pk=issue.pk).update(created_at=created)
    return new_text


def _gone(repository: Repository, number: int, action: str) -> FromEvent:
    from reviews.services.issue_corpus import forget

    # Locked, since its enrichment may be putting its text into the collection at this moment.
    issue = Issue.objects.select_for_update(of=("self",)).filter(repository=repository, number=number).first()
    GoneIssue.objects.bulk_create([GoneIssue(repository=repository, number=number)], ignore_conflicts=True)
    if issue is None:
        return FromEvent(f"ignored, because the {action} issue {number} was not known", repository=repository)
    forget(issue)
    issue.delete()
    return FromEvent(f"ignored, because issue {number} was {action}; it is deleted here, too", repository=repository)


# --- labels of an issue --------------------------------------------------------------------------------------------


def _labels(issue: Issue, action: str, payload: Mapping[str, Any], told: Mapping[str, Any], *, made: bool) -> None:
    """Bring its labels to what GitHub has. What people gave or took there is theirs for ever."""
    there = _names(told.get("labels"))
    rows = {tag.name: tag for tag in IssueTag.objects.filter(issue=issue)}
    sender = _mapping_or_empty(payload, "sender")
    named, given = _named(action, payload), action == "labeled"
    if named and not _is_ours(issue, sender, rows.get(named), given=given):
        _one_label(issue, named, sender, given=given)
    author = _mapping_or_empty(told, "user")
    for name in there:
        row = rows.get(name)
        if name == named:
            continue
        if row is None:
            _unseen_label(issue, name, author if made else {})
        elif not row.at_github:
            IssueTag.objects.filter(pk=row.pk).update(at_github=True)
    IssueTag.objects.filter(issue=issue, at_github=True).exclude(name__in=there).update(at_github=False)
    IssueTag.objects.filter(issue=issue, name__in=there).update(at_github=True)
    if named and issue.repository is not None:
        from reviews.services.label_training import request_if_due

        request_if_due(issue.repository)


def _late_label(issue: Issue, action: str, payload: Mapping[str, Any]) -> None:
    """Who gave or took a label is told by that event alone; it counts while the newer event agrees that it is so."""
    name, given = _named(action, payload), action == "labeled"
    sender = _mapping_or_empty(payload, "sender")
    row = IssueTag.objects.filter(issue=issue, name=name).first()
    if name and given == (row is not None and row.at_github) and not _is_ours(issue, sender, row, given=given):
        _one_label(issue, name, sender, given=given)


def _named(action: str, payload: Mapping[str, Any]) -> str:
    """The label that an event gives or takes; empty for one of another kind."""
    changed = _mapping_or_empty(payload, "label")
    return _text(changed.get("name"))[: issue_labels.MAX_LABEL] if action in ("labeled", "unlabeled") else ""


def _one_label(issue: Issue, name: str, sender: Mapping[str, Any], *, given: bool) -> None:
    by = _text(sender.get("login"))
    if sender.get("type") != "Bot":
        (put_by_human if given else removed_by_human)(issue, name, by, at_github=given)
        return
    known = IssueTag.objects.filter(issue=issue, name=name).first()
    if known is not None and known.source == TagSource.HUMAN:
        IssueTag.objects.filter(pk=known.pk).update(at_github=given)
        return
    # Another program's decision: no person's, and not ours to undo.
    values = {"source": TagSource.RULE, "by": by[:150], "removed": not given, "at_github": given, "confidence": None}
    IssueTag.objects.update_or_create(issue=issue, name=name, defaults=values)


def _unseen_label(issue: Issue, name: str, author: Mapping[str, Any]) -> None:
    """A label that was there before we heard of it: somebody's, so a person's unless its author is a program."""
    by = _text(author.get("login"))[:150]
    source = TagSource.RULE if author.get("type") == "Bot" else TagSource.HUMAN
    IssueTag.objects.create(issue=issue, name=name, source=source, by=by, at_github=True)


def _is_ours(issue: Issue, sender: Mapping[str, Any], row: IssueTag | None, *, given: bool) -> bool:
    """Whether the event tells of what we did ourselves: we add labels that stand here, and take none off."""
    from reviews.github.access import ours

    if not given or row is None or row.removed:
        return False
    is_known = ours(_text(sender.get("login")))
    if sender.get("type") == "Bot" and is_known:
        return True
    # A personal token's account is a person's, too: theirs is what we do not add.
    if issue.repository is None or not issue.repository.apply_labels:
        return False
    # By a token of the environment we do not know our name here: a label that we add is taken for ours, also when this
    # event comes after we noted that it is there.
    return is_known or (issue.repository.access_id is None and row.source != TagSource.HUMAN)


# --- the repository's labels ---------------------------------------------------------------------------------------


def _label_event(payload: Mapping[str, Any], repository: Repository) -> FromEvent:
    label = _mapping(payload, "label")
    name = _text(label.get("name"))[: issue_labels.MAX_LABEL]
    if not name:
        raise _Unfit("the payload's label has no name")
    if repository.labels_fetched_at is None:
        return FromEvent("ignored, because the repository's labels have not been needed yet", repository=repository)
    action, description = _text(payload.get("action")), _text(label.get("description"))
    changed = _mapping_or_empty(_mapping_or_empty(payload, "changes"), "name")
    before = _text(changed.get("from")) or name
    actions: dict[str, Callable[[], None]] = {
        "created": lambda: issue_labels.label_made(repository, name, description),
        "edited": lambda: issue_labels.label_renamed(repository, before, name, description),
        "deleted": lambda: issue_labels.label_deleted(repository, name),
    }
    if action not in actions:
        return FromEvent(f"ignored, because the action {action[:64]!r} of a label is not known", repository=repository)
    # Events of several labels may be handled at once, each with the list that the others have not changed yet.
    locked = Repository.objects.select_for_update(no_key=True)
    repository.refresh_from_db(fields=["github_labels"], from_queryset=locked)
    actions[action]()
    text = f"ignored, because there is nothing to start; label {name!r} was {action}, and is so here"
    return FromEvent(text, repository=repository)


# --- reading payloads ----------------------------------------------------------------------------------------------


def _repository(payload: Mapping[str, Any]) -> Repository:
    told = _mapping(payload, "repository")
    number, name = told.get("id"), _text(told.get("full_name"))
    if not _is_id(number) or not 0 < len(name) <= 255:
        raise _Unfit("the payload's repository has no id and name")
    from reviews.services.deliveries import remember_repository  # which calls services that call this

    return remember_repository(int(number or 0), name)


def _mapping(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = payload.get(name)
    if not isinstance(value, Mapping):
        raise _Unfit(f"the payload has no {name}")
    return value


def _mapping_or_empty(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = payload.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(told: Mapping[str, Any], name: str) -> int:
    value = told.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_NUMBER:
        raise _Unfit(f"the payload's issue has no {name}")
    return value


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _text(value: Any) -> str:
    """As Postgres can hold it."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() and "\0" not in value else value.translate(_REPLACED)


def _names(labels: Any) -> list[str]:
    found = labels if isinstance(labels, list) else []
    names = [_text(one.get("name"))[: issue_labels.MAX_LABEL] for one in found if isinstance(one, Mapping)]
    return list(dict.fromkeys(name for name in names if name))[: issue_labels.MAX_LABELS]


def read_time(value: Any) -> datetime | None:
    """A time of GitHub's, with its zone; None for what is none, or lies where no issue can."""
    try:
        found = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if found is None or found.tzinfo is None:
        return None
    return found if FIRST_YEAR <= found.year <= LAST_YEAR else None
