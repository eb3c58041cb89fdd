"""Bodies of deliveries: GitHub's own examples where they are on disk, and what may go wrong with a body."""

import hashlib
import hmac
import json
import random
from pathlib import Path
from typing import Any

from django.conf import settings

EXAMPLES = Path(".cache/npm/webhooks-examples/api.github.com/index.json")
MAX_BYTES = 25 * 1024 * 1024
#: In one push, by GitHub's documentation.
MOST_COMMITS = 2048
Payload = tuple[str, dict[str, Any]]


def examples() -> tuple[list[Payload], str]:
    """(event, payload) each, of up to 28 KB, and where they are from."""
    path = Path(settings.BASE_DIR) / EXAMPLES
    if not path.is_file():
        return [_own(number) for number in range(100)], "made up"
    events = json.loads(path.read_text())
    return [(event["name"], payload) for event in events for payload in event["examples"]], "@octokit/webhooks-examples"


def _own(number: int) -> Payload:
    return "pull_request", pull_request(number + 1, "What it does, and why. " * (12 * number))


def pull_request(number: int, body: str, action: str = "opened") -> dict[str, Any]:
    """With the fields that GitHub documents and we read."""
    sides = {"base": {"sha": "b" * 40, "ref": "main"}, "head": {"sha": f"{number:040x}", "ref": "topic"}}
    pull = {
        "number": number, "title": "Add a discount", "body": body, "state": "open", "draft": False, "labels": [],
        "user": {"login": "ada", "type": "User"}, "changed_files": 2, "additions": 10, "deletions": 3, **sides,
    }  # fmt: skip
    repository = {"id": 1234, "full_name": "acme/shop", "default_branch": "main", "private": False}
    return {
        "action": action, "number": number, "pull_request": pull, "repository": repository, "sender": {"login": "ada"}
    }  # fmt: skip


def large(kind: str) -> tuple[str, bytes]:
    """(event, body) as large as GitHub sends: "text", one long description; "objects", a push of many commits."""
    if kind == "text":
        body = json.dumps(pull_request(1, "")).encode()
        return "pull_request", json.dumps(pull_request(1, "x" * (MAX_BYTES - len(body)))).encode()
    path = "packages/shop/checkout/discount.py"
    paths = [path] * ((MAX_BYTES // MOST_COMMITS - 200) // (len(path) + 4))
    commit = {"id": "c" * 40, "message": "Change it", "author": {"name": "Ada"}, "added": [], "modified": paths}
    payload = {"ref": "refs/heads/topic", "repository": {"id": 1234, "full_name": "acme/shop"}}
    return "push", json.dumps({**payload, "commits": [commit] * MOST_COMMITS}).encode()


class Damage:
    """Bodies that nobody should send, the same every time: random bytes, cut and altered payloads, wrong types."""

    def __init__(self, payloads: list[Payload], seed: int = 2026) -> None:
        self._random = random.Random(seed)  # noqa: S311  (repeatable, and guards nothing)
        self._payloads = payloads

    def next(self) -> tuple[str, bytes]:
        event, payload = self._random.choice(self._payloads)
        match self._random.randrange(5):
            case 0:
                return event, self._random.randbytes(self._random.randint(0, 4000))
            case 1:
                body = json.dumps(payload).encode()
                return event, body[: self._random.randrange(len(body))]
            case 2:
                return event, self._altered(json.dumps(payload).encode())
            case _:
                return event, json.dumps(self._wrong(payload, 0.02)).encode("utf-8", "surrogatepass")

    def _altered(self, body: bytes) -> bytes:
        altered = bytearray(body)
        for _ in range(self._random.randint(1, 12)):
            at = self._random.randrange(len(altered))
            if self._random.random() < 0.5:
                altered[at] = self._random.randrange(256)
            else:
                del altered[at : at + min(self._random.randint(1, 20), len(altered) - 1)]
        return bytes(altered)

    def _wrong(self, value: Any, chance: float) -> Any:
        """The same value with parts of it replaced by what does not belong there."""
        if self._random.random() < chance:
            return self._random.choice(_NONSENSE)
        if isinstance(value, dict):
            return {key: self._wrong(one, chance) for key, one in value.items()}
        return [self._wrong(one, chance) for one in value] if isinstance(value, list) else value


_NONSENSE: tuple[Any, ...] = (
    None, True, -1, 2**31, 2**63, 10**400, 1e308, "", "\0", "\ud800", "x" * 300, "../../etc", "９", [], [[]], {},
    {"id": []}, {"sha": 7}, [None], "2026-13-45T99:00:00Z",
)  # fmt: skip


def signature(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
