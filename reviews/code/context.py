"""What of a repository helps to judge a change: users of what it alters, code that resembles it, its own rules."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from reviews.changes import Change
from reviews.code import mirror_git
from reviews.code.breaking import Effect, changed_definitions
from reviews.code.callers import Use, uses
from reviews.code.languages import Entry
from reviews.code.mirror import Mirror
from reviews.code.mirror_reading import content, contents, parse_entries
from reviews.code.symbols import CALL, IMPORT
from reviews.git import GitError
from reviews.models import CodeIndex, Repository
from reviews.providers.base import Snippet

logger = logging.getLogger(__name__)

LINES_BEFORE, LINES_AFTER = 3, 8
MAX_SNIPPET = 2_000
MAX_GUIDELINE = 8_000
MAX_QUERY = 8_000
#: Measured with MiniLM: what has nothing to do with each other stays below.
LEAST_SIMILARITY = 0.45

#: In this order; the names of files are compared without case.
GUIDELINES = ("REVIEW.md", "AGENTS.md", "CLAUDE.md", ".github/copilot-instructions.md", "CONTRIBUTING.md",
              ".github/CONTRIBUTING.md", "docs/CONTRIBUTING.md")  # fmt: skip
_WORDS = {
    Effect.REMOVED: "which this change removes",
    Effect.SIGNATURE: "whose signature this change alters",
    Effect.MOVED: "which this change moves to another file",
    Effect.BODY: "whose body this change alters",
}


@dataclass(frozen=True)
class ContextBudget:
    """The most characters that each answer takes; a token of code is about three."""

    callers: int = 12_000
    similar: int = 8_000
    guidelines: int = 16_000


class RepositoryContext:
    """See `providers.base.ContextSource`; answers with nothing where there is no index, and never raises for it.

    base: the commit whose guidelines count; without it, or where the mirror lacks it, the default branch's.
    """

    def __init__(self, repository: Repository, base: str = "", budget: ContextBudget | None = None) -> None:
        self._repository = repository
        self._base = base
        self._budget = budget or ContextBudget()
        self._mirror = Mirror(repository)

    def callers(self, change: Change, limit: int = 20) -> tuple[Snippet, ...]:
        index = CodeIndex.objects.filter(repository=self._repository).exclude(sha="").first()
        if index is None or not self._mirror.exists:
            return ()
        inside = {path for file in change.files for path in (file.path, file.old_path) if path}
        found = uses(index, changed_definitions(change), inside)[:limit]
        try:
            texts = dict(contents(self._mirror, list(dict.fromkeys(use.blob for use in found))))
        except GitError as exc:
            logger.warning("Context of %s: %s", self._repository, exc)
            return ()
        return _within((_snippet(use, texts[use.blob]) for use in found), self._budget.callers)

    def similar(self, text: str, limit: int = 5) -> tuple[Snippet, ...]:
        from embeddings.corpus import Corpus
        from embeddings.services.asking import SearchRefused, SearchUnavailable
        from embeddings.services.collections import UnknownCollection
        from reviews.code.storing import COLLECTION

        if not text.strip():
            return ()
        try:
            hits = Corpus(COLLECTION).similar(
                text=text.replace("\x00", "")[:MAX_QUERY], k=limit * 2, filters={"repository_id": self._repository.pk}
            )
        except UnknownCollection:
            return ()
        except (SearchRefused, SearchUnavailable) as exc:
            logger.warning("Similar code of %s: %s", self._repository, exc)
            return ()
        found = [_of_hit(hit.document_id, hit.metadata, hit.chunk, hit.score) for hit in hits
                 if hit.score >= LEAST_SIMILARITY]  # fmt: skip
        known = _folded(text)
        return _within((one for one in found if one and _folded(one.text) not in known), self._budget.similar, limit)

    def guidelines(self) -> tuple[Snippet, ...]:
        try:
            return _within(self._guidelines(), self._budget.guidelines)
        except GitError as exc:
            logger.warning("Guidelines of %s: %s", self._repository, exc)
            return ()

    def _guidelines(self) -> Iterable[Snippet]:
        mirror = self._mirror
        if not mirror.exists:
            return
        commit = self._base if self._base and mirror.has(self._base) else mirror.default_commit()
        if not commit:
            return
        there = {entry.path.lower(): entry for entry in _listed(mirror, commit)}
        seen: set[str] = set()
        for wanted in GUIDELINES:
            entry = _followed(mirror, there, there.get(wanted.lower()))
            if entry is not None and entry.blob not in seen and (entry.size or 0) <= 1 << 20:
                seen.add(entry.blob)
                text = content(mirror, entry.blob).decode("utf-8", "replace").replace("\x00", "")[:MAX_GUIDELINE]
                last = text.count("\n") + 1
                yield Snippet(entry.path, 1, last, text, "the repository's own rules, of its base branch")


def context_of(repository: Repository, base: str = "") -> RepositoryContext:
    """base: the commit that a change is based on."""
    return RepositoryContext(repository, base)


def _within(snippets: Iterable[Snippet], most: int, limit: int | None = None) -> tuple[Snippet, ...]:
    """As many as fit, the best ones first."""
    chosen: list[Snippet] = []
    for snippet in snippets:
        if limit is not None and len(chosen) >= limit:
            break
        if len(snippet.text) <= most:
            most -= len(snippet.text)
            chosen.append(snippet)
    return tuple(chosen)


def _snippet(use: Use, content: bytes) -> Snippet:
    lines = content.decode("utf-8", "replace").replace("\x00", "").split("\n")
    first = max(1, use.line - LINES_BEFORE)
    last = min(len(lines), use.line + LINES_AFTER)
    verb = {CALL: "calls", IMPORT: "imports"}.get(use.kind, "uses")
    where = f"{use.enclosing} " if use.enclosing else ""
    return Snippet(
        path=use.path,
        line=first,
        end_line=last,
        text="\n".join(lines[first - 1 : last])[:MAX_SNIPPET],
        why=f"{where}{verb} {use.definition.called}, {_WORDS[use.definition.effect]}",
    )


def _of_hit(document_id: int, metadata: dict[str, object], chunk: dict[str, int], score: float) -> Snippet | None:
    """The definition that was found; of a long one the part that was, in whole lines."""
    from embeddings.models import Document

    text = Document.objects.filter(pk=document_id).values_list("text", flat=True).first()
    line, path, symbol = metadata.get("line"), metadata.get("path"), metadata.get("symbol")
    if text is None or not isinstance(line, int) or not isinstance(path, str):
        return None
    start, end = 0, len(text)
    if end > MAX_SNIPPET:
        start = text.rfind("\n", 0, chunk["start"]) + 1
        end = text.find("\n", chunk["end"])
    part = text[start : end if end >= 0 else len(text)][:MAX_SNIPPET]
    first = line + text.count("\n", 0, start)
    name = f"{symbol} resembles" if symbol else "resembles"
    return Snippet(path, first, first + part.count("\n"), part, f"{name} the changed code ({score:.2f} of 1)")


def _folded(text: str) -> str:
    return " ".join(text.split())


def _listed(mirror: Mirror, commit: str) -> Sequence[Entry]:
    """The files of the top folder and of those in which guidelines may lie."""
    folders = sorted({f"{PurePosixPath(name).parent}/" for name in GUIDELINES if "/" in name})
    arguments = ("ls-tree", "-z", "-l", "--full-tree", commit)
    return [
        *parse_entries(mirror_git.run(mirror.folder, *arguments)),
        *parse_entries(mirror_git.run(mirror.folder, *arguments, "--", *folders)),
    ]


def _followed(mirror: Mirror, there: dict[str, Entry], entry: Entry | None) -> Entry | None:
    """A link to another of the listed files, as CLAUDE.md often is one to AGENTS.md; no other link is followed."""
    if entry is None or entry.mode.startswith("100"):
        return entry
    if entry.mode != "120000":
        return None
    target = content(mirror, entry.blob).decode("utf-8", "replace")
    found = there.get(target.lower().removeprefix("./"))
    return found if found is not None and found.mode.startswith("100") else None
