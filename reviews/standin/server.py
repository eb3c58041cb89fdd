"""A stand-in for GitHub's REST API on loopback: serves a real git repository, and enforces GitHub's rules.

One pending review for each account and pull request; a comment that is not on a line of the diff refuses the whole
review (422); tokens of installations end; JWTs are verified; secondary limits are kept. It can be told to fail: an
error status, or a connection that is cut before or after the work is done. What it can do is in the modules
beside this one; `rules.route` adds more.
"""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

from reviews.standin import (
    apps,
    checks,  # noqa: F401  (registers its operations)
    comments,
    issues,  # noqa: F401
    openapi,
    pulls,
    reviews,  # noqa: F401
    threads,  # noqa: F401
)
from reviews.standin.apps import StandinApp, StandinInstallation
from reviews.standin.limits import Limits
from reviews.standin.repositories import Repo
from reviews.standin.rules import Answer, Caller, Fault, Refused, Request, dispatch

__all__ = ["LOGIN", "TOKEN", "Fault", "Limits", "Refused", "Standin", "serving"]

LOGIN = "switchyard-bot"
TOKEN = "ghp_" + "a token for tests".replace(" ", "0")


@dataclass
class Standin:
    """owner/name is served from `repo`; pull requests by number. requests: what came in, as "VERB path".

    tokens: personal ones → whose; scopes: of classic ones. people: login → role in the repository. labels: name →
    description. clock_ahead: seconds that GitHub's clock is ahead of ours. state: for operations of other modules.
    """

    repo: Repo
    full_name: str = "acme/shop"
    repository_id: int = 1234
    default_branch: str = "main"
    private: bool = False
    url: str = ""
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    reviews: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    issue_comments: list[dict[str, Any]] = field(default_factory=list)
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    check_runs: list[dict[str, Any]] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {TOKEN: LOGIN})
    scopes: str | None = None
    apps: dict[str, StandinApp] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    clock_ahead: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)
    next_headers: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: Iterator[int] = field(default_factory=lambda: count(9000))
    _files: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)

    # --- what a test sets up, and what it looks at -----------------------------------------------------------------

    def open_pull(self, number: int, base: str, head: str, title: str = "A change", state: str = "open") -> None:
        self.pulls[number] = {"base": base, "head": head, "title": title, "state": state}

    def open_issue(self, number: int, title: str, body: str = "", author: str = "ada", *labels: str) -> dict[str, Any]:
        issue = {"number": number, "title": title, "body": body, "author": author, "state": "open"}
        self.issues[number] = {**issue, "labels": list(labels)}
        return self.issues[number]

    def add_app(self, client_id: str = "Iv1.first", slug: str = "switchyard", app_id: int = 42) -> StandinApp:
        self.apps[client_id] = StandinApp(app_id, client_id, slug, apps.private_key(client_id))
        return self.apps[client_id]

    def add_issue_comment(self, number: int, login: str, body: str, app: int | None = None) -> dict[str, Any]:
        """As somebody would write it on a page of GitHub."""
        comment = {"id": self.new_id(), "number": number, "login": login, "body": body, "app": app}
        self.issue_comments.append(comment)
        return comment

    def add_reply(self, thread_id: int, login: str, body: str) -> dict[str, Any]:
        """The same, in the thread of a comment on a line."""
        first = next(comment for comment in self.comments if comment["id"] == thread_id)
        return comments.add_reply(self, first, login, body)

    def posted(self, number: int) -> list[dict[str, Any]]:
        """The submitted reviews of a pull request."""
        return [review for review in self.reviews if review["number"] == number and review["state"] != "PENDING"]

    def asked(self, verb: str) -> list[str]:
        return [request for request in self.requests if request.startswith(verb)]

    # --- for the operations ----------------------------------------------------------------------------------------

    def now(self) -> float:
        return time.time() + self.clock_ahead

    def new_id(self) -> int:
        return next(self._ids)

    def fault_for(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return None

    def pull(self, number: str) -> dict[str, Any]:
        if int(number) not in self.pulls:
            raise Refused(404, "Not Found")
        return self.pulls[int(number)]

    def files(self, pull: dict[str, Any], head: str = "") -> list[dict[str, Any]]:
        """As listed; of the same two commits they are the same."""
        key = pull["base"], head or pull["head"]
        if key not in self._files:
            self._files[key] = pulls.changed_files(self, *key)
        return self._files[key]

    def has_commit(self, pull: dict[str, Any], commit: str) -> bool:
        """Whether a commit is one of a pull request's."""
        if commit == pull["head"]:
            return True
        asked = ["git", "merge-base", "--is-ancestor", commit, pull["head"]]
        return subprocess.run(asked, cwd=self.repo.path, check=False, capture_output=True).returncode == 0

    def need_issue(self, request: Request, number: str, level: str = "read") -> None:
        """An issue, or a pull request, that the caller may read or write: by the permission for one of both."""
        if int(number) not in self.pulls and int(number) not in self.issues:
            raise Refused(404, "Not Found")
        request.need("pull_requests" if int(number) in self.pulls else "issues", level)

    def installation(self, caller: Caller) -> StandinInstallation:
        for app in self.apps.values():
            if caller.installation in app.installations:
                return app.installations[caller.installation]
        raise Refused(403, "Resource not accessible by integration")

    def check_reach(self, caller: Caller) -> None:
        """Refuse the token of an installation that does not have the repository."""
        if caller.installation is not None and self.full_name not in self.installation(caller).repositories:
            raise Refused(404, "Not Found")

    def answer(self, verb: str, path: str, query: dict[str, str], body: Any, authorization: str) -> Answer:
        caller = apps.caller_of(self, authorization)
        self.limits.count(caller.login, verb, path)
        return dispatch(self, Request(verb, path, query, body, caller))


@contextmanager
def serving(repo: Repo, port: int = 0) -> Iterator[Standin]:
    """Serve until the block ends; then no request or answer may have broken GitHub's own description.

    port: 0 for any that is free.
    """
    standin = Standin(repo)
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"standin": standin}))
    server.daemon_threads = True
    standin.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
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

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.standin.now() if timestamp is None else timestamp)

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
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        status, answer, headers = self._answer(verb, parts.path, query, body)
        described = query if status < 400 else {}
        self.standin.violations += openapi.violations(verb, parts.path, described, body, status, answer)
        if fault is not None and fault.cut == "after":
            return self._cut()
        return self._send(status, answer, headers)

    def _answer(self, verb: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any, dict[str, str]]:
        # One at a time, so that two requests at once cannot both find that there is no pending review.
        with self.standin.lock:
            try:
                authorization = self.headers.get("Authorization", "")
                status, answer = self.standin.answer(verb, path, query, body, authorization)
            except Refused as exc:
                return exc.status, exc.body, exc.headers
            finally:
                headers, self.standin.next_headers = self.standin.next_headers, {}
            return status, answer, headers

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
