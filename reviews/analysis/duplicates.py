"""Two tools, or two rules, that say the same of the same line: one is told."""

import re
from collections.abc import Iterable

from reviews.providers.base import Finding

# The first rule of a topic that spoke of a line is kept; findings come in the order of severity, then of tools.
_TOPICS = (
    ("secret", re.compile(r"secret/|S10[567]$")),
    ("shell", re.compile(r"S60[2-7]$|S609$|switchyard/(?:py-async-shell|js-exec|go-shell)")),
    ("sql", re.compile(r"S608$|S61[01]$|switchyard/.*(?:sql|extra-clause)")),
    ("tls", re.compile(r"S501$|S323$|S503$|switchyard/.*tls")),
    ("random", re.compile(r"S311$|switchyard/.*random")),
    ("html", re.compile(r"react/no-danger|switchyard/js-(?:dangerous|inner)-html")),
    ("undefined", re.compile(r"F82[12]$|ty/unresolved-reference$|react/jsx-no-undef$")),
    ("unused", re.compile(r"F401$|F811$|F841$")),
    ("useless", re.compile(r"B002$|B015$|B018$")),
    ("comparison", re.compile(r"SC2071$|SC3012$|SC2050$")),
    ("eval", re.compile(r"S307$|eslint/no-(?:eval|implied-eval)$")),
    (
        "condition",
        re.compile(r"eslint/(?:no-cond-assign|no-constant-condition|no-constant-binary-expression)|oxc/const-comp"),
    ),
    ("unpinned image", re.compile(r"DL300[67]$|zizmor/unpinned-images")),
)


def topic_of(rule: str) -> str:
    """What a rule is about; the rule itself where nothing else says the same."""
    return next((topic for topic, pattern in _TOPICS if pattern.match(rule)), rule)


def without_duplicates(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in their order, of each topic on a line the first."""
    told: set[tuple[str, int, str]] = set()
    kept = []
    for finding in findings:
        place = (finding.path, finding.line, topic_of(finding.rule))
        same_rule_again = finding.rule == place[2]
        if place in told and not same_rule_again:
            continue
        told.add(place)
        kept.append(finding)
    return kept
