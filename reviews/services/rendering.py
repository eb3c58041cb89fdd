"""What is said at GitHub: Markdown in which nothing from outside can link, mention or format."""

import hashlib
import hmac
import re
from collections import defaultdict

from django.conf import settings

from reviews.changes import Change, FileChange
from reviews.models import PullRequestReview
from reviews.providers.base import Finding, ReviewResult

MAX_BODY_CHARS = 60_000
MAX_PATHS_A_REASON = 20

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_ZERO_WIDTH = "\u200b"


def marker(review: PullRequestReview) -> str:
    """A hidden line by which our own review is found again. Nobody else can make it before we have posted."""
    what = f"{review.repository.full_name.lower()}#{review.number}@{review.head_sha}"
    digest = hmac.new(settings.SECRET_KEY.encode(), f"review-marker:{what}".encode(), hashlib.sha256).hexdigest()[:32]
    return f"<!-- switchyard:review:{review.head_sha[:12]}:{digest} -->"


def plain(text: str) -> str:
    """Text from outside as Markdown that shows just that text; paired backquotes stay code."""
    text = "".join(char if char.isprintable() else " " for char in text)
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "".join(code(part) if index % 2 else _escaped(part) for index, part in enumerate(parts))


def _escaped(text: str) -> str:
    text = _MARKDOWN.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    # Neither a person, nor an issue, nor an address: GitHub makes links of these on its own.
    return re.sub(r"(@|#|:(?=//)|(?<=\bwww)(?=\.)|(?<=\bGH)(?=\\-))", rf"\1{_ZERO_WIDTH}", text, flags=re.IGNORECASE)


def code(text: str) -> str:
    """A code span that holds whatever it is given."""
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def comment(finding: Finding, file: FileChange | None) -> dict[str, object] | None:
    """The finding as a comment on its lines; None where GitHub would not take one there.

    Its lines must be shown by one hunk of the diff: for any other, GitHub refuses the whole review.
    """
    hunk = file.hunk_of(finding.line) if file is not None and file.anchored else None
    if hunk is None:
        return None
    last = min(finding.end_line, hunk.new.stop - 1)
    anchor: dict[str, object] = {"path": finding.path, "line": last, "side": "RIGHT"}
    if finding.line < last:
        anchor |= {"start_line": finding.line, "start_side": "RIGHT"}
    return {**anchor, "body": f"{_heading(finding)}\n\n{plain(finding.message)}"}


def _heading(finding: Finding) -> str:
    return f"**{finding.severity.value}** {code(finding.rule)}"


def body(review: PullRequestReview, change: Change, result: ReviewResult, elsewhere: list[Finding]) -> str:
    """The review's text. elsewhere: the findings that have no comment of their own."""
    parts = [_summary(result)]
    parts += [
        f"- {_heading(finding)} {code(f'{finding.path}:{finding.line}')}: {plain(finding.message)}"
        for finding in elsewhere
    ]
    parts += ["", "---", *_footer(change, result)]
    text = "\n".join(parts)
    if len(text) > MAX_BODY_CHARS:
        text = text[:MAX_BODY_CHARS] + "\n\n… cut here: the text is too long for GitHub."
    return f"{mask(text)}\n{marker(review)}"


def _summary(result: ReviewResult) -> str:
    if not result.findings:
        return "Nothing found in the lines that this pull request changes.\n"
    count = len(result.findings)
    text = f"{count} finding{'s' if count > 1 else ''} in the lines that this pull request changes"
    return f"{text}; {result.left_out} less severe left out.\n" if result.left_out else f"{text}.\n"


def _footer(change: Change, result: ReviewResult) -> list[str]:
    read = len(result.coverage) - len(result.not_read)
    lines = [
        f"<sub>Read {read} of {len(result.coverage)} files at {code(change.head[:12])}, "
        f"by the {plain(result.provider)} reviewer.</sub>"
    ]
    by_reason: dict[str, list[str]] = defaultdict(list)
    for file in result.not_read:
        by_reason[file.reason].append(file.path)
    for reason, paths in by_reason.items():
        named = ", ".join(code(path) for path in paths[:MAX_PATHS_A_REASON])
        more = f" and {len(paths) - MAX_PATHS_A_REASON} more" if len(paths) > MAX_PATHS_A_REASON else ""
        lines.append(f"<sub>Not read, {plain(reason)}: {named}{more}.</sub>")
    remarks = [file for file in result.coverage if file.read and file.reason]
    lines += [f"<sub>{code(file.path)}: {plain(file.reason)}.</sub>" for file in remarks[:MAX_PATHS_A_REASON]]
    lines += [f"<sub>{plain(note)}.</sub>" for note in result.notes]
    return ["<br>\n".join(lines)]


def mask(text: str) -> str:
    """Take our own secrets out, should a reviewed file hold one."""
    for secret in (settings.GITHUB["TOKEN"], settings.GITHUB["WEBHOOK_SECRET"], settings.SECRET_KEY):
        if len(secret) >= 8:
            text = text.replace(secret, "•••")
    return text
