"""How much a rule matters, and where it does not apply."""

import re

from reviews.providers.base import Severity

_HIGH = re.compile(
    r"invalid-syntax|E9|PLE|F5|F63|F7|F82"  # does not run, or not as written
    r"|S102|S30[1267]|S50[1236]|S60[245]|S608|S61[12]|S70[14]"  # lets somebody in
)
_LOW = re.compile(r"F401|F541|F841|F811|S101|S10[3568]|S11[02]|S311|S40|S603|S606|S607|B00[79]|B01[0-3]|B9")
# Tests assert, and their passwords guard nothing.
_NOT_IN_TESTS = frozenset({"S101", "S105", "S106", "S107"})
_TEST_PATH = re.compile(r"(^|/)(tests?|testing)/|(^|/)(test_[^/]*|[^/]*_tests?|tests?|conftest)\.pyi?$")


def severity_of(rule: str) -> Severity:
    if _HIGH.match(rule):
        return Severity.HIGH
    return Severity.LOW if _LOW.match(rule) else Severity.MEDIUM


def applies(rule: str, path: str, line: str) -> bool:
    """Whether a rule has a say on a line; `nosec` is how bandit, where ruff's S rules come from, is answered."""
    if rule.startswith("S") and "nosec" in line:
        return False
    return rule not in _NOT_IN_TESTS or not _TEST_PATH.search(path)
