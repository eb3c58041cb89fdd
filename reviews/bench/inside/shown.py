"""What GitHub would list of a local change, read by the code that reads GitHub's answers."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from reviews.changes import Change
from reviews.github.client import GitHubClient
from reviews.github.shapes import ListedFile, PullRequest
from reviews.github_source import pull_request_change

_STATUS = {"A": "added", "D": "removed", "R": "renamed", "C": "copied", "T": "changed"}
#: GitHub shows no diff that is larger.
MAX_PATCH_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class ShownChange:
    """change: as from GitHub. patches: path → its patch, for those that GitHub shows one of."""

    change: Change
    patches: Mapping[str, str]


class _Listing:
    """The part of a client that reads a change."""

    def __init__(self, repository: str, files: list[ListedFile]) -> None:
        self._repository, self._files = repository, files

    def files(self, full_name: str, number: int) -> Iterator[ListedFile]:
        yield from self._files

    def blob(self, full_name: str, sha: str) -> bytes:
        return git(self._repository, "cat-file", "blob", sha)


def shown_change(repository: str, base: str, head: str) -> ShownChange:
    """base: the merge base."""
    files = list(_listed(repository, base, head))
    pull = PullRequest(1, "", "open", base, head, len(files))
    change = pull_request_change(cast(GitHubClient, _Listing(repository, files)), "bench/bench", pull)
    return ShownChange(change, {file.path: file.patch for file in files if file.patch is not None})


def _listed(repository: str, base: str, head: str) -> Iterator[ListedFile]:
    raw = git(repository, "diff", "--raw", "-z", "-M", "--no-abbrev", base, head).decode("utf-8", "backslashreplace")
    fields = iter(raw.split("\0")[:-1])
    entries = [(header, next(fields), next(fields) if header.split()[-1][0] in "RC" else "") for header in fields]
    patches = _patches(repository, base, head)
    whole = len(patches) == len(entries)  # a file that became a link is two
    for number, (header, first, second) in enumerate(entries):
        _, _, old_sha, sha, letter = header.lstrip(":").split(" ")
        path = second or first
        patch = patches[number] if whole else _joined(_patches(repository, base, head, first, path))
        signs = [line[:1] for line in (patch or "").split("\n")]
        yield ListedFile(
            path=path,
            old_path=first if second else None,
            status=_STATUS.get(letter[0], "modified"),
            sha=old_sha if letter[0] == "D" else sha,
            patch=patch if patch and len(patch) < MAX_PATCH_CHARACTERS else None,
            changes=signs.count("+") + signs.count("-"),
        )


def _patches(repository: str, base: str, head: str, *paths: str) -> list[str | None]:
    """Of each file from its first `@@` on; None without one, as of a binary file."""
    output = git(repository, "diff", "-M", "--no-color", "--no-ext-diff", base, head, "--", *dict.fromkeys(paths))
    sections = ("\n" + output.decode("utf-8", "replace")).split("\ndiff --git ")[1:]
    starts = [section.find("\n@@ ") for section in sections]
    return [
        section[at + 1 :].removesuffix("\n") if at >= 0 else None for section, at in zip(sections, starts, strict=True)
    ]


def _joined(patches: list[str | None]) -> str | None:
    return "\n".join(patch for patch in patches if patch) or None


def git(repository: str, *arguments: str) -> bytes:
    given = ["git", "-c", "safe.directory=*", *arguments]
    return subprocess.run(given, cwd=repository, check=True, capture_output=True).stdout
