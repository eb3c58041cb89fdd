"""What was pushed since the head that was reviewed last."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reviews.changes import ContentUnavailable, LineRanges
from reviews.diffs import parse_patch
from reviews.github.client import GitHubClient
from reviews.github.errors import GitHubError
from reviews.github.shapes import ListedFile

#: GitHub compares no more files, and stops there without a word.
MAX_COMPARED_FILES = 300


@dataclass(frozen=True)
class Since:
    """lines: path → lines of head that were pushed since; None: all of the file's. old_paths: path → former path.

    why_all: in words, why every line counts as pushed since then; empty where that is known of each.
    """

    lines: Mapping[str, LineRanges | None] = field(default_factory=dict)
    old_paths: Mapping[str, str] = field(default_factory=dict)
    why_all: str = ""

    def has(self, path: str, line: int, end_line: int) -> bool:
        """Whether any of these lines was pushed since."""
        if self.why_all:
            return True
        if path not in self.lines:
            return False
        pushed = self.lines[path]
        return pushed is None or pushed.first_within(line, end_line) is not None


def pushed_since(client: GitHubClient, full_name: str, reviewed: str, head: str) -> Since:
    """Raises GitHubError where GitHub does not answer at all."""
    if not reviewed:
        return Since(why_all="no head of it was reviewed before")
    if reviewed == head:
        return Since()
    try:
        compared = client.comparison(full_name, reviewed, head)
    except GitHubError as exc:
        if exc.status not in (404, 422):
            raise
        return Since(why_all=f"the head that was reviewed before, {reviewed[:12]}, is gone")
    if compared.status not in ("ahead", "identical"):
        return Since(
            old_paths=_old_paths(compared.files), why_all=f"the branch was rewritten after {reviewed[:12]} was reviewed"
        )
    if len(compared.files) >= MAX_COMPARED_FILES:
        return Since(
            old_paths=_old_paths(compared.files), why_all=f"more than {MAX_COMPARED_FILES} files were pushed since then"
        )
    lines = {entry.path: _lines(entry) for entry in compared.files if entry.status != "removed"}
    return Since(lines, _old_paths(compared.files))


def _old_paths(files: tuple[ListedFile, ...]) -> dict[str, str]:
    return {entry.path: entry.old_path for entry in files if entry.old_path and entry.old_path != entry.path}


def _lines(entry: ListedFile) -> LineRanges | None:
    if entry.patch is None:
        return LineRanges(()) if not entry.changes else None
    try:
        blocks = [block for hunk in parse_patch(entry.patch) for block in hunk.blocks]
    except ContentUnavailable:
        return None
    return LineRanges(tuple(block.added for block in blocks if block.added))
