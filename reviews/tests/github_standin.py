"""A stand-in for GitHub's REST API on loopback: serves a real git repository, and enforces GitHub's rules on reviews.

One pending review for each account and pull request; a comment that is not on a line of the diff refuses the whole
review (422). It can be told to fail: an error status, or a connection that is cut before or after the work is done.
"""

import base64
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from reviews.tests import openapi
from reviews.tests.repositories import Repo

LOGIN = "switchyard-bot"
TOKEN = "ghp_" + "a token for tests".replace(" ", "0")
_URLS = (
    "avatar_url", "url", "html_url", "followers_url", "following_url", "gists_url", "starred_url", "subscriptions_url",
    "organizations_url", "repos_url", "events_url", "received_events_url",
)  # fmt: skip
_USER = {
    "login": LOGIN, "id": 1, "node_id": "n", "gravatar_id": "", "type": "Bot", "site_admin": False,
    **dict.fromkeys(_URLS, "https://github.example/x"),
}  # fmt: skip
_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


class Refused(Exception):
    def __init__(self, status: int, message: str, *errors: str) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"message": message, "documentation_url": "https://docs.github.com/rest"}
        if errors:
            self.body["errors"] = list(errors)


@dataclass
class Fault:
    """What happens to requests that match. cut: "before" or "after" the request is worked on."""

    pattern: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "Server Error"
    cut: str = ""
    times: int = 1


@dataclass
class Standin:
    """owner/name is served from `repo`; pull requests by number. requests: what came in, as "VERB path"."""

    repo: Repo
    full_name: str = "acme/shop"
    url: str = ""
    pulls: dict[int, dict[str, str]] = field(default_factory=dict)
    reviews: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def open_pull(self, number: int, base: str, head: str, title: str = "A change", state: str = "open") -> None:
        self.pulls[number] = {"base": base, "head": head, "title": title, "state": state}

    def posted(self, number: int) -> list[dict[str, Any]]:
        """The submitted reviews of a pull request."""
        return [review for review in self.reviews if review["number"] == number and review["state"] != "PENDING"]

    def asked(self, verb: str) -> list[str]:
        return [request for request in self.requests if request.startswith(verb)]

    def fault_for(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return None

    # --- answers ---------------------------------------------------------------------------------------------------

    def answer(self, verb: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        prefix = f"/repos/{self.full_name}/"
        if not path.startswith(prefix):
            raise Refused(404, "Not Found")
        rest = path.removeprefix(prefix)
        for pattern, method, handler in self._routes():
            found = re.fullmatch(pattern, rest)
            if found and method == verb:
                return handler(*(unquote(part) for part in found.groups()), query=query, body=body)
        raise Refused(404, "Not Found")

    def _routes(self) -> list[tuple[str, str, Any]]:
        return [
            (r"pulls/(\d+)", "GET", self._pull),
            (r"pulls/(\d+)/files", "GET", self._files),
            (r"git/blobs/(\w+)", "GET", self._blob),
            (r"contents/(.+)", "GET", self._contents),
            (r"compare/(\w+)\.\.\.(\w+)", "GET", self._compare),
            (r"pulls/(\d+)/reviews", "GET", self._reviews),
            (r"pulls/(\d+)/reviews", "POST", self._create_review),
            (r"pulls/(\d+)/reviews/(\d+)/events", "POST", self._submit_review),
        ]

    def pull(self, number: str) -> dict[str, str]:
        if int(number) not in self.pulls:
            raise Refused(404, "Not Found")
        return self.pulls[int(number)]

    def _pull(self, number: str, **_: Any) -> tuple[int, Any]:
        pull = self.pull(number)
        return 200, {
            "number": int(number),
            "title": pull["title"],
            "state": pull["state"],
            "draft": False,
            "base": {"sha": pull["base"], "ref": "main"},
            "head": {"sha": pull["head"], "ref": "topic"},
            "changed_files": len(self.files(pull)),
        }

    def files(self, pull: dict[str, str]) -> list[dict[str, Any]]:
        base = self.repo.git("merge-base", pull["base"], pull["head"])
        raw = self._git("diff", "--raw", "-z", "-M", "--no-abbrev", base, pull["head"]).decode().split("\0")[:-1]
        fields = iter(raw)
        entries = []
        for header in fields:
            _, _, old_sha, new_sha, letter = header.lstrip(":").split(" ")
            old = path = next(fields)
            if letter[0] in "RC":
                path = next(fields)
            entries.append(self._file(base, pull["head"], letter[0], old, path, old_sha, new_sha))
        return entries

    def _file(self, base: str, head: str, letter: str, old: str, path: str, old_sha: str, sha: str) -> dict[str, Any]:
        names = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "T": "changed"}
        text = self._git("diff", "-M", base, head, "--", *{old, path}).decode("utf-8", "replace")
        at = text.find("\n@@ ")
        patch = text[at + 1 :].removesuffix("\n") if at >= 0 else None
        lines = [line[:1] for line in (patch or "").split("\n")]
        url = f"{self.url}/{path}"
        entry: dict[str, Any] = {
            "sha": old_sha if letter == "D" else sha,
            "filename": path,
            "status": names[letter],
            "additions": lines.count("+"),
            "deletions": lines.count("-"),
            "changes": lines.count("+") + lines.count("-"),
            "blob_url": url,
            "raw_url": url,
            "contents_url": url,
        }
        if patch is not None and len(patch) < 1_000_000:
            entry["patch"] = patch
        if old != path:
            entry["previous_filename"] = old
        return entry

    def _files(self, number: str, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        return 200, page(self.files(self.pull(number)), query)

    def _blob(self, sha: str, **_: Any) -> tuple[int, Any]:
        content = self._git("cat-file", "blob", sha)
        return 200, {
            "sha": sha,
            "node_id": "n",
            "size": len(content),
            "url": self.url,
            "content": base64.encodebytes(content).decode(),
            "encoding": "base64",
        }

    def _contents(self, path: str, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        try:
            sha = self.repo.git("rev-parse", f"{query['ref']}:{path}")
        except subprocess.CalledProcessError:
            raise Refused(404, "Not Found") from None
        content = self._git("cat-file", "blob", sha)
        small = len(content) < 1_000_000
        return 200, {
            "type": "file",
            "encoding": "base64" if small else "none",
            "content": base64.encodebytes(content).decode() if small else "",
            "size": len(content),
            "name": path.rsplit("/", 1)[-1],
            "path": path,
            "sha": sha,
        }

    def _compare(self, base: str, head: str, **_: Any) -> tuple[int, Any]:
        return 200, {"merge_base_commit": {"sha": self.repo.git("merge-base", base, head)}, "commits": []}

    def _reviews(self, number: str, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        return 200, page([self._shown(review) for review in self.reviews if review["number"] == int(number)], query)

    def _create_review(self, number: str, body: Any, **_: Any) -> tuple[int, Any]:
        pull = self.pull(number)
        if any(review["state"] == "PENDING" and review["number"] == int(number) for review in self.reviews):
            raise Refused(422, "Unprocessable Entity", "User can only have one pending review per pull request")
        if body.get("commit_id", pull["head"]) != pull["head"]:
            raise Refused(422, "Unprocessable Entity", "commit_id is not part of the pull request")
        if not body.get("body") and body.get("event") == "COMMENT":
            raise Refused(422, "Unprocessable Entity", "Body can't be blank")
        patches = {entry["filename"]: entry.get("patch", "") for entry in self.files(pull)}
        for comment in body.get("comments", []):
            check_anchor(comment, patches.get(comment["path"], ""))
        review = {
            "id": 9000 + len(self.reviews),
            "number": int(number),
            "state": "COMMENTED" if body.get("event") else "PENDING",
            "body": body.get("body", ""),
            "commit_id": body["commit_id"],
            "comments": body.get("comments", []),
        }
        self.reviews.append(review)
        return 200, self._shown(review)

    def _submit_review(self, number: str, review_id: str, body: Any, **_: Any) -> tuple[int, Any]:
        for review in self.reviews:
            if review["id"] == int(review_id) and review["state"] == "PENDING":
                review["state"] = "COMMENTED"
                return 200, self._shown(review)
        raise Refused(422, "Unprocessable Entity", "Could not submit: the review is not pending")

    def _shown(self, review: dict[str, Any]) -> dict[str, Any]:
        link = {"href": self.url}
        return {
            "id": review["id"],
            "node_id": "n",
            "user": _USER,
            "body": review["body"],
            "state": review["state"],
            "html_url": self.url,
            "pull_request_url": self.url,
            "_links": {"html": link, "pull_request": link},
            "commit_id": review["commit_id"],
            "author_association": "NONE",
        }

    def _git(self, *arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=self.repo.path, check=True, capture_output=True).stdout


def page(entries: list[Any], query: dict[str, str]) -> list[Any]:
    size, number = int(query.get("per_page", "30")), int(query.get("page", "1"))
    return entries[(number - 1) * size : number * size]


def check_anchor(comment: dict[str, Any], patch: str) -> None:
    """Raises Refused, without naming the comment, just as GitHub does."""
    spans = [(int(start), int(start) + int(count or 1)) for start, count in _HUNK.findall(patch)]
    line, start = comment.get("line"), comment.get("start_line", comment.get("line"))
    on_one_hunk = any(first <= start <= line < end for first, end in spans)
    if not on_one_hunk or comment.get("side") != "RIGHT" or ("start_line" in comment and start >= line):
        raise Refused(422, "Unprocessable Entity", "Pull request review thread line must be part of the diff")


@contextmanager
def serving(repo: Repo) -> Iterator[Standin]:
    """Serve until the block ends; then no request or answer may have broken GitHub's own description."""
    standin = Standin(repo)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"standin": standin}))
    server.daemon_threads = True
    standin.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    if standin.violations:
        raise AssertionError("\n".join(standin.violations))


class _Handler(BaseHTTPRequestHandler):
    standin: Standin
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class' name)
        return

    def _serve(self, verb: str) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else None
        self.standin.requests.append(f"{verb} {parts.path}")
        fault = self.standin.fault_for(f"{verb} {parts.path}")
        if fault is not None and fault.cut == "before":
            return self._cut()
        if fault is not None and fault.status:
            return self._send(fault.status, {"message": fault.message}, fault.headers)
        try:
            if self.headers.get("Authorization") != f"token {TOKEN}":
                raise Refused(401, "Bad credentials")
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, answer = self.standin.answer(verb, parts.path, query, body)
        except Refused as exc:
            status, answer = exc.status, exc.body
        self.standin.violations += openapi.violations(
            verb, parts.path, query if status < 400 else {}, body, status, answer
        )
        if fault is not None and fault.cut == "after":
            return self._cut()
        return self._send(status, answer, {})

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _send(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
