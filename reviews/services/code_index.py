"""The index of a repository's code: brought up to date, asked for, and removed.

One run at a time for a repository. A push while one is under way has it run once more: `wanted_sha` is looked at with
the row locked, both by who sets it and by the run before it says that it is ready.
"""

import logging
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F, Func, IntegerField, QuerySet, Sum
from django.db.models.functions import Now

from jobs import Discard, Snooze
from jobs.ledger.errors import JobCancelled, JobMovedOn
from jobs.ledger.run import current_run
from jobs.operators.actors import Actor
from reviews.code import indexing, storing
from reviews.code.locks import advisory_lock
from reviews.code.mirror import Mirror
from reviews.git import GitError
from reviews.github.errors import GitHubError
from reviews.models import CodeFile, CodeIndex, IndexState, Reference, Repository, Symbol

logger = logging.getLogger(__name__)

MOST_ROUNDS = 5
OTHER_RUN_SECONDS = 5.0
MAX_ERROR = 1000


class IndexRefused(ValueError):
    """The code of this repository is not indexed; the message says why, and what to do."""


@dataclass
class _Run:
    """One run. wanted: the newest commit that was asked for when it last looked."""

    repository: Repository
    index: CodeIndex
    wanted: str = ""
    rounds: int = 0
    done: indexing.Done = field(default_factory=indexing.Done)


def update(repository_id: int) -> dict[str, Any]:
    """Bring the index of a repository's code to its newest commit. Run by the job `index_repository`.

    Raises Discard, Snooze, GitError, GitHubError; what it has stored until then is kept, and the next run goes on.
    """
    repository = Repository.objects.select_related("access").filter(pk=repository_id).first()
    if repository is None:
        raise Discard(f"repository {repository_id} is gone")
    if why := _why_not(repository):
        CodeIndex.objects.filter(repository=repository, state=IndexState.QUEUED).update(
            state=IndexState.NONE, error=why[:MAX_ERROR]
        )
        raise Discard(why)
    with advisory_lock(f"index {repository_id}") as is_ours:
        if not is_ours:
            return _leave_to_other(repository_id)
        return _run(_begin(repository))


def remove(repository_id: int) -> dict[str, Any]:
    """Remove the mirror of a repository, its index and its chunks; the repository's row may be gone already."""
    with advisory_lock(f"index {repository_id}", OTHER_RUN_SECONDS) as is_ours:
        if not is_ours:
            raise Snooze(OTHER_RUN_SECONDS, "it is being indexed")
        had_mirror = Mirror(Repository(pk=repository_id)).remove()
        chunks = storing.remove_documents(repository_id)
        files = CodeFile.objects.filter(index__repository=repository_id)
        Symbol.objects.filter(file__in=files).delete()
        Reference.objects.filter(file__in=files).delete()
        number, _ = files.delete()
        CodeIndex.objects.filter(repository=repository_id).delete()
    return {"mirror": had_mirror, "files": number, "chunks": chunks}


def remove_if_gone(repository_id: int) -> dict[str, Any]:
    """The same, unless the repository was given back since then; if it is meanwhile, its code is indexed anew."""
    given_back = Repository.objects.filter(pk=repository_id, removed_at=None)
    if given_back.exists():
        return {"kept": "the repository is there again"}
    removed = remove(repository_id)
    row = given_back.first()
    if row is not None and row.enabled:
        request_if_missing(row)
    return removed


def request(actor: Actor, repository: Repository) -> str:
    """Have a repository's code indexed; the job's id.

    Raises PermissionDenied (reviews.index_repository), IndexRefused.
    """
    actor.require("reviews.index_repository")
    if why := _why_not(repository):
        raise IndexRefused(why)
    with transaction.atomic():
        actor.record("index.request", repository.full_name)
        return _send(repository, "")


def run_now(actor: Actor, repository: Repository) -> dict[str, Any]:
    """Index a repository's code in this process; as `update` tells, or who else does it.

    Raises PermissionDenied (reviews.index_repository), IndexRefused, Snooze, GitError, GitHubError.
    """
    actor.require("reviews.index_repository")
    if why := _why_not(repository):
        raise IndexRefused(why)
    actor.record("index.run", repository.full_name)
    return update(repository.pk)


def indexable() -> QuerySet[Repository]:
    """The repositories whose code is indexed, by name."""
    return Repository.objects.filter(index_enabled=True, removed_at=None).order_by("full_name")


def request_for_push(repository: Repository, sha: str) -> str:
    """Have a repository's code indexed because its default branch moved to a commit; the job's id.

    Empty for a repository that is not indexed, or whose index is at that commit.
    """
    if _why_not(repository):
        return ""
    if CodeIndex.objects.filter(repository=repository, state=IndexState.READY, sha=sha).exists():
        return ""
    with transaction.atomic():
        return _send(repository, sha)


def request_if_missing(repository: Repository, *, also_failed: bool = False) -> str:
    """Have a repository's code indexed unless that has been done, or tried, before; the job's id.

    also_failed: also where it failed, as what it lacked may be there now.
    """
    missing = [IndexState.NONE, *([IndexState.FAILED] if also_failed else [])]
    known = CodeIndex.objects.filter(repository=repository).exclude(state__in=missing)
    return "" if known.exists() else request_for_push(repository, "")


def _why_not(repository: Repository) -> str:
    if repository.removed_at is not None:
        return f"{repository} is gone from GitHub, or we were removed from it"
    if not repository.index_enabled:
        return f"indexing is switched off for {repository}; switch “index enabled” on"
    return ""


def _send(repository: Repository, sha: str) -> str:
    """In a transaction: what is wanted, and the job that sees to it."""
    from reviews.tasks import index_repository

    index = _locked(repository.pk)
    if sha:
        index.wanted_sha = sha
    if index.state != IndexState.RUNNING:
        index.state = IndexState.QUEUED
    index.save(update_fields=["wanted_sha", "state"])
    sent = str(index_repository.delay(repository_id=repository.pk).id)
    if index.state == IndexState.QUEUED:
        CodeIndex.objects.filter(pk=index.pk).update(job_id=sent)
    return sent


def _locked(repository_id: int) -> CodeIndex:
    CodeIndex.objects.bulk_create([CodeIndex(repository_id=repository_id)], ignore_conflicts=True)
    return CodeIndex.objects.select_for_update().get(repository_id=repository_id)


def _leave_to_other(repository_id: int) -> dict[str, Any]:
    """The run under way does what this one was sent for, unless it has looked for the last time already."""
    with transaction.atomic():
        index = _locked(repository_id)
        if index.state == IndexState.RUNNING:
            return {"left_to": index.job_id}
    raise Snooze(OTHER_RUN_SECONDS, "another run is about to end")


def _begin(repository: Repository) -> _Run:
    run = current_run()
    with transaction.atomic():
        index = _locked(repository.pk)
        index.state, index.error = IndexState.RUNNING, ""
        index.job_id = run.job_id if run else ""
        index.save(update_fields=["state", "error", "job_id"])
        CodeIndex.objects.filter(pk=index.pk).update(started_at=Now())
    return _Run(repository, index, index.wanted_sha)


def _run(run: _Run) -> dict[str, Any]:
    try:
        while True:
            run.rounds += 1
            run.done = indexing.bring_up_to_date(run.repository, run.index, run.wanted)
            if _finish(run):
                return _result(run)
    except JobMovedOn:
        raise  # another worker has it, and the row
    except Snooze as exc:
        _end(run, IndexState.QUEUED, exc.why)
        raise
    except KeyboardInterrupt:
        # Of a run by a command, which no job makes up for.
        _end(
            run, IndexState.FAILED, "it was interrupted; what was indexed is kept, and the next run goes on from there"
        )
        raise
    except Exception as exc:
        _end(run, IndexState.FAILED, _told(exc))
        raise


def _finish(run: _Run) -> bool:
    """Say that it is ready, unless more was pushed meanwhile."""
    figures = _figures(run.index)
    with transaction.atomic():
        index = _locked(run.repository.pk)
        is_behind = index.wanted_sha not in (run.wanted, run.done.sha)
        again = is_behind and run.rounds < MOST_ROUNDS
        CodeIndex.objects.filter(pk=index.pk).update(
            **figures,
            sha=run.done.sha,
            skipped=run.done.skipped,
            mirror_bytes=run.done.mirror_bytes,
            indexed_at=Now(),
            seconds=run.done.seconds,
            state=IndexState.RUNNING if again else IndexState.READY,
        )
        if is_behind and not again:
            _send(run.repository, "")
        run.wanted = index.wanted_sha
    run.index.refresh_from_db()
    return not again


def _figures(index: CodeIndex) -> dict[str, int]:
    files = CodeFile.objects.filter(index=index)
    cardinality = Func(F("chunk_ids"), function="cardinality", output_field=IntegerField())
    return {
        "files": files.filter(skipped="").count(),
        "symbols": Symbol.objects.filter(file__index=index).count(),
        "chunks": files.aggregate(total=Sum(cardinality))["total"] or 0,
    }


def _end(run: _Run, state: IndexState, error: str) -> None:
    CodeIndex.objects.filter(pk=run.index.pk).update(state=state, error=error[:MAX_ERROR])


def _told(exc: Exception) -> str:
    """Why it failed, for the row: texts of ours alone, since others may quote what came from outside."""
    if isinstance(exc, GitError | GitHubError | storing.ChunksRefused):
        return str(exc)
    if isinstance(exc, JobCancelled):
        return "an operator stopped it"
    if type(exc).__name__ == "SoftTimeLimitExceeded":
        return "it took too long; what was indexed is kept, and the next run goes on from there"
    return f"{type(exc).__name__}; its job tells more"


def _result(run: _Run) -> dict[str, Any]:
    return {
        "repository": run.repository.full_name,
        "sha": run.index.sha,
        "files": run.index.files,
        "symbols": run.index.symbols,
        "chunks": run.index.chunks,
        "skipped": run.index.skipped,
        "read": run.done.read,
        "unchanged": run.done.unchanged,
        "gone": run.done.gone,
        "rounds": run.rounds,
        "seconds": round(run.done.seconds, 2),
    }
