"""Comments on a change, put to the test of where GitHub takes them."""

from collections.abc import Sequence

from reviews.bench.inside.shown import ShownChange
from reviews.changes import Change, FileChange
from reviews.providers.base import Finding, Severity
from reviews.services.review_text import sort_findings
from reviews.standin.anchors import is_anchored

#: Per file: the first changes in it are each commented, once on their lines and once beyond.
PROBED_BLOCKS = 20


def refused(shown: ShownChange, findings: Sequence[Finding]) -> tuple[int, list[str]]:
    """(comments made, those of them that GitHub would refuse): on the findings, and on made-up ones of all changes."""
    comments, _ = sort_findings(shown.change, [*findings, *_probes(shown.change)])
    wrong = [one for one in comments if not is_anchored(one, shown.patches.get(one["path"], ""))]
    return len(comments), [f"{one['path']}:{one.get('start_line', '')}-{one['line']}" for one in wrong]


def _probes(change: Change) -> list[Finding]:
    return [probe for file in change.files if file.anchored for probe in _probes_of(file)]


def _probes_of(file: FileChange) -> list[Finding]:
    """On each change's lines; from each on to lines that the diff does not show; and before them."""
    blocks = [block.added for block in file.blocks if block.added][:PROBED_BLOCKS]
    spans = [(lines.start, lines.stop - 1) for lines in blocks]
    spans += [(lines.start, lines.stop + 20) for lines in blocks]
    spans += [(max(1, lines.start - 20), lines.start) for lines in blocks]
    return [_probe(file.path, *span) for span in spans]


def _probe(path: str, first: int, last: int) -> Finding:
    return Finding(path, first, last, "probe", "a probe", Severity.LOW, "", "", f"{first}-{last}")
