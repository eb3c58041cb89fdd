"""Finds secrets in text: providers' tokens, private keys, and values of high entropy beside a name that tells of one.

Also a program of its own (`python -I -S secret_patterns.py FOLDER`, with asked.json in it), so that the patterns run
within the sandbox's limits; for that it imports nothing of ours. Patterns of detect-secrets are used where they name a
provider; its import is slow, so they are given to that program.
"""

import importlib
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MAX_LINE_CHARS = 5000
MASK = "••••"
Patterns = tuple[tuple[str, re.Pattern[str]], ...]

# Modules of detect_secrets.plugins whose patterns name one provider, and what to call it.
_BORROWED = {
    "aws": "aws-key", "azure_storage_key": "azure-storage-key", "cloudant": "cloudant-key",
    "discord": "discord-token", "github_token": "github-token", "gitlab_token": "gitlab-token",
    "mailchimp": "mailchimp-key", "pypi_token": "pypi-token",
    "sendgrid": "sendgrid-key", "slack": "slack-token", "softlayer": "softlayer-key", "square_oauth": "square-token",
    "stripe": "stripe-key", "telegram_token": "telegram-token",
    "basic_auth": "password-in-url",
}  # fmt: skip
# Those of npm and OpenAI are not: the time that they take grows with the square of a line's length.
_OWN = {
    # Tokens of installations have had any length, and parts, since 2026; of a longer one no rest may stay.
    "github-token": r"\bgithub_pat_[A-Za-z0-9_]{50,}|\bgh[opsur]_[A-Za-z0-9_-]{36,}(?:\.[A-Za-z0-9_-]+)*",
    "anthropic-key": r"\bsk-ant-[A-Za-z0-9_-]{24,}",
    "openai-key": (r"\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{24,}|\bsk-[A-Za-z0-9_-]{0,120}T3BlbkFJ[A-Za-z0-9]{20}"),
    "google-api-key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "google-oauth-token": r"\bya29\.[0-9A-Za-z_-]{40,}",
    "huggingface-token": r"\bhf_[A-Za-z0-9]{34,}\b",
    "npm-token": r"\bnpm_[A-Za-z0-9]{36}\b|/:_authToken=\s{0,8}(npm_[^\s\"']{8,200}|[A-Fa-f0-9-]{36})",
    "digitalocean-token": r"\bdo[opr]_v1_[a-f0-9]{64}\b",
    "shopify-token": r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b",
    "slack-token": r"\b(?:xapp-\d-[A-Z0-9]+-\d+-[a-f0-9]{20,}|xoxe(?:\.xox[bp])?-\d-[A-Za-z0-9-]{40,})",
    "stripe-key": r"\b(?:[rs]k_live_[0-9a-zA-Z]{24,}|whsec_[A-Za-z0-9+/]{32,}=?)",
    "twilio-key": r"\bSK[0-9a-f]{32}\b",
    "docker-token": r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{27,}",
    "vault-token": r"\bhv[sb]\.[A-Za-z0-9_-]{24,}",
    "databricks-token": r"\bdapi[a-f0-9]{32}\b",
    "grafana-token": r"\bglsa_[A-Za-z0-9]{32}_[a-f0-9]{8}\b",
    "linear-key": r"\blin_api_[A-Za-z0-9]{40}\b",
    "age-key": r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b",
    "jwt": r"\beyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,}",
    "private-key": (
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\\n|\\r|[\s\"'+,#*/])+[A-Za-z0-9+/=]{20,}"
        r"(?:[^-]{0,10000}-----END)?"
    ),
}
_NAME = (
    r"[\w.-]{0,40}(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|auth[_-]?key|private[_-]?key)"
    r"[\w.-]{0,40}"
)
_QUOTED = re.compile(
    rf"(?P<name>{_NAME})[\"']?\]?\s{{0,8}}(?::\s{{0,4}}[\w\[\], .|]{{1,40}}?\s{{0,4}}=|:=|=>|=|:)\s{{0,8}}[bru]?"
    r"(?P<quote>[\"'`])(?P<value>[^\"'`\s]{8,200})(?P=quote)",
    re.IGNORECASE,
)
_BARE = re.compile(
    rf"^\s*(?:export\s+|ENV\s+|ARG\s+|-\s+)?(?P<name>{_NAME})\s*[=:]\s*(?P<value>[^\s\"'`,;(){{}}<>$]{{8,200}})\s*$",
    re.IGNORECASE,
)
# Files where a value stands without quotes.
_BARE_FILE = re.compile(
    r"(?:\.(?:env|ya?ml|ini|cfg|conf|properties|toml|tfvars)|(?:^|/)\.env[\w.]*|(?:^|/)Dockerfile[\w.]*)$"
)
_NO_SECRET_NAME = re.compile(
    r"public|sha\d*\b|hash|checksum|integrity|digest|fingerprint|_id$|_name$|_url$|_uri$|_path$|_file$|_type$|_field$"
    r"|_header$|_prefix$|_env$|_var$|_pattern$|_regex$|_label$|_placeholder$|_message$|_error$|tokenizer|secretName"
    r"|secretKeyRef|csrf",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"example|change.?me|placeholder|dummy|sample|fake|mock|your[_-]?|redacted|insert|replace|secret$|password$|^test|todo"
    r"|xxx|\*\*\*|\.\.\.|…|•|[<{$%]|abcdef|123456|0{6}|localhost|lorem|(?:^|[-_])(?:none|null|undefined)(?:$|[-_])"
    r"|process\.env|os\.environ|getenv|secrets\.|vault:|^arn:|^https?:|^/|^\.",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(r"[a-zA-Z]+(?:[_.:/-][a-zA-Z]+)*|[a-z]+(?:[A-Z][a-z]+)*\d?")
_QUIET_PATH = re.compile(
    r"(^|/)(tests?|testing|__tests__|spec|specs|fixtures?|testdata|examples?|samples?|docs?|locales?|i18n|mocks?)/"
    r"|(^|/)(test_[^/]*|[^/]*[_.-](tests?|spec)\.[^/]*|conftest\.py)$|\.(md|rst|txt|adoc|po|pot|snap|svg|html?|css|lock)$",
    re.IGNORECASE,
)


_KEY_BEGINS = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
#: What goes on with a key: base64, alone or in a string's literal, or one of its headers.
_KEY_LINE = re.compile(
    rb"[\s\"'#*,-]{0,40}(?://|\+)?\s{0,4}"
    rb"(?:(?P<body>[A-Za-z0-9+/=]{1,200})(?:\\[nr])*|[A-Z][\w-]{1,30}: .{0,100})?[\s\"'+,;)\\]{0,20}"
)
_KEY_LINE_CHARS = 16
#: Lines before it: headers, and an empty one.
_KEY_HEADERS = 5


@dataclass(frozen=True)
class Found:
    """A secret: where it is in the text, and of what kind."""

    kind: str
    start: int
    end: int


def find(text: str, path: str = "", patterns: Patterns | None = None) -> list[Found]:
    """Secrets in a text, in order, apart from each other. path: tests and documentation hold made-up ones."""
    quiet = bool(_QUIET_PATH.search(path))
    found = sorted(_tokens(text, patterns or _patterns(), quiet=quiet), key=lambda one: (one.start, -one.end))
    if not quiet:
        found = sorted([*found, *_named(text, path)], key=lambda one: (one.start, one.end))
    kept: list[Found] = []
    for one in found:
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
        elif one.end > kept[-1].end:  # of two that overlap, nothing may stay
            kept[-1] = Found(kept[-1].kind, kept[-1].start, one.end)
    return kept


def mask(text: str, path: str = "") -> str:
    """The text without the secrets in it; also of private keys that go on over many lines."""
    for one in reversed(find(text, path)):
        text = text[: one.start] + MASK + text[one.end :]
    return text


def key_rows(lines: Sequence[bytes], path: str = "") -> frozenset[int]:
    """The lines, from 1, of private keys in a file, with those in the middle, which nothing else tells of."""
    rows, inside = set[int](), False
    for row, line in enumerate(() if _QUIET_PATH.search(path) else lines, start=1):
        if b"-----BEGIN" in line and _KEY_BEGINS.search(line):
            inside, begun = True, row
        elif inside:
            goes_on = _KEY_LINE.fullmatch(line)
            inside = goes_on is not None
            body = goes_on["body"] if goes_on else None
            # A line of code with BEGIN in it, such as this one's condition, is followed by other things.
            if body and (len(body) >= _KEY_LINE_CHARS or row - 1 in rows):
                rows.add(row)
            elif body or (row - begun > _KEY_HEADERS and row - 1 not in rows):
                inside = False
    return frozenset(rows)


def _tokens(text: str, patterns: Patterns, *, quiet: bool) -> Iterator[Found]:
    for kind, pattern in patterns:
        for match in pattern.finditer(text):
            group = next((number for number in range(1, (match.re.groups or 0) + 1) if match[number]), 0)
            # Groups of some patterns hold a prefix only.
            if group and len(match[group]) < 8:
                group = 0
            if kind == "password-in-url" and not _is_password(match, text, quiet=quiet):
                continue
            if quiet and kind in ("private-key", "jwt"):
                continue
            value = match[group]
            if kind == "private-key" or (not _PLACEHOLDER.search(value) and entropy(value) >= 2.8):
                yield Found(kind, match.start(group), match.end(group))


def _is_password(match: re.Match[str], text: str, *, quiet: bool) -> bool:
    value, host = match[1], text[match.end() : match.end() + 60]
    local = re.match(r"(?:localhost|127\.|0\.0\.0\.0|\[::1\]|example|host\b|[\w-]+(?=[:/\"'\s]|$)(?!\.))", host)
    return not quiet and not local and len(value) >= 8 and value.isascii()


def _named(text: str, path: str) -> Iterator[Found]:
    """Values of high entropy beside a name such as `api_key`."""
    offset = 0
    bare = bool(_BARE_FILE.search(path))
    for line in text.split("\n"):
        if len(line) <= MAX_LINE_CHARS:
            matches = list(_QUOTED.finditer(line))
            if not matches and bare and (match := _BARE.match(line)):
                matches = [match]
            for match in matches:
                if _is_secret(match["name"], match["value"]):
                    yield Found("named-secret", offset + match.start("value"), offset + match.end("value"))
        offset += len(line) + 1


def _is_secret(name: str, value: str) -> bool:
    if _NO_SECRET_NAME.search(name) or _PLACEHOLDER.search(value) or _IDENTIFIER.fullmatch(value):
        return False
    kinds = sum(bool(re.search(kind, value)) for kind in (r"[a-z]", r"[A-Z]", r"\d", r"[^a-zA-Z\d_.:/-]"))
    if re.search(r"pass|pwd", name, re.IGNORECASE):
        return kinds >= 2 and entropy(value) >= 2.7 and bool(re.search(r"\d|[^\w.:/-]", value))
    return len(value) >= 16 and kinds >= 2 and bool(re.search(r"\d", value)) and entropy(value) >= 3.3


def entropy(value: str) -> float:
    """Bits a character (Shannon)."""
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values()) if value else 0.0


@cache
def borrowed() -> tuple[tuple[str, str, int], ...]:
    """(kind, pattern, flags) of detect-secrets."""
    patterns = []
    for name, kind in _BORROWED.items():
        module = importlib.import_module(f"detect_secrets.plugins.{name}")
        for detector in vars(module).values():
            if isinstance(detector, type) and detector.__module__ == module.__name__ and hasattr(detector, "denylist"):
                patterns += [(kind, pattern.pattern, pattern.flags) for pattern in detector.denylist]
    return tuple(patterns)


@cache
def _patterns(given: tuple[tuple[str, str, int], ...] | None = None) -> Patterns:
    others = borrowed() if given is None else given
    own = ((kind, re.compile(pattern)) for kind, pattern in _OWN.items())
    return (*own, *((kind, re.compile(pattern, flags)) for kind, pattern, flags in others))


def main(arguments: list[str]) -> None:
    """Print one JSON object a secret: file, kind, row, column, end row, and the secret, for masking."""
    folder = Path(arguments[0])
    asked = json.loads((folder / "asked.json").read_text())
    patterns = _patterns(tuple((kind, pattern, flags) for kind, pattern, flags in asked["patterns"]))
    for name, path in asked["names"].items():
        text = (folder / name).read_bytes().decode("utf-8", "replace")
        for found in find(text, path, patterns):
            row = text.count("\n", 0, found.start) + 1
            column = found.start - (text.rfind("\n", 0, found.start) + 1) + 1
            value = text[found.start : found.end]
            end_row = row + value.count("\n")
            said = {"file": name, "kind": found.kind, "row": row, "column": column, "end_row": end_row, "value": value}
            sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    main(sys.argv[1:])
