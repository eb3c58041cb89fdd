"""Bare mirrors of repositories: the default branch, and the heads of changes when they are asked for.

A mirror lies under REVIEWS["MIRRORS_DIR"], which may be emptied at any time: what is missing or damaged is cloned
anew. It is read while somebody fetches; one process at a time writes to it.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from reviews.code import mirror_git
from reviews.code.locks import advisory_lock
from reviews.code.mirror_git import TookTooLong, first_line, folder_bytes
from reviews.git import GitError
from reviews.github.shapes import GitRemote
from reviews.models import Repository

if TYPE_CHECKING:
    from reviews.code.mirror_reading import MirrorTrees

CLONE_SECONDS = 1500.0
#: A review waits no longer for a mirror, or for the commits of its change.
REVIEW_SECONDS = 20.0
FETCH_SECONDS = 120.0
REPACK_SECONDS = 600.0
WAIT_SECONDS = 30.0
#: This much of the disk is left to others.
FREE_BYTES = 1 << 30
SIZE_EVERY_SECONDS = 1.0
MANY_PACKS = 40
HEADS_KEPT_SECONDS = 14 * 86_400

DEFAULT_REF = "refs/switchyard/default"
_HEADS = "refs/switchyard/heads"
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

_NOT_TAKEN = re.compile(r"Authentication failed|could not read (Username|Password)", re.IGNORECASE)
_REFUSED = re.compile(r"Authentication failed|could not read (Username|Password)|error: 40[134]|not found|access denied"
                      r"|unable to update url base from redirection", re.IGNORECASE)  # fmt: skip
_UNREACHABLE = re.compile(r"Could not resolve|Failed to connect|Connection (refused|reset|timed out)|timed out|Timeout"
                          r"|error: (429|5\d\d)|RPC failed|early EOF|hung up|unexpected disconnect|Operation too slow"
                          r"|SSL|certificate|GnuTLS|transfer closed|Empty reply", re.IGNORECASE)  # fmt: skip
_MISSING = re.compile(r"couldn't find remote ref|not our ref|unadvertised object|no such remote ref", re.IGNORECASE)


class MirrorFailed(GitError):
    """The mirror could not be brought up to date; the message says why, without secrets."""


class MirrorRefused(MirrorFailed):
    """Asked again, the far side would answer the same until somebody changes something."""


class MirrorTooLarge(MirrorRefused):
    """The repository is larger than a mirror may be."""


class MirrorBusy(MirrorFailed):
    """Somebody else is writing to the mirror."""


class CommitMissing(MirrorFailed):
    """The far side does not have the commit, or does not give it."""


class MirrorDamaged(MirrorFailed):
    """What should be in the mirror cannot be read."""


def remote_of(repository: Repository) -> GitRemote:
    """Where a repository is fetched from, with what credentials. Raises GitHubError."""
    from reviews.github.access import client_for

    return client_for(repository).git_remote(repository.full_name)


class Mirror:
    """The mirror of one repository. `check` of a method is called while git runs, and may raise to end it."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.folder = Path(settings.REVIEWS["MIRRORS_DIR"]) / f"{repository.pk}.git"
        # A number is given again when a database is made anew, and then means another repository.
        api_url = repository.access.api_url if repository.access else settings.GITHUB["API_URL"]
        self._identity = f"{api_url} {repository.github_id or repository.full_name}\n"

    @property
    def exists(self) -> bool:
        try:
            return (self.folder / "description").read_text(encoding="utf-8") == self._identity
        except OSError:
            return False

    def default_commit(self) -> str:
        """The commit of the default branch when it was last fetched; empty if there is none."""
        return self._commit_of(DEFAULT_REF)

    def has(self, commit: str) -> bool:
        """Whether a commit is here, with its files' list."""
        return self.exists and bool(self._commit_of(commit))

    def update(self, check: Callable[[], None] = lambda: None, wait_seconds: float = WAIT_SECONDS) -> str:
        """Fetch the default branch, or clone: its commit, empty for a repository without any.

        Raises MirrorFailed, GitHubError.
        """
        remote = remote_of(self.repository)
        with self._writing(wait_seconds):
            if not self.exists or not self._fetch_soundly(remote, f"+HEAD:{DEFAULT_REF}", check):
                self._clone(remote, check, CLONE_SECONDS)
            self._tidy()
        return self.default_commit()

    def ensure(self, commits: Iterable[str], check: Callable[[], None] = lambda: None) -> None:
        """Have commits here, whatever branch or fork they are of. Raises CommitMissing, MirrorFailed, GitHubError."""
        wanted = list(dict.fromkeys(commits))
        for commit in wanted:
            if not _COMMIT.fullmatch(commit):
                raise CommitMissing(f"{commit[:80]!r} is not the id of a commit")
        if self.exists and all(self._commit_of(commit) for commit in wanted):
            return
        remote = remote_of(self.repository)
        with self._writing(WAIT_SECONDS):
            if not self.exists:
                self._clone(remote, check, REVIEW_SECONDS)
            for commit in wanted:
                if self._commit_of(commit) or self._fetch_soundly(remote, _refspec(commit), check, REVIEW_SECONDS):
                    continue
                self._clone(remote, check, REVIEW_SECONDS)
                self._fetch(self.folder, remote, _refspec(commit), check, self._depth(), REVIEW_SECONDS)

    def merge_base(self, one: str, other: str) -> str:
        """Where two commits parted; empty where that is not known, as without the past."""
        try:
            return mirror_git.run(self.folder, "merge-base", one, other).decode("ascii").split("\n")[0].strip()
        except GitError:
            return ""

    def size_bytes(self) -> int:
        return folder_bytes(self.folder)

    def remove(self) -> bool:
        """Whether there was one. Raises MirrorBusy."""
        with self._writing(WAIT_SECONDS):
            there = self.folder.is_dir()
            self._delete()
        return there

    @contextmanager
    def _writing(self, wait_seconds: float) -> Iterator[None]:
        with advisory_lock(f"mirror {self.repository.pk}", wait_seconds) as is_held:
            if not is_held:
                raise MirrorBusy(f"the mirror of {self.repository} is being written by somebody else")
            yield

    def _commit_of(self, revision: str) -> str:
        if not self.folder.is_dir():
            return ""
        try:
            found = mirror_git.run(
                self.folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            )
            commit = found.decode("ascii").strip()
            return commit if mirror_git.succeeds(self.folder, "cat-file", "-e", f"{commit}^{{tree}}") else ""
        except GitError:
            return ""

    def _clone(self, remote: GitRemote, check: Callable[[], None], timeout_seconds: float) -> None:
        """Made beside its place and moved there when it is whole; without its past where that is too large."""
        self._delete()
        new = self.folder.with_suffix(".new")
        for depth in ((), ("--depth=1",)):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700, parents=True)
            try:
                mirror_git.run(new, "init", "--quiet", "--bare", "--template=", ".")
                self._fetch(new, remote, f"+HEAD:{DEFAULT_REF}", check, depth, timeout_seconds)
                (new / "description").write_text(self._identity, encoding="utf-8")
                new.rename(self.folder)
                return
            except MirrorTooLarge:
                if depth:
                    raise
            finally:
                shutil.rmtree(new, ignore_errors=True)

    def _fetch_soundly(
        self, remote: GitRemote, refspec: str, check: Callable[[], None], timeout_seconds: float = FETCH_SECONDS
    ) -> bool:
        """Fetch into a mirror that may be damaged, or have outgrown its limit; False if it is to be made anew."""
        _clear_away(self.folder)
        try:
            self._fetch(self.folder, remote, refspec, check, self._depth(), timeout_seconds)
        except (MirrorDamaged, MirrorTooLarge):
            return False
        return bool(self._commit_of(refspec.partition(":")[2])) or self._is_empty(refspec)

    def _depth(self) -> tuple[str, ...]:
        """One without its past stays so: else git would fetch that of whatever comes."""
        return ("--depth=1",) if (self.folder / "shallow").exists() else ()

    def _is_empty(self, refspec: str) -> bool:
        """A repository that had no commit when it was cloned, and has none now."""
        return refspec.endswith(DEFAULT_REF) and not mirror_git.run(self.folder, "for-each-ref").strip()

    def _fetch(
        self,
        folder: Path,
        remote: GitRemote,
        refspec: str,
        check: Callable[[], None],
        options: tuple[str, ...] = (),
        timeout_seconds: float = FETCH_SECONDS,
    ) -> None:
        watch = _SizeWatch(folder, check)
        try:
            code, errors = mirror_git.watched(
                folder, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", *options,
                "--", remote.url, refspec,
                credentials=remote.environment, timeout_seconds=timeout_seconds, check=watch,
            )  # fmt: skip
        except TookTooLong as exc:
            raise MirrorFailed(str(exc)) from None
        if code:
            _explain(refspec, errors, _secrets(remote))
        watch.measure()

    def _tidy(self) -> None:
        """Forget heads of long ago, and make one pack of many."""
        heads = self.folder / _HEADS
        oldest = time.time() - HEADS_KEPT_SECONDS
        for ref in heads.iterdir() if heads.is_dir() else ():
            if ref.stat().st_mtime < oldest:
                ref.unlink(missing_ok=True)
        if sum(1 for _ in (self.folder / "objects/pack").glob("*.pack")) > MANY_PACKS:
            try:
                mirror_git.run(self.folder, "repack", "-a", "-d", "-q", timeout_seconds=REPACK_SECONDS)
            except TookTooLong:
                _clear_away(self.folder)

    def _delete(self) -> None:
        """Out of the way first, so that nobody takes what is left of it for whole."""
        if self.folder.is_dir():
            away = self.folder.with_suffix(".old")
            shutil.rmtree(away, ignore_errors=True)
            self.folder.rename(away)
            shutil.rmtree(away, ignore_errors=True)


class _SizeWatch:
    """Raises MirrorTooLarge when a folder has outgrown what a mirror may have; looks once a second."""

    def __init__(self, folder: Path, check: Callable[[], None]) -> None:
        self._folder, self._check = folder, check
        self._next = 0.0

    def __call__(self) -> None:
        self._check()
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SIZE_EVERY_SECONDS
            self.measure()

    def measure(self) -> None:
        most = int(settings.REVIEWS["MIRROR_MAX_BYTES"])
        if folder_bytes(self._folder) > most:
            raise MirrorTooLarge(f"its mirror has more than {most:,} bytes; raise MIRROR_MAX_MB, or do not index it")
        if shutil.disk_usage(self._folder).free < FREE_BYTES:
            raise MirrorFailed(f"the disk of {self._folder.parent} is nearly full; make room, or move DATA")


def trees(repository: Repository, base: str, head: str) -> "MirrorTrees":
    """See `mirror_reading.trees`."""
    from reviews.code import mirror_reading

    return mirror_reading.trees(repository, base, head)


def _refspec(commit: str) -> str:
    return f"+{commit}:{_HEADS}/{commit}"


def _clear_away(folder: Path) -> None:
    """What a git that was killed has left. Its locks would keep the next one out."""
    for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/**/tmp_obj_*"):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def _secrets(remote: GitRemote) -> list[str]:
    return [value.rsplit(" ", 1)[-1] for value in remote.environment.values() if "Authorization" in value]


def _explain(refspec: str, errors: str, secrets: list[str]) -> None:
    """Raise what became of a fetch; return where the repository has no commit yet."""
    said = first_line(errors)
    for secret in secrets:
        said = said.replace(secret, "•••")
    what = f"fetching failed: {said}"
    if _MISSING.search(errors):
        if refspec.startswith("+HEAD:"):
            return
        raise CommitMissing(f"the commit {refspec[1:13]} is not to be had: {said}")
    if _NOT_TAKEN.search(errors):  # git's own words are about a prompt that nobody has seen
        what = "fetching failed: the server did not take our token"
    if _REFUSED.search(errors):
        raise MirrorRefused(f"{what}; see that the repository is there, and that our access may read its contents")
    if _UNREACHABLE.search(errors):
        raise MirrorFailed(what)
    raise MirrorDamaged(what)
