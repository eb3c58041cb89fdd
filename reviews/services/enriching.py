"""What is added to an issue: a summary, labels, and others that resemble it.

queued → running → done | failed. The row's round says for whom a result is: one that was made for an older text, or
before somebody wished it done again, is thrown away.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from jobs import Discard, Snooze, job
from jobs.ledger.errors import JobMovedOn
from jobs.operators.actors import Actor
from reviews.enrichment import cleaning, language, redaction, rules, similar, summary, votes, words
from reviews.enrichment.features import features
from reviews.enrichment.similar import Alike
from reviews.enrichment.suggested import Suggested, sure
from reviews.models import EnrichmentState, Issue, IssueTag, TagSource
from reviews.policy import OFFLINE
from reviews.services import (
    issue_corpus,
    issue_labels,
    issue_material,
    issue_requests,
    label_posting,
    label_training,
    lost_work,
)
from reviews.services.rendering import mask

logger = logging.getLogger(__name__)

MAX_ERROR = 1000


class _Later(Exception):
    """Nothing is to be done now; the message says why."""


@dataclass(frozen=True)
class Enrichment:
    """What was made of one text. notes: what was left out, for people."""

    summary: str
    summary_source: str
    language: str
    tags: list[Suggested]
    alike: list[Alike]
    terms: list[str]
    text: str
    notes: tuple[str, ...] = field(default=())


def enrich(issue_id: int) -> dict[str, Any]:
    """Enrich an issue, unless its text is the one that was read before. Run by the job `enrich_issue`."""
    try:
        issue = _claim(issue_id)
    except _Later as exc:
        return {"enriched": False, "note": str(exc)}
    try:
        made = make(issue)
        job.progress(0.9, "storing")
        stored = _store(issue, made)
    except Snooze:
        _of_round(issue).update(enrichment_state=EnrichmentState.QUEUED)
        raise
    except JobMovedOn:
        # Another run has the job, and says how it ends.
        raise
    except BaseException as exc:
        _fail(issue, exc)
        raise
    if not stored:
        return {"enriched": False, "note": "the text was changed meanwhile; another job reads the new one"}
    return {"enriched": True, "tags": [tag.name for tag in made.tags], "similar": len(made.alike)}


def rerun(actor: Actor, issue: Issue) -> Issue:
    """Have an issue enriched again, whatever was made of it. Raises PermissionDenied (reviews.enrich_issue)."""
    actor.require("reviews.enrich_issue")
    with transaction.atomic():
        locked = Issue.objects.select_for_update(of=("self",)).get(pk=issue.pk)
        job_id = issue_requests.at_once(locked)
        actor.record("issue.enrich", issue.pk, job=job_id, was=issue.enrichment_state)
    return Issue.objects.select_related("repository").prefetch_related("tag_rows").get(pk=issue.pk)


# --- states --------------------------------------------------------------------------------------------------------


def _claim(issue_id: int) -> Issue:
    """Take the issue as it is now. Raises _Later, or Discard for one that is gone."""
    with transaction.atomic():
        rows = Issue.objects.select_for_update(of=("self",)).select_related("repository")
        issue = rows.filter(pk=issue_id).first()
        if issue is None:
            raise Discard(f"issue {issue_id} is deleted")
        repository = issue.repository
        row = Issue.objects.filter(pk=issue.pk)
        if repository is not None and not repository.issues_enabled:
            why = f"issues of {repository.full_name} are not enriched: it is switched off for the repository"
            row.update(enrichment_state=EnrichmentState.WAITING, enrichment_error=why)
        elif issue.enrichment_state == EnrichmentState.DONE and issue.enriched_hash == issue.content_hash:
            why = "its text was read before"
        else:
            row.update(enrichment_state=EnrichmentState.RUNNING, enrichment_error="")
            return issue
    raise _Later(why)


def _of_round(issue: Issue) -> Any:
    return Issue.objects.filter(pk=issue.pk, enrichment_round=issue.enrichment_round)


def _fail(issue: Issue, exc: BaseException) -> None:
    text = " ".join(mask(f"{type(exc).__name__}: {exc}").split())[:MAX_ERROR]
    _of_round(issue).update(enrichment_state=EnrichmentState.FAILED, enrichment_error=text)


def _store(issue: Issue, made: Enrichment) -> bool:
    """Keep what was made, unless the issue was edited or asked for again meanwhile; whether it was kept."""
    with transaction.atomic():
        if not _of_round(issue).select_for_update().exists():
            return False
        _of_round(issue).update(
            ai_summary=made.summary,
            summary_source=made.summary_source[:64],
            language=made.language,
            similar=[one.as_row() for one in made.alike[: similar.MOST_SHOWN]],
            terms=made.terms,
            enrichment_state=EnrichmentState.DONE,
            enrichment_error="; ".join(made.notes)[:MAX_ERROR],
            enriched_hash=issue.content_hash,
            enriched_at=Now(),
        )
        _store_tags(issue, made.tags)
        issue_corpus.keep(issue, made.text)
        label_posting.request(issue)
    return True


def _store_tags(issue: Issue, tags: Sequence[Suggested]) -> None:
    """Put the labels beside those of people, which stand, as do those that GitHub has."""
    kept = Q(source=TagSource.HUMAN) | Q(removed=True) | Q(at_github=True)
    IssueTag.objects.filter(~kept, issue=issue).exclude(name__in=[tag.name for tag in tags]).delete()
    settled = {
        name.lower()
        for name in IssueTag.objects.filter(Q(source=TagSource.HUMAN) | Q(removed=True), issue=issue).values_list(
            "name", flat=True
        )
    }
    for tag in tags:
        if tag.name.lower() in settled:
            continue
        values = {
            "source": TagSource(tag.source),
            "by": tag.by[:150],
            "confidence": round(tag.confidence, 3),
            "reason": tag.reason[:500],
        }
        IssueTag.objects.update_or_create(issue=issue, name=tag.name, defaults=values)


# --- what is made --------------------------------------------------------------------------------------------------


def make(issue: Issue) -> Enrichment:
    """Read an issue's text; nothing is stored."""
    notes = [note] if (note := issue_labels.refresh(issue.repository)) else []
    cleaned = _cleaned(issue)
    job.progress(0.2, "looking for similar issues")
    terms = words.terms(cleaned.title, cleaned.body)
    by_word = issue_material.nearest(issue, terms)
    by_meaning = issue_corpus.alike(issue, cleaned.text)
    alike = similar.fused(by_word, by_meaning)
    job.progress(0.5, "choosing labels and summary")
    allowed = issue_labels.known_labels(issue.repository)
    tags = _offline_tags(issue, cleaned, allowed, by_meaning)
    chosen = summary.summarise(cleaned)
    made = Enrichment(
        summary=chosen.text,
        summary_source=OFFLINE,
        language=language.detect(cleaned.text),
        tags=sure(tags),
        alike=alike,
        terms=terms,
        text=cleaned.text,
        notes=tuple(notes),
    )
    if issue.repository is None or issue.repository.issue_provider == OFFLINE:
        return made
    from reviews.services import issue_llm

    return issue_llm.better(issue, cleaned, allowed, made)


def _cleaned(issue: Issue) -> cleaning.Cleaned:
    """The issue's prose without personal data: nobody else, no index and no summary gets more."""
    found = cleaning.clean(issue.title, redaction.redact(issue.body[: cleaning.MAX_READ]), _template(issue))
    return cleaning.Cleaned(redaction.redact(found.title), found.paragraphs, found.cut)


def _template(issue: Issue) -> frozenset[str]:
    return issue_material.template_of(issue)


def _offline_tags(
    issue: Issue, cleaned: cleaning.Cleaned, allowed: Sequence[str], neighbours: Sequence[Alike]
) -> list[Suggested]:
    if not allowed:
        return []
    about = [name for name in allowed if not rules.is_about_handling(name)]
    found = rules.by_rules(issue.title, about)
    learned = label_training.classifier_of(issue.repository)
    if learned is not None:
        found += learned.suggest(features(cleaned), about)
    if neighbours:
        labels_of = issue_labels.labels_by_people(one.issue for one in neighbours)
        found += votes.by_neighbours([(one.issue, one.score) for one in neighbours], labels_of, about)
    return found


def settle_lost() -> int:
    """Issues that wait for a job which will not run any more are failed, and say so; how many."""
    unfinished = (EnrichmentState.WAITING, EnrichmentState.QUEUED, EnrichmentState.RUNNING)
    rows = Issue.objects.filter(enrichment_state__in=unfinished).defer("body", "terms")
    return sum(
        _of_round(issue)
        .filter(enrichment_state__in=unfinished)
        .update(enrichment_state=EnrichmentState.FAILED, enrichment_error=why)
        for issue, why in lost_work.waiting_in_vain(rows)
    )
