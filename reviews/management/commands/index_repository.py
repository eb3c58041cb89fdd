"""`manage.py index_repository`: has the code of repositories indexed, or does it here."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs.ledger.errors import Snooze
from jobs.management.output import OperatorCommand, cell
from jobs.operators.actors import command_actor
from jobs.operators.lookups import NotHere
from reviews.git import GitError
from reviews.github.errors import GitHubError
from reviews.models import Repository
from reviews.operators.lookups import repository_of
from reviews.services import code_index


class Command(OperatorCommand):
    help = (
        "Bring the index of a repository's code to the newest commit of its default branch: what reviews look up "
        "callers, similar code and guidelines in. Only files that changed since the last time are read."
    )
    wrong_use = (code_index.IndexRefused, NotHere)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "repository", nargs="?", metavar="OWNER/NAME", help="a repository that is known, or its number here"
        )
        parser.add_argument("--all", action="store_true", dest="is_all", help="every repository that is indexed")
        parser.add_argument("--now", action="store_true", help="index here and wait, instead of sending a job")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    def handle(self, *, repository: str | None, is_all: bool, now: bool, as_json: bool, **options: Any) -> None:
        if bool(repository) == is_all:
            raise CommandError("give OWNER/NAME, or --all, one of both", returncode=2)
        chosen = [repository_of(repository)] if repository else list(code_index.indexable())
        rows = [self._run(one) if now else self._send(one) for one in chosen]
        if as_json:
            self.print_json(rows if is_all else rows[0])
        else:
            for row in rows:
                self.stdout.write(_line(row))
        failed = [row["repository"] for row in rows if row.get("error")]
        if failed:
            raise CommandError(f"{len(failed)} of {len(rows)} failed: {cell(', '.join(failed))}", returncode=1)

    def _send(self, repository: Repository) -> dict[str, Any]:
        return {"repository": repository.full_name, "job": code_index.request(command_actor(), repository)}

    def _run(self, repository: Repository) -> dict[str, Any]:
        self.say(f"indexing {cell(repository.full_name)} …")
        try:
            done = code_index.run_now(command_actor(), repository)
        except (GitError, GitHubError, Snooze) as exc:
            return {"repository": repository.full_name, "error": exc.why if isinstance(exc, Snooze) else str(exc)}
        if "left_to" in done:
            return {"repository": repository.full_name, "error": f"job {done['left_to']} is indexing it"}
        return done


def _line(row: dict[str, Any]) -> str:
    name = cell(row["repository"])
    if "job" in row:
        return f"{name}: job {row['job']}"
    if "error" in row:
        return f"{name}: failed: {cell(row['error'])}"
    skipped = sum(row["skipped"].values())
    return (
        f"{name} at {row['sha'][:12] or 'no commit'}: {row['files']:,} files, {row['symbols']:,} symbols, "
        f"{row['chunks']:,} chunks; {row['read']:,} files read, {row['unchanged']:,} unchanged, {skipped:,} skipped, "
        f"{row['seconds']:g} s"
    )
