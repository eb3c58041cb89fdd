"""What people say of a finding: that it is none, or that it is done. A dismissed one stays dismissed."""

from django.db import transaction
from django.db.models.functions import Now

from jobs.operators.actors import Actor
from reviews.models import Finding, FindingState, PullRequest, Told

OPEN = (FindingState.NEW, FindingState.POSTED)


class FindingNotChanged(Exception):
    """The finding is not in a state that allows it; the message says why."""


@transaction.atomic
def dismiss(finding_id: int, *, by: str = "", actor: Actor | None = None) -> Finding:
    """Have a finding not told again on its pull request, however its lines move.

    actor: an operator, whose permission (reviews.dismiss_finding) is checked and noted; else `by`, whom GitHub knows.
    Raises Finding.DoesNotExist, FindingNotChanged, PermissionDenied.
    """
    finding = _locked(finding_id, actor)
    if finding.state == FindingState.DISMISSED:
        raise FindingNotChanged(f"finding {finding_id} is dismissed already, by {finding.closed_by or 'somebody'}")
    who = _who(by, actor)
    pull_request = finding.review.pull_request
    if pull_request is not None:
        told, _ = Told.objects.get_or_create(
            pull_request=pull_request,
            path=finding.path,
            fingerprint=finding.fingerprint,
            defaults={"review": finding.review},
        )
        Told.objects.filter(pk=told.pk).update(dismissed_at=Now(), dismissed_by=who)
    _close(finding, FindingState.DISMISSED, who)
    if actor is not None:
        actor.record("finding.dismiss", f"{finding.review}: {finding}")
    return finding


@transaction.atomic
def resolve(finding_id: int, *, by: str = "", actor: Actor | None = None) -> Finding:
    """Note that a finding was taken care of. Raises as `dismiss` does."""
    finding = _locked(finding_id, actor)
    if finding.state not in OPEN:
        raise FindingNotChanged(f"finding {finding_id} is {finding.get_state_display()}, so it cannot be resolved")
    _close(finding, FindingState.RESOLVED, _who(by, actor))
    if actor is not None:
        actor.record("finding.resolve", f"{finding.review}: {finding}")
    return finding


def resolve_all(pull_request: PullRequest, by: str) -> list[Finding]:
    """All that were posted on a pull request and are still open; returns them."""
    with transaction.atomic():
        found = list(
            Finding.objects.select_for_update(of=("self",))
            .filter(review__pull_request=pull_request, state=FindingState.POSTED)
            .order_by("pk")
        )
        for finding in found:
            _close(finding, FindingState.RESOLVED, by)
    return found


def _locked(finding_id: int, actor: Actor | None) -> Finding:
    if actor is not None:
        actor.require("reviews.dismiss_finding")
    if not 0 < finding_id < 2**63:
        raise Finding.DoesNotExist(f"no finding {finding_id}")
    rows = Finding.objects.select_for_update(of=("self",)).select_related("review__pull_request", "review__repository")
    try:
        return rows.get(pk=finding_id)
    except Finding.DoesNotExist:
        raise Finding.DoesNotExist(f"no finding {finding_id}") from None


def _who(by: str, actor: Actor | None) -> str:
    return (actor.name if actor is not None else by)[:150]


def _close(finding: Finding, state: FindingState, who: str) -> None:
    finding.state, finding.closed_by = state, who
    finding.save(update_fields=["state", "closed_by"])
