"""Unified diffs → hunks."""

from collections.abc import Iterable

from unidiff.errors import UnidiffParseError
from unidiff.patch import Line, PatchSet

from reviews.changes import Block, ContentUnavailable, Hunk


def parse_patch(patch: str) -> tuple[Hunk, ...]:
    """Read the hunks of one file. patch: unified diff text; what stands before the first `@@` is left out.

    Raises ContentUnavailable for text that is not a diff.
    """
    start = 0 if patch.startswith("@@ ") else patch.find("\n@@ ") + 1
    if not start and not patch.startswith("@@ "):
        return ()
    text = patch[start:]
    if not text.endswith("\n"):
        text += "\n"
    try:
        files = PatchSet.from_string("--- a\n+++ b\n" + text)
    except UnidiffParseError as exc:
        raise ContentUnavailable(f"its diff cannot be read: {exc}") from None
    return tuple(
        Hunk(
            old=range(hunk.source_start, hunk.source_start + hunk.source_length),
            new=range(hunk.target_start, hunk.target_start + hunk.target_length),
            blocks=tuple(_blocks(hunk)),
        )
        for file in files
        for hunk in file
    )


def undo_patch(head: bytes, patch: str) -> bytes | None:
    """What a file was before a patch, from what it is after it; a last line without a newline gets one.

    None when the patch does not fit, as when the forge has changed the file's encoding to show it.
    """
    lines = head.split(b"\n")
    before: list[bytes] = []
    position = 0
    try:
        (file,) = PatchSet.from_string("--- a\n+++ b\n" + patch + "\n")
    except (UnidiffParseError, ValueError):
        return None
    for hunk in file:
        start = hunk.target_start - (1 if hunk.target_length else 0)
        before += lines[position:start]
        position = start
        for line in hunk:
            value = line.value.removesuffix("\n").encode("utf-8", "surrogatepass")
            if line.is_removed:
                before.append(value)
            elif line.is_added or line.is_context:
                if position >= len(lines) or lines[position] != value:
                    return None
                if line.is_context:
                    before.append(value)
                position += 1
    return b"\n".join([*before, *lines[position:]])


def _blocks(lines: Iterable[Line]) -> Iterable[Block]:
    """Runs of removed and added lines between lines of context."""
    removed: list[int] = []
    added: list[int] = []
    for line in lines:
        if line.is_removed and line.source_line_no is not None:
            removed.append(line.source_line_no)
        elif line.is_added and line.target_line_no is not None:
            added.append(line.target_line_no)
        elif line.is_context and (removed or added):
            yield Block(_span(removed), _span(added))
            removed, added = [], []
    if removed or added:
        yield Block(_span(removed), _span(added))


def _span(numbers: list[int]) -> range:
    return range(numbers[0], numbers[-1] + 1) if numbers else range(0)
