"""Where GitHub takes a comment: on lines that one hunk of the diff shows. For any other it refuses the whole review."""

import re
from collections.abc import Mapping
from typing import Any

_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


def is_anchored(comment: Mapping[str, Any], patch: str) -> bool:
    """Whether GitHub takes a comment. patch: of its file, as GitHub lists it; empty where it lists none."""
    left = comment.get("side") == "LEFT"
    spans = [_span(*groups[:2]) if left else _span(*groups[2:]) for groups in _HUNK.findall(patch)]
    line, start = comment.get("line"), comment.get("start_line", comment.get("line"))
    if not isinstance(line, int) or not isinstance(start, int) or comment.get("side") not in ("LEFT", "RIGHT"):
        return False
    if "start_line" in comment and start >= line:
        return False
    return any(first <= start <= line < end for first, end in spans)


def _span(start: str, count: str) -> tuple[int, int]:
    """A count that is left out is 1, and "0" is 0: such a side shows no line."""
    return int(start), int(start) + (int(count) if count else 1)
