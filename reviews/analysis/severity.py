"""How much a rule matters, what it is about, and where it does not apply."""

import re

from reviews.providers.base import Severity

_HIGH = re.compile(
    r"invalid-syntax|E9|PLE|F5|F63|F7|F82"  # does not run, or not as written
    r"|S102|S30[1267]|S50[1236]|S60[245]|S608|S61[12]|S70[14]"  # lets somebody in
    r"|secret/|oxlint/syntax|ty/"
    r"|eslint/(?:constructor-super|no-const-assign|no-dupe-keys|no-this-before-super|no-eval|no-implied-eval|use-isnan"
    r"|valid-typeof|no-unsafe-optional-chaining|no-import-assign|no-obj-calls|no-invalid-regexp)"
    r"|SC1072|SC2115|DL1000|DL3061|zizmor/(?:template-injection|dangerous-triggers)"
)
_LOW = re.compile(
    r"F401|F541|F841|F811|S101|S10[3568]|S11[023]|S311|S40|S603|S606|S607|B00[79]|B01[0-3]|B9|SC2164|DL30(?:06|07)|DL3002"
)
_SECURITY = re.compile(
    r"S(?!C)\d|secret/|zizmor/|SC2115|DL300[24]|eslint/no-(?:eval|implied-eval)|react/(?:no-danger|jsx-no-script)"
)
_SECURITY_OF_OURS = re.compile(r"switchyard/(?!py-sleep|js-async-foreach)")
_MAINTAINABILITY = re.compile(r"F401|F541|F841|F811|S101|B00[79]|DL30(?:06|07)")
# Tests assert, and their passwords guard nothing.
_NOT_IN_TESTS = re.compile(r"S10[1-8]|S11\d|S[356]\d\d|F841|B01[0-8]|switchyard/.*(?:tls|random|html|jwt)")
_TEST_PATH = re.compile(
    r"(^|/)(tests?|testing|__tests__|spec)/|(^|/)(test_[^/]*|[^/]*_tests?|tests?|conftest)\.pyi?$|[._-](test|spec)\.[a-z]+$"
)


def severity_of(rule: str) -> Severity:
    if _HIGH.match(rule):
        return Severity.HIGH
    return Severity.LOW if _LOW.match(rule) else Severity.MEDIUM


def category_of(rule: str) -> str:
    """security, maintainability or bug."""
    if _SECURITY.match(rule) or _SECURITY_OF_OURS.match(rule):
        return "security"
    return "maintainability" if _MAINTAINABILITY.match(rule) else "bug"


def is_test(path: str) -> bool:
    return bool(_TEST_PATH.search(path))


def applies(rule: str, path: str, line: str) -> bool:
    """Whether a rule has a say on a line; `nosec` is how bandit, where ruff's S rules come from, is answered."""
    if rule.startswith("S") and "nosec" in line:
        return False
    if rule.startswith("secret/") and re.search(r"pragma: allowlist secret|nosecret|gitleaks:allow", line):
        return False
    return not (_NOT_IN_TESTS.match(rule) and is_test(path))
