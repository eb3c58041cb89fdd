"""`manage.py review`: reviews a change in a local git repository, or a pull request at GitHub.

The first needs neither network nor Postgres nor Redis.
"""

import json
import math
import sys
from argparse import RawDescriptionHelpFormatter
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from jobs.management.output import OperatorCommand
from reviews.changes import Change
from reviews.git import GitError, NotARepository, UnknownRevision
from reviews.local_source import open_change_and_trees
from reviews.providers import DEFAULT_PROVIDER, PROVIDERS, provider_named
from reviews.providers.base import FINDING_BUDGET, Brief, Finding, ProviderFailed, ReviewResult

DESCRIPTION = """\
Review a change, in a local repository or at GitHub.

--repo: print what is new on the lines that HEAD changes since it left BASE. Only committed content is read, straight
from git's object store: the working tree is not looked at, and nothing of the repository (hooks, filters, linter
settings) is run. Needs neither network nor Postgres nor Redis.

--pr: have a pull request of a repository that is known here reviewed by a job, or, with --dry-run, review it here and
print what would be posted; of a repository that is not known, with the environment's token."""
EPILOG = """\
examples:
  manage.py review --repo ~/code/shop --base main --head feature/checkout
  manage.py review --pr acme/shop#7 --dry-run
  manage.py review --pr acme/shop#7 --full --wait

exit codes:  0 reviewed, also with findings;  1 findings, with --fail-on-findings, or the review failed;  2 wrong use"""


class _Help(RawDescriptionHelpFormatter):
    pass


#: What fits one of --repo and --pr alone → its default.
_OF_REPO: dict[str, Any] = {"base": None, "head": "HEAD", "all": False, "fail_on_findings": False}
_OF_PR: dict[str, Any] = {"full": False, "dry_run": False, "wait": False, "timeout": math.inf}


class Command(OperatorCommand):
    help = DESCRIPTION

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=_Help, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--repo", type=Path, metavar="PATH", help="a git repository, bare or not")
        source.add_argument("--pr", metavar="OWNER/NAME#NUMBER", help="a pull request at GitHub")
        parser.add_argument("--base", metavar="REV", help="where the change starts, such as main")
        parser.add_argument("--head", default="HEAD", metavar="REV", help="where it ends (default: HEAD)")
        parser.add_argument("--json", action="store_true", help="print JSON instead of lines, with all findings")
        parser.add_argument(
            "--all", action="store_true", help=f"print all findings (default: the {FINDING_BUDGET} most severe)"
        )
        parser.add_argument("--fail-on-findings", action="store_true", help="exit with 1 when there is a finding")
        parser.add_argument(
            "--provider", default=DEFAULT_PROVIDER, choices=list(PROVIDERS), help="who reviews (default: %(default)s)"
        )
        parser.add_argument(
            "--full", action="store_true", help="of --pr: all of it, not only what is new since its review"
        )
        parser.add_argument("--dry-run", action="store_true", help="of --pr: print what would be posted; post nothing")
        parser.add_argument("--wait", action="store_true", help="of --pr: wait for the end; exit 1 if it fails")
        parser.add_argument(
            "--timeout",
            type=float,
            metavar="SECONDS",
            default=math.inf,
            help="wait no longer; the job goes on",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _check_options(options)
        if options["pr"] is None:
            self._review_local(options)
            return
        # Loaded now, because the other way needs no Postgres, and so none of it.
        from reviews.management import pull_request, rows

        self.wrong_use, self.failed = rows.RowsCommand.wrong_use, rows.RowsCommand.failed
        pull_request.run(self, options)

    def _review_local(self, options: dict[str, Any]) -> None:
        repo = _folder(options["repo"])
        try:
            with open_change_and_trees(repo, options["base"], options["head"]) as (change, trees):
                result = provider_named(options["provider"]).review(change, brief=Brief(trees=trees))
        except (NotARepository, UnknownRevision) as exc:
            raise CommandError(str(exc), returncode=2) from None
        except (GitError, ProviderFailed) as exc:
            raise CommandError(str(exc), returncode=1) from None
        shown = result if options["all"] or options["json"] else result.within(FINDING_BUDGET)
        lines = [json.dumps(as_json(change, shown), indent=2)] if options["json"] else as_lines(change, shown)
        for line in lines:
            self.stdout.write(printable(line))
        if options["fail_on_findings"] and result.findings:
            sys.exit(1)


def _folder(path: Path) -> Path:
    """Raises CommandError for what cannot be looked at; whether a repository is there is told later."""
    try:
        found = path.expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            found.stat()
    except (OSError, RuntimeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc  # of ~somebody who is not known here
        raise CommandError(f"--repo {str(path)[:200]!r} cannot be read: {reason}", returncode=2) from None
    return found


def _check_options(options: dict[str, Any]) -> None:
    """Raises CommandError for what does not fit --repo, or --pr."""
    mode, foreign = ("--repo", _OF_PR) if options["pr"] is None else ("--pr", _OF_REPO)
    for name, default in foreign.items():
        if options[name] != default:
            raise CommandError(f"--{name.replace('_', '-')} does not go with {mode}", returncode=2)
    if options["pr"] is None and options["base"] is None:
        raise CommandError("--repo needs --base REV: where the change starts, such as main", returncode=2)
    if options["dry_run"] and options["wait"]:
        raise CommandError("--dry-run needs no --wait: it reviews here and now", returncode=2)


def as_lines(change: Change, result: ReviewResult) -> list[str]:
    lines = [line for finding in result.findings for line in _finding_lines(finding)]
    if result.left_out:
        lines.append(
            f"… and {result.left_out} more; the {len(result.findings)} most severe are shown; --all prints every one"
        )
    read = len(result.coverage) - len(result.not_read)
    lines.append(f"{_count(len(result.findings) + result.left_out, 'finding')} in {_count(read, 'file')} read, "
                 f"{change.base[:12]}..{change.head[:12]}, by {result.provider}")  # fmt: skip
    lines += [f"note: {note}" for note in result.notes]
    lines += [f"not read: {_path(file.path)}: {file.reason}" for file in result.not_read]
    lines += [f"note: {_path(file.path)}: {file.reason}" for file in result.coverage if file.read and file.reason]
    return lines


def as_json(change: Change, result: ReviewResult) -> dict[str, Any]:
    return {
        "base": change.base,
        "head": change.head,
        "provider": result.provider,
        "findings": [
            {
                "path": found.path,
                "line": found.line,
                "end_line": found.end_line,
                "rule": found.rule,
                "message": found.message,
                "severity": found.severity.value,
                "source_line": found.source_line,
                "symbol": found.symbol,
                "fingerprint": found.fingerprint,
                "category": found.category,
                "suggestion": found.suggestion,
            }
            for found in result.findings
        ],
        "left_out": result.left_out,
        "read": [{"path": file.path, "remark": file.reason} for file in result.coverage if file.read],
        "not_read": [{"path": file.path, "reason": file.reason} for file in result.not_read],
        "notes": list(result.notes),
    }


def _finding_lines(found: Finding) -> list[str]:
    """The finding, and below it what would stand in place of its lines."""
    fixed = found.suggestion.removesuffix("\n").split("\n") if found.suggestion is not None else []
    return [_line(found), *(f"    suggested: {line}" for line in fixed)]


def _line(found: Finding) -> str:
    return f"{_path(found.path)}:{found.line}: {found.rule} {found.message} [{found.severity.value}]"


def _path(path: str) -> str:
    """A path on one line: control characters, such as a newline in it, are written out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in path)


def printable(line: str) -> str:
    """What a terminal may be given: source and messages come from outside, and may hold escape sequences."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in line)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
