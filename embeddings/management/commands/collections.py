"""`manage.py collections`: make, show, set and delete collections of documents."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from embeddings.api.collection_views import shown_collection, shown_collections
from embeddings.services import collections
from embeddings.services.collection_settings import SETTINGS, CollectionRefused
from jobs.management.output import OperatorCommand, add_verbs, cell
from jobs.operators.actors import command_actor

COLUMNS = {
    "name": "NAME",
    "documents": "DOCUMENTS",
    "pending": "PENDING",
    "set_aside": "SET ASIDE",
    "encoder": "ENCODER",
    "engine": "ENGINE",
    "active_version": "VERSION",
    "groups": "GROUPS",
}
NUMBERS = ("chunk_tokens", "chunk_overlap", "keep_versions", "recall_target", "recall_floor")


class Command(OperatorCommand):
    help = "List, show, make, change and delete collections of documents."
    wrong_use = (collections.UnknownCollection, CollectionRefused, collections.CollectionExists)
    failed = (collections.CollectionNotEmpty,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list collections, as they were measured last", None),
                ("show", "show a collection's settings and how much is in it", _add_name),
                ("create", "make a collection", _add_settings),
                (
                    "change",
                    "change a collection's settings; documents are cut anew where that is needed",
                    _add_settings,
                ),
                ("delete", "delete an empty collection, or, by a job, one with documents", _add_delete),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        getattr(self, f"do_{verb}")(as_json, options)

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        rows = shown_collections(list(collections.visible_to(None)))
        if as_json:
            self.print_json(rows)
            return
        self.print_table(COLUMNS, [{**row, **(row["figures"] or {})} for row in rows])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        self._show(shown_collection(collections.find(options["name"])), as_json)

    def do_create(self, as_json: bool, options: dict[str, Any]) -> None:
        made = collections.create(command_actor(), options["name"], _settings(options))
        self._show(shown_collection(made), as_json)

    def do_change(self, as_json: bool, options: dict[str, Any]) -> None:
        changes = _settings(options)
        if not changes:
            raise CommandError(f"nothing to change; name a setting, one of: {', '.join(SETTINGS)}", returncode=2)
        changed = collections.change(command_actor(), options["name"], changes)
        shown = {**shown_collection(changed.collection), "recut_job": changed.recut_job}
        self._show(shown, as_json)
        if changed.recut_job:
            self.say(f"its documents are cut anew by job {changed.recut_job}")

    def do_delete(self, as_json: bool, options: dict[str, Any]) -> None:
        job = collections.delete(command_actor(), options["name"], force=options["force"])
        if as_json:
            self.print_json({"collection": options["name"], "job": job or None})
        else:
            done = f"is being deleted by job {job}" if job else "is deleted"
            self.stdout.write(f"{options['name']} {done}")

    def _show(self, shown: dict[str, Any], as_json: bool) -> None:
        if as_json:
            self.print_json(shown)
            return
        for key, value in {**shown, **(shown["figures"] or {})}.items():
            if key != "figures":
                self.stdout.write(f"{key:<18}{cell(value)}")


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """What was named on the command line."""
    given = {name: options[name] for name in SETTINGS if options[name] is not None}
    if "groups" in given:
        given["groups"] = [name.strip() for name in given["groups"].split(",") if name.strip()]
    for name in NUMBERS:
        if name in given:
            given[name] = _number(name, given[name])
    return given


def _number(name: str, text: str) -> int | float:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CommandError(f"--{name.replace('_', '-')} {text[:40]!r} is not a number", returncode=2)
    return value


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("name")


def _add_settings(parser: ArgumentParser) -> None:
    _add_name(parser)
    helps = {
        "encoder": "what embeds it; empty: the site's default",
        "fast_encoder": "what embeds new documents at once; empty: nothing",
        "engine": "faiss or pgvector",
        "language": "Postgres' text search configuration, such as english",
        "chunk_tokens": "longest chunk, 16 to 4096",
        "chunk_overlap": "tokens that neighbours share, less than half of chunk_tokens",
        "recall_target": "least mean recall@10 of a new index, 0 to 1",
        "recall_floor": "least recall@10 of its worst twentieth of queries, 0 to 1",
        "keep_versions": "index versions kept for going back",
        "groups": "names of the groups that may see it, with commas between; empty: all",
    }
    for name in SETTINGS:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, help=helps.get(name))


def _add_delete(parser: ArgumentParser) -> None:
    _add_name(parser)
    parser.add_argument("--force", action="store_true", help="also if it has documents")
