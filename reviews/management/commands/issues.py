"""`manage.py issues`: list, show, enrich and label issues."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs.management.output import OperatorCommand, add_verbs, cell
from jobs.operators.actors import command_actor
from jobs.operators.lookups import NotHere
from reviews.api.issue_serializers import IssueDetailSerializer, IssueSerializer
from reviews.models import EnrichmentState
from reviews.operators.lookups import repository_of
from reviews.services import enriching, issue_importing, issue_labels, issues, label_training
from reviews.services.issue_labels import LabelRefused

MAX_LIMIT = 200
COLUMNS = {
    "id": "ID",
    "repository": "REPOSITORY",
    "number": "NUMBER",
    "title": "TITLE",
    "tags": "LABELS",
    "enrichment_state": "ENRICHMENT",
    "enrichment_error": "NOTE",
}


class Command(OperatorCommand):
    help = "List, show, enrich and label issues."
    wrong_use = (issues.UnknownIssue, LabelRefused, issue_importing.UnknownRepository, NotHere)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list issues, the newest first", _add_list),
                ("show", "show an issue, its summary, labels and similar issues", _add_id),
                ("enrich", "have an issue enriched again, by a job", _add_id),
                ("label", "give an issue labels, and take others off, as a person", _add_label),
                ("import", "fetch a repository's issues from GitHub, by a job", _add_repository),
                ("train", "learn a repository's labels from its labelled issues, by a job", _add_repository),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        getattr(self, f"do_{verb}")(as_json, options)

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        if not 1 <= options["limit"] <= MAX_LIMIT:
            raise CommandError(f"--limit {options['limit']} is outside 1 to {MAX_LIMIT}", returncode=2)
        names = ("repository", "state", "enrichment_state", "tag", "search")
        found = issues.issues(**{name: options[name] or "" for name in names})
        rows = list(IssueSerializer(found.order_by("-created_at", "-id")[: options["limit"]], many=True).data)
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(COLUMNS, [{**row, "tags": ", ".join(row["tags"])} for row in rows])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(issues.find_issue(options["id"]), as_json)

    def do_enrich(self, as_json: bool, options: dict[str, Any]) -> None:
        issue = enriching.rerun(command_actor(), issues.find_issue(options["id"]))
        if as_json:
            self._show(issue, as_json)
        else:
            self.stdout.write(f"issue {issue.pk} is enriched by job {issue.job_id}")

    def do_label(self, as_json: bool, options: dict[str, Any]) -> None:
        if not options["add"] and not options["remove"]:
            raise CommandError("nothing to change; name labels by --add and --remove", returncode=2)
        issue = issues.find_issue(options["id"])
        self._show(issue_labels.label(command_actor(), issue, options["add"], options["remove"]), as_json)

    def do_train(self, as_json: bool, options: dict[str, Any]) -> None:
        repository = repository_of(options["repository"])
        job_id = label_training.request_by(command_actor(), repository)
        if as_json:
            self.print_json({"repository": repository.full_name, "job": job_id})
        else:
            self.stdout.write(f"the labels of {cell(repository.full_name)} are learned by job {job_id}")

    def do_import(self, as_json: bool, options: dict[str, Any]) -> None:
        repository = repository_of(options["repository"])
        job_id = issue_importing.request(command_actor(), repository)
        if as_json:
            self.print_json({"repository": repository.full_name, "job": job_id})
        else:
            self.stdout.write(f"the issues of {cell(repository.full_name)} are fetched by job {job_id}")

    def _show(self, issue: Any, as_json: bool) -> None:
        shown = dict(IssueDetailSerializer(issue).data)
        if as_json:
            self.print_json(shown)
            return
        for key, value in shown.items():
            if key not in ("tags", "tag_details", "similar", "body"):
                self.stdout.write(f"{key:<18}{cell(value)}")
        for tag in shown["tag_details"]:
            sure = "" if tag["confidence"] is None else f" {tag['confidence']:.2f}"
            word = "not " if tag["removed"] else ""
            reason = f": {tag['reason']}" if tag["reason"] else ""
            text = f"{word}{tag['name']} ({tag['source']}{sure}{reason})"
            self.stdout.write(f"{'label':<18}{cell(text)}")
        for one in shown["similar"]:
            text = f"{one['issue']} ({one['score']:.2f}, {one['reason']}) {one['title']}"
            self.stdout.write(f"{'similar':<18}{cell(text)}")


def _add_list(parser: ArgumentParser) -> None:
    parser.add_argument("--repository", help="owner/name")
    parser.add_argument("--state", choices=issues.STATES)
    parser.add_argument("--enrichment-state", choices=EnrichmentState.values)
    parser.add_argument("--tag", help="a label that the issue has")
    parser.add_argument("--search", help="words of title or body, or a number")
    parser.add_argument("--limit", type=int, default=20, help=f"how many at most, up to {MAX_LIMIT} (default 20)")


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", type=int)


def _add_label(parser: ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("--add", action="append", default=[], metavar="LABEL", help="may be repeated")
    parser.add_argument("--remove", action="append", default=[], metavar="LABEL", help="may be repeated")


def _add_repository(parser: ArgumentParser) -> None:
    parser.add_argument("repository", help="owner/name, or its number here")
