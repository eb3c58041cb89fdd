"""Labels that an issue's title names by itself: `[Bug] …`, `docs: …`, or a word that is a label's own name."""

import re
from collections.abc import Sequence

from reviews.enrichment.suggested import Suggested
from reviews.enrichment.words import words

#: What people put before a title → the plain name of the label that is meant.
_PREFIXES = {
    "bug": "bug", "fix": "bug", "bugfix": "bug", "crash": "bug", "regression": "regression", "defect": "bug",
    "feature": "enhancement", "feat": "enhancement", "feature request": "enhancement", "enhancement": "enhancement",
    "request": "enhancement", "proposal": "enhancement", "rfc": "enhancement", "idea": "enhancement",
    "suggestion": "enhancement", "improvement": "enhancement",
    "docs": "documentation", "doc": "documentation", "documentation": "documentation",
    "question": "question", "help": "question", "support": "question", "q": "question",
    "perf": "performance", "performance": "performance", "security": "security", "test": "tests", "tests": "tests",
    "ci": "ci", "build": "build", "refactor": "refactoring", "chore": "chore",
}  # fmt: skip
#: Names under which repositories keep what is meant.
_NAMES = {
    "bug": ("bug", "defect", "bugs"),
    "enhancement": ("enhancement", "feature", "feature request", "improvement", "new feature"),
    "documentation": ("documentation", "docs", "doc"),
    "question": ("question", "support", "questions", "help"),
    "tests": ("tests", "test", "testing"),
    "refactoring": ("refactoring", "refactor", "cleanup"),
}
#: Labels about how an issue is handled; a title does not tell, and no model should guess.
_HANDLING = frozenset(
    {
        "duplicate", "invalid", "wontfix", "won't fix", "good first issue", "help wanted", "stale", "triage",
        "needs triage", "blocked", "in progress", "question", "pinned", "released", "hacktoberfest", "backlog", "done",
        "ready", "review", "confirmed", "needs info", "needs more info", "waiting", "on hold", "new", "open", "closed",
    }
)  # fmt: skip
_PREFIX = re.compile(r"^\s*(?:\[([^\]]{1,30})\]|\(([^)]{1,30})\)|([A-Za-z][\w -]{0,20})(?:\([^)]{0,30}\))?!?:)\s*")
PREFIX_CONFIDENCE = 0.95
NAME_CONFIDENCE = 0.85


def plain_name(label: str) -> str:
    """A label without what sorts it: `type: bug`, `kind/bug` and `T-bug` are bug."""
    name = re.split(r"[:/]", label)[-1].strip().lower()
    name = re.sub(r"^(?:t|type|kind|area|c|a)-(?=\w{3,})", "", name)
    return re.sub(r"[^\w\s'.+#-]", "", name).replace("-", " ").replace("_", " ").strip()


def is_about_handling(label: str) -> bool:
    """Whether a label says how an issue is dealt with rather than what it is about."""
    name = plain_name(label)
    sorted_by = re.split(r"[:/]", label)[0].strip().lower() if re.search(r"[:/]", label) else ""
    by_handling = sorted_by in {"status", "priority", "severity", "resolution", "effort", "size", "p", "state"}
    return by_handling or (name in _HANDLING and name != "question") or bool(re.fullmatch(r"p\d", name))


def by_rules(title: str, labels: Sequence[str]) -> list[Suggested]:
    """What the title itself says, of those labels."""
    names = {label: plain_name(label) for label in labels if not is_about_handling(label)}
    found: dict[str, Suggested] = {}
    rest = title
    for said in _prefixes(title):
        meant = _PREFIXES.get(said, said)
        wanted = {meant, said, *_NAMES.get(meant, ())}
        for label, name in names.items():
            if name in wanted and label not in found:
                reason = f"its title begins with “{said}”"
                found[label] = Suggested(label, "rule", PREFIX_CONFIDENCE, reason, "title prefix")
        rest = _PREFIX.sub("", rest, count=1)
    in_title = words(rest)
    for label, name in names.items():
        if label not in found and name not in _NAMES and _stands_in(words(name), in_title) and len(name) > 2:
            found[label] = Suggested(label, "rule", NAME_CONFIDENCE, f"its title names “{name}”", "name in title")
    return list(found.values())


def _prefixes(title: str) -> list[str]:
    """Up to three: `[Bug][Docs] …`."""
    said: list[str] = []
    while len(said) < 3 and (match := _PREFIX.match(title)):
        said.append(next(part for part in match.groups() if part is not None).strip().lower())
        title = title[match.end() :]
    return said


def _stands_in(part: list[str], whole: list[str]) -> bool:
    return bool(part) and any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))
