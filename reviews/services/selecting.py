"""Which findings are told: what is new, matters enough, and fits in the budget."""

from collections.abc import Sequence
from dataclasses import dataclass

from reviews.changes import Change
from reviews.models import PullRequest, Told
from reviews.policy import ReviewSettings
from reviews.providers.base import Finding, Severity
from reviews.services.since import Since


@dataclass(frozen=True)
class Selection:
    """told: to be posted, the most severe first. known: told before, or on lines that were reviewed before.

    left_out: below the floor, or beyond the budget.
    """

    told: tuple[Finding, ...] = ()
    known: tuple[Finding, ...] = ()
    left_out: tuple[Finding, ...] = ()

    @property
    def count(self) -> int:
        return len(self.told) + len(self.known) + len(self.left_out)


def select(
    findings: Sequence[Finding], change: Change, row: PullRequest, since: Since, settings: ReviewSettings
) -> Selection:
    """A finding that people know of by its fingerprint is never told again, also where its file was renamed."""
    known_before = _KnownBefore(row, change, since)
    fresh: list[Finding] = []
    known: list[Finding] = []
    for finding in findings:
        pushed = since.has(finding.path, finding.line, finding.end_line)
        if pushed and known_before.add(finding):
            fresh.append(finding)
        else:
            known.append(finding)
    floor = Severity(settings.severity_floor).rank
    fresh.sort(key=lambda found: found.severity.rank)
    enough = [finding for finding in fresh if finding.severity.rank <= floor]
    below = [finding for finding in fresh if finding.severity.rank > floor]
    budget = settings.finding_budget
    return Selection(tuple(enough[:budget]), tuple(known), tuple(enough[budget:] + below))


class _KnownBefore:
    """What was told of a pull request, by path and fingerprint, and once each of this review itself."""

    def __init__(self, row: PullRequest, change: Change, since: Since) -> None:
        told = set(Told.objects.filter(pull_request=row).values_list("path", "fingerprint"))
        paths = {file.path for file in change.files}
        self._told = told
        # Of files that are gone from the change, whatever they are called now.
        self._moved = {fingerprint for path, fingerprint in told if path not in paths}
        self._old_paths = {file.path: file.old_path for file in change.files if file.old_path}
        self._since = since

    def add(self, finding: Finding) -> bool:
        """Whether it was not known; from now on it is."""
        names = {finding.path, self._old_paths.get(finding.path), self._since.old_paths.get(finding.path)}
        if finding.fingerprint in self._moved or any((name, finding.fingerprint) in self._told for name in names):
            return False
        self._told.add((finding.path, finding.fingerprint))
        return True


def remember_told(row: PullRequest, review_id: int, findings: Sequence[tuple[str, str]], since: Since) -> None:
    """Note what people know of now, (path, fingerprint) each, and what was told of files that were renamed since."""
    rows = [Told(pull_request=row, path=path, fingerprint=mark, review_id=review_id) for path, mark in findings]
    new_names = {old: new for new, old in since.old_paths.items()}
    renamed = Told.objects.filter(pull_request=row, path__in=new_names)
    rows += [
        Told(
            pull_request=row,
            path=new_names[told.path],
            fingerprint=told.fingerprint,
            review_id=told.review_id,
            dismissed_at=told.dismissed_at,
            dismissed_by=told.dismissed_by,
        )
        for told in renamed
    ]
    Told.objects.bulk_create(rows, ignore_conflicts=True)
