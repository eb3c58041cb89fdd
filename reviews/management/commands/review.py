"""`manage.py review`: reviews a change in a local git repository, without network, Postgres or Redis."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from reviews.changes import Change
from reviews.git import GitError, NotARepository, UnknownRevision
from reviews.local_source import open_change
from reviews.providers import DEFAULT_PROVIDER, PROVIDERS, provider_named
from reviews.providers.base import FINDING_BUDGET, Finding, ProviderFailed, ReviewResult

DESCRIPTION = """\
Review what HEAD changes since it left BASE, and print what is new on the lines that it changed.

Only committed content is read, straight from git's object store: the working tree is not looked at, and nothing of
the repository (hooks, filters, linter settings) is run. Needs neither network nor Postgres nor Redis."""
EPILOG = """\
example:  manage.py review --repo ~/code/shop --base main --head feature/checkout

exit codes:  0 reviewed, also with findings;  1 findings, with --fail-on-findings, or the review failed;  2 wrong use"""


class _Help(RawDescriptionHelpFormatter):
    pass


class Command(BaseCommand):
    help = DESCRIPTION
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=_Help, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repo", required=True, type=Path, metavar="PATH", help="a git repository, bare or not")
        parser.add_argument("--base", required=True, metavar="REV", help="where the change starts, such as main")
        parser.add_argument("--head", default="HEAD", metavar="REV", help="where it ends (default: HEAD)")
        parser.add_argument("--json", action="store_true", help="print JSON instead of lines, with all findings")
        parser.add_argument(
            "--all", action="store_true", help=f"print all findings (default: the {FINDING_BUDGET} most severe)"
        )
        parser.add_argument("--fail-on-findings", action="store_true", help="exit with 1 when there is a finding")
        parser.add_argument(
            "--provider", default=DEFAULT_PROVIDER, choices=list(PROVIDERS), help="who reviews (default: %(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with open_change(options["repo"].expanduser(), options["base"], options["head"]) as change:
                result = provider_named(options["provider"]).review(change)
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


def as_lines(change: Change, result: ReviewResult) -> list[str]:
    lines = [_line(finding) for finding in result.findings]
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
            }
            for found in result.findings
        ],
        "left_out": result.left_out,
        "read": [{"path": file.path, "remark": file.reason} for file in result.coverage if file.read],
        "not_read": [{"path": file.path, "reason": file.reason} for file in result.not_read],
        "notes": list(result.notes),
    }


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
