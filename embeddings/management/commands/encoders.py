"""`manage.py encoders`: what texts can be embedded with on this machine."""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from embeddings.encoders import EncoderUnavailable
from embeddings.encoders.registry import UnknownEncoder
from embeddings.services import encoder_builds
from jobs.management.output import OperatorCommand, add_verbs, cell
from jobs.operators.actors import command_actor

COLUMNS = {
    "spec": "ENCODER",
    "is_default": "DEFAULT",
    "state": "STATE",
    "digest": "DIGEST",
    "dimension": "DIMENSION",
    "overlap": "TOP-10 OVERLAP",
    "size": "MB",
    "reason": "REASON",
}


class Command(OperatorCommand):
    help = "List what texts can be embedded with here, build an encoder, and measure one."
    wrong_use = (UnknownEncoder, encoder_builds.NothingToBuild)
    failed = (EncoderUnavailable,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list encoders, whether each can be used here, and its measured quality", None),
                ("build", "build an encoder anew from its weights, in this process, now", _add_spec),
                ("check", "measure an encoder's speed, and how much its 8 bits lose", _add_spec),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        getattr(self, f"do_{verb}")(as_json, options)

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        found = [asdict(one) for one in encoder_builds.encoders_here()]
        if as_json:
            self.print_json(found)
            return
        self.print_table(COLUMNS, [_for_people(row) for row in found])

    def do_build(self, as_json: bool, options: dict[str, Any]) -> None:
        from embeddings.api.model_views import ModelSerializer

        row = ModelSerializer(encoder_builds.build_now(command_actor(), options["spec"])).data
        if as_json:
            self.print_json(row)
            return
        overlap = row["quality"].get("top_10_overlap")
        measured = "" if overlap is None else f"; it finds {overlap:.3f} of the ten nearest that 32 bits find"
        self.stdout.write(f"{row['spec']} {row['digest'][:12]} is built{measured}")

    def do_check(self, as_json: bool, options: dict[str, Any]) -> None:
        found = encoder_builds.check(options["spec"])
        if as_json:
            self.print_json(found)
        else:
            for key, value in found.items():
                self.stdout.write(f"{key:<22}{cell(value)}")
        if found.get("holds") is False:
            raise CommandError(f"{found['spec']} loses too many neighbours here; have it built again, or use another")


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    size = None if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f}"
    return {**row, "digest": row["digest"][:12], "overlap": row["quality"].get("top_10_overlap"), "size": size}


def _add_spec(parser: ArgumentParser) -> None:
    parser.add_argument("spec", nargs="?", default="", help="such as minilm (default: the one of EMBEDDING_ENCODER)")
