"""`manage.py search TEXT`: the documents that a text finds."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from embeddings.errors import EngineUnavailable, IndexDamaged
from embeddings.services import asking
from embeddings.services.collections import UnknownCollection
from jobs.management.output import OperatorCommand, json_option

COLUMNS = {"rank": "RANK", "score": "SCORE", "tier": "BY", "id": "ID", "snippet": "SNIPPET"}
#: As the options are called here.
OPTIONS = {"q": "TEXT", "k": "--k", "mode": "--mode", "filter": "--filter"}


class Command(OperatorCommand):
    help = "Search a collection's documents by meaning and by words."
    wrong_use = (UnknownCollection,)
    failed = (asking.SearchUnavailable, EngineUnavailable, IndexDamaged)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("text", help=f"what to search for, up to {asking.MAX_QUERY:,} characters")
        parser.add_argument("--collection", default=asking.FIRST, help=f"its name (default {asking.FIRST})")
        parser.add_argument(
            "-k",
            "--k",
            type=int,
            default=asking.DEFAULT_K,
            help=f"how many, 1 to {asking.MAX_K} (default {asking.DEFAULT_K})",
        )
        parser.add_argument(
            "--mode",
            default="hybrid",
            metavar="MODE",
            help="hybrid (vector and words; the default), vector, text (words), or fast (the fast tier's nearest, "
            "ordered by the model)",
        )
        parser.add_argument(
            "--filter",
            metavar="JSON",
            help='on metadata, such as \'{"language": "de", "year": {"gte": 2020}, "tag": {"in": ["a", "b"]}}\'',
        )
        parser.add_argument("--chunks", action="store_true", help="a hit for each chunk instead of each document")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON, with scores explained")

    def handle(self, *, text: str, as_json: bool, **options: Any) -> None:
        from embeddings.services.searching import search

        filters = json_option("--filter", options["filter"], dict)
        try:
            found = search(
                None,
                text,
                options["k"],
                options["collection"],
                filters,
                options["mode"],
                by_document=not options["chunks"],
            )
        except asking.SearchRefused as exc:
            raise CommandError(f"{OPTIONS.get(exc.name, exc.name)}: {exc.reason}", returncode=2) from None
        answer = found.as_json()
        if as_json:
            self.print_json(answer)
            return
        if answer["hits"]:
            self.print_table(COLUMNS, answer["hits"])
        self._say_how(answer)

    def _say_how(self, answer: dict[str, Any]) -> None:
        for warning in answer["warnings"]:
            self.say(f"warning: {warning}")
        index = answer["index"]
        version = f"index version {index['version']}" if index and index["version"] else "no index yet"
        beside = answer["beside"]
        self.say(
            f"{len(answer['hits'])} found in {answer['timing']['total']:.0f} ms; {version}, {beside['delta']} chunks "
            f"beside it, {beside['pending']} waiting for the model"
        )
