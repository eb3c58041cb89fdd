"""`manage.py llm`: language models that may review, and what their calls cost."""

from argparse import ArgumentParser
from typing import Any

from jobs.management.output import add_verbs, plain, time_option
from jobs.management.rows import add_list, chosen, option, settings_of
from jobs.management.secrets import add_secrets, with_secrets
from jobs.operators.actors import command_actor
from reviews.management.rows import RowsCommand
from reviews.models import LlmProvider
from reviews.operators import llm_calls, llm_providers

SECRETS = ("api_key",)
COLUMNS = {
    "id": "ID",
    "name": "NAME",
    "kind": "KIND",
    "model": "MODEL",
    "enabled": "ENABLED",
    "change_cap_usd": "USD A CHANGE",
    "daily_cap_usd": "USD A DAY",
    "checked_at": "CHECKED",
    "error": "ERROR",
}
CALLS = {
    "id": "ID",
    "created_at": "CREATED",
    "provider": "PROVIDER",
    "purpose": "PURPOSE",
    "repository": "REPOSITORY",
    "number": "NUMBER",
    "input_tokens": "INPUT",
    "output_tokens": "OUTPUT",
    "cost_usd": "USD",
    "error": "ERROR",
}
SUMS = {
    "of": "OF",
    "calls": "CALLS",
    "failed": "FAILED",
    "input_tokens": "INPUT",
    "output_tokens": "OUTPUT",
    "cost_usd": "USD",
}


class Command(RowsCommand):
    help = "List, enter, change, try and remove language models, and show what their calls cost."
    examples = (
        "llm add claude kind=anthropic model=claude-sonnet-5 --api-key-file -   # reads it from stdin",
        "llm set claude daily_cap_usd=5",
        "llm check claude",
        "llm calls --provider claude --failed",
        "llm calls --by day",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list language models by name", add_list()),
                ("show", "show one; of its key, whether it is entered", _add_name),
                ("add", "enter one, at least its kind and model", _add_settings),
                ("set", "change one", _add_settings),
                ("check", "try key and model by a tiny request", _add_name),
                ("remove", "remove one that no repository uses", _add_name),
                ("calls", "list calls, the newest first, or their sums", _CALLS),
            ],
        )

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.settings_serializers import LlmProviderSerializer

        found = llm_providers.providers().order_by("name")
        self.print_rows(found, LlmProviderSerializer, COLUMNS, as_json, options["limit"])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(llm_providers.provider_named(options["name"]), as_json)

    def do_add(self, as_json: bool, options: dict[str, Any]) -> None:
        settings = {**settings_of(options["given"]), "name": options["name"]}
        self._show(llm_providers.create_provider(command_actor(), with_secrets(settings, options, SECRETS)), as_json)

    def do_set(self, as_json: bool, options: dict[str, Any]) -> None:
        row = llm_providers.provider_named(options["name"])
        given = with_secrets(settings_of(options["given"]), options, SECRETS)
        self._show(llm_providers.change_provider(command_actor(), row.pk, given), as_json)

    def do_check(self, as_json: bool, options: dict[str, Any]) -> None:
        row = llm_providers.provider_named(options["name"])
        checked = llm_providers.check(command_actor(), row)
        if as_json:
            self.print_json(vars(checked))
        else:
            said = f"works; it cost ${checked.cost_usd}" if checked.works else f"does not work: {checked.message}"
            self.stdout.write(plain(f"{row.name} {said}"))
        if not checked.works:
            raise SystemExit(1)

    def do_remove(self, as_json: bool, options: dict[str, Any]) -> None:
        row = llm_providers.provider_named(options["name"])
        llm_providers.delete_provider(command_actor(), row.pk)
        if as_json:
            self.print_json({"removed": row.name})
        else:
            self.stdout.write(plain(f"{row.name} is removed"))

    def do_calls(self, as_json: bool, options: dict[str, Any]) -> None:
        from reviews.api.review_serializers import LlmCallSerializer
        from reviews.api.settings_serializers import SummedCallsSerializer

        asked = chosen(options, "provider", "purpose", "repository", "review")
        asked |= {"failed": True} if options["failed"] else {}
        for name in ("created_after", "created_before"):
            asked[name] = time_option(f"--{name.replace('_', '-')}", options[name])
        if options["by"] is None:
            found = llm_calls.calls(**asked).order_by("-created_at", "-id")
            self.print_rows(found, LlmCallSerializer, CALLS, as_json, options["limit"])
            return
        rows = list(SummedCallsSerializer(llm_calls.sums(options["by"], **asked), many=True).data)
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(SUMS, rows)

    def _show(self, row: LlmProvider, as_json: bool) -> None:
        from reviews.api.settings_serializers import LlmProviderSerializer

        self.print_row(LlmProviderSerializer(row).data, as_json)


_CALLS = add_list(
    option("by", f"sums, of the last {llm_calls.KEPT_DAYS} days", choices=list(llm_calls.SUMMED_BY)),
    option("provider", "the provider's name"),
    option("purpose", "what for", choices=llm_calls.PURPOSES),
    option("repository", "owner/name"),
    option("review", "the review's number here", type=int),
    option("failed", "those that gave no answer", action="store_true"),
    option("created-after", "ISO 8601", metavar="TIME"),
    option("created-before", "ISO 8601", metavar="TIME"),
)


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("name")


def _add_settings(parser: ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("given", nargs="*", metavar="NAME=VALUE", help="such as model=claude-sonnet-5")
    add_secrets(parser, SECRETS)
