"""The stand-in's repository: pull requests with their files, blobs, contents, branches and comparisons."""

import base64
import subprocess
from typing import TYPE_CHECKING, Any

from reviews.standin.rules import SOMEWHERE, Answer, Refused, Request, page, route, user

if TYPE_CHECKING:
    from reviews.standin.server import Standin

_LETTERS = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "T": "changed"}
_MAX_PATCH = 1_000_000
MAX_LISTED_FILES = 3000


@route("GET", r"pulls/(\d+)")
def pull(standin: "Standin", request: Request, number: str) -> Answer:
    request.need("pull_requests")
    found = standin.pull(number)
    files = standin.files(found)
    return 200, {
        "number": int(number),
        "title": found["title"],
        "body": found.get("body", ""),
        "state": found["state"],
        "draft": found.get("draft", False),
        "user": user(found.get("author", "ada")),
        "labels": [{"id": 1, "name": name} for name in found.get("labels", [])],
        "base": {"sha": found["base"], "ref": standin.default_branch, **found.get("base_more", {})},
        "head": {"sha": found["head"], "ref": "topic"},
        "changed_files": len(files),
        "additions": sum(entry["additions"] for entry in files),
        "deletions": sum(entry["deletions"] for entry in files),
        **({"updated_at": found["updated_at"]} if "updated_at" in found else {}),
    }


@route("GET", r"pulls/(\d+)/files")
def pull_files(standin: "Standin", request: Request, number: str) -> Answer:
    request.need("pull_requests")
    return 200, page(standin.files(standin.pull(number))[:MAX_LISTED_FILES], request.query)


@route("GET", r"git/blobs/(\w+)")
def blob(standin: "Standin", request: Request, sha: str) -> Answer:
    request.need("contents")
    try:
        content = run_git(standin, "cat-file", "blob", sha)
    except subprocess.CalledProcessError:
        raise Refused(404, "Not Found") from None
    return 200, {
        "sha": sha,
        "node_id": "n",
        "size": len(content),
        "url": SOMEWHERE,
        "content": base64.encodebytes(content).decode(),
        "encoding": "base64",
    }


@route("GET", r"contents/(.+)")
def contents(standin: "Standin", request: Request, path: str) -> Answer:
    request.need("contents")
    ref = request.query.get("ref", standin.default_branch)
    try:
        sha = standin.repo.git("rev-parse", f"{ref}:{path}")
        content = run_git(standin, "cat-file", "blob", sha)
    except subprocess.CalledProcessError:
        raise Refused(404, "Not Found") from None
    small = len(content) < _MAX_PATCH
    return 200, {
        "type": "file",
        "encoding": "base64" if small else "none",
        "content": base64.encodebytes(content).decode() if small else "",
        "size": len(content),
        "name": path.rsplit("/", 1)[-1],
        "path": path,
        "sha": sha,
    }


@route("GET", r"compare/(\w+)\.\.\.(\w+)")
def compare(standin: "Standin", request: Request, base: str, head: str) -> Answer:
    request.need("contents")
    return 200, {"merge_base_commit": {"sha": standin.repo.git("merge-base", base, head)}, "commits": []}


@route("GET", r"branches/(.+)")
def branch(standin: "Standin", request: Request, name: str) -> Answer:
    request.need("contents")
    try:
        sha = standin.repo.git("rev-parse", "--verify", "--quiet", f"refs/heads/{name}")
    except subprocess.CalledProcessError:
        raise Refused(404, "Branch not found") from None
    return 200, {"name": name, "commit": {"sha": sha, "url": SOMEWHERE}, "protected": False}


@route("GET", r"")
def repository(standin: "Standin", request: Request) -> Answer:
    request.need("metadata")
    return 200, repository_json(standin)


def repository_json(standin: "Standin") -> dict[str, Any]:
    return {
        "id": standin.repository_id,
        "full_name": standin.full_name,
        "private": standin.private,
        "default_branch": standin.default_branch,
    }


def changed_files(standin: "Standin", base: str, head: str) -> list[dict[str, Any]]:
    """As GitHub lists them, of what head changes since its merge base with base."""
    base = standin.repo.git("merge-base", base, head)
    raw = run_git(standin, "diff", "--raw", "-z", "-M", "--no-abbrev", base, head).decode().split("\0")[:-1]
    fields = iter(raw)
    entries = []
    for header in fields:
        _, _, old_sha, new_sha, letter = header.lstrip(":").split(" ")
        old = path = next(fields)
        if letter[0] in "RC":
            path = next(fields)
        patch = _patch(standin, base, head, old, path)
        entries.append(_entry(letter[0], old, path, old_sha if letter == "D" else new_sha, patch))
    return entries


def _patch(standin: "Standin", base: str, head: str, old: str, path: str) -> str | None:
    text = run_git(standin, "diff", "-M", base, head, "--", *{old, path}).decode("utf-8", "replace")
    at = text.find("\n@@ ")
    return text[at + 1 :].removesuffix("\n") if at >= 0 else None


def _entry(letter: str, old: str, path: str, sha: str, patch: str | None) -> dict[str, Any]:
    signs = [line[:1] for line in (patch or "").split("\n")]
    entry: dict[str, Any] = {
        "sha": sha,
        "filename": path,
        "status": _LETTERS[letter],
        "additions": signs.count("+"),
        "deletions": signs.count("-"),
        "changes": signs.count("+") + signs.count("-"),
        **dict.fromkeys(("blob_url", "raw_url", "contents_url"), SOMEWHERE),
    }
    if patch is not None and len(patch) < _MAX_PATCH:
        entry["patch"] = patch
    if old != path:
        entry["previous_filename"] = old
    return entry


def run_git(standin: "Standin", *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=standin.repo.path, check=True, capture_output=True).stdout
