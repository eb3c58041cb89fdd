"""Pull requests, and the files at their two ends."""

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from reviews.changes import ContentUnavailable
from reviews.github.errors import GitHubError
from reviews.github.shapes import (
    Comparison,
    ListedFile,
    PullRequest,
    RepositoryFile,
    RepositoryInfo,
    is_bot,
    login,
    moment,
    names,
    read,
    text,
)
from reviews.github.transport import Part, repo_path

# GitHub lists no more files of a pull request, and stops there without a word.
MAX_LISTED_FILES = 3000


class Pulls(Part):
    def pull(self, full_name: str, number: int) -> PullRequest:
        return read("a pull request", _pull, self._transport.get(repo_path(full_name, f"pulls/{number:d}")))

    def files(self, full_name: str, number: int) -> Iterator[ListedFile]:
        for entry in self._transport.pages(repo_path(full_name, f"pulls/{number:d}/files")):
            yield read("a list of files", _listed_file, entry)

    def merge_base(self, full_name: str, base: str, head: str) -> str:
        # The files of a comparison, which are not needed, stand on its first page.
        path = repo_path(full_name, f"compare/{quote(base, safe='')}...{quote(head, safe='')}")
        answer = self._transport.get(path, {"per_page": 1, "page": 2})
        return read("a comparison", lambda found: str(found["merge_base_commit"]["sha"]), answer)

    def comparison(self, full_name: str, base: str, head: str) -> Comparison:
        """What leads from `base` to `head`, from where the two parted."""
        path = repo_path(full_name, f"compare/{quote(base, safe='')}...{quote(head, safe='')}")
        return read("a comparison", _comparison, self._transport.get(path, {"per_page": 1}))


class Contents(Part):
    def repository(self, full_name: str) -> RepositoryInfo:
        return read("a repository", repository_info, self._transport.get(repo_path(full_name)))

    def blob(self, full_name: str, sha: str) -> bytes:
        """A blob's content by its id; up to 100 MB at GitHub. Raises ContentUnavailable."""
        return _decoded(self._content(repo_path(full_name, f"git/blobs/{quote(sha, safe='')}")))

    def file_at(self, full_name: str, path: str, ref: str) -> bytes:
        """A file's content at a commit. Raises ContentUnavailable."""
        return self.file_with_id(full_name, path, ref).content

    def file_with_id(self, full_name: str, path: str, ref: str) -> RepositoryFile:
        """A file at a commit, and the id of its blob. Raises ContentUnavailable."""
        if ".." in path.split("/"):
            raise ContentUnavailable("its path leads out of the repository")
        answer = self._content(repo_path(full_name, f"contents/{quote(path)}"), {"ref": ref})
        if answer.get("type", "file") != "file":
            raise ContentUnavailable(f"at base it is a {answer.get('type')}")
        sha = text(answer.get("sha"))
        # Above 1 MB, contents are left out here, and the blob has to be asked for.
        if answer.get("encoding") != "base64" and sha:
            return RepositoryFile(path, sha, self.blob(full_name, sha))
        return RepositoryFile(path, sha, _decoded(answer))

    def _content(self, path: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._transport.get(path, parameters)
        except GitHubError as exc:
            if exc.status in (403, 404, 422) and exc.retry_after_seconds is None:
                why = f"GitHub does not give its content ({exc.status})"
                raise ContentUnavailable(why, is_missing=exc.status == 404) from None
            raise
        if not isinstance(answer, dict):
            raise ContentUnavailable("GitHub gives no content for it")
        return answer


def repository_info(answer: Any) -> RepositoryInfo:
    return RepositoryInfo(
        github_id=int(answer["id"]),
        full_name=str(answer["full_name"]),
        private=bool(answer.get("private")),
        default_branch=text(answer.get("default_branch")),
    )


def _pull(answer: Any) -> PullRequest:
    repository = answer["base"].get("repo") or {}
    return PullRequest(
        number=int(answer["number"]),
        title=str(answer["title"]),
        state=str(answer["state"]),
        base_sha=str(answer["base"]["sha"]),
        head_sha=str(answer["head"]["sha"]),
        changed_files=int(answer.get("changed_files") or 0),
        body=text(answer.get("body")),
        author=login(answer.get("user")),
        author_is_bot=is_bot(answer.get("user")),
        draft=answer.get("draft") is True,
        labels=names(answer.get("labels")),
        base_ref=text(answer["base"].get("ref")),
        head_ref=text(answer["head"].get("ref")),
        changed_lines=int(answer.get("additions") or 0) + int(answer.get("deletions") or 0),
        changed_at=moment(answer.get("updated_at")),
        repository_id=repository.get("id"),
        full_name=text(repository.get("full_name")),
    )


def _listed_file(entry: Any) -> ListedFile:
    return ListedFile(
        path=entry["filename"],
        old_path=entry.get("previous_filename"),
        status=entry["status"],
        sha=entry.get("sha"),
        patch=entry.get("patch"),
        changes=int(entry.get("changes") or 0),
    )


def _comparison(answer: Any) -> Comparison:
    return Comparison(
        status=str(answer["status"]), files=tuple(_listed_file(entry) for entry in answer.get("files") or ())
    )


def _decoded(answer: dict[str, Any]) -> bytes:
    try:
        if answer["encoding"] == "utf-8":
            return str(answer["content"]).encode("utf-8", "surrogatepass")
        return base64.b64decode(answer["content"])
    except (KeyError, TypeError, ValueError):
        raise ContentUnavailable("GitHub gives its content in a form that is not known") from None
