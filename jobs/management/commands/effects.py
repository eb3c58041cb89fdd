"""`manage.py effects`: what jobs did outside, and what nobody knows of it."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobs.api.effect_views import EffectSerializer
from jobs.management.output import OperatorCommand, add_verbs, cell
from jobs.models import Effect, EffectState
from jobs.operators import effects as operators
from jobs.operators.actors import command_actor

MAX_LIMIT = 1000
WORDS = {"happened": True, "not-happened": False}
COLUMNS = {
    "id": "ID",
    "state": "STATE",
    "kind": "KIND",
    "target": "TARGET",
    "attempts": "TRIES",
    "created_at": "CREATED",
    "job": "JOB",
    "key": "KEY",
    "error": "ERROR",
}


class Command(OperatorCommand):
    help = "List and show outside effects, and decide whether uncertain ones happened."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list outside effects, the uncertain first", _add_list),
                ("show", "show one outside effect", _add_id),
                ("decide", "say of uncertain effects whether they happened", _add_decide),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        try:
            getattr(self, f"do_{verb}")(as_json, options)
        except Effect.DoesNotExist as exc:
            raise CommandError(str(exc), returncode=2) from None
        except operators.EffectNotChanged as exc:
            raise CommandError(str(exc), returncode=1) from None

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        if not 1 <= options["limit"] <= MAX_LIMIT:
            raise CommandError(f"--limit is {options['limit']}; it takes 1 to {MAX_LIMIT}", returncode=2)
        found = operators.effects().order_by("-is_uncertain", "-created_at", "-id")
        if options["state"]:
            found = found.filter(state__in=options["state"])
        for name in ("kind", "job"):
            if options[name] is not None:
                found = found.filter(**{"job_id" if name == "job" else name: options[name]})
        if options["search"] is not None:
            found = operators.with_key(found, options["search"])
        rows = EffectSerializer(found[: options["limit"]], many=True).data
        if as_json:
            self.print_json(rows)
            return
        self.print_table(COLUMNS, rows)
        figures = operators.effect_figures()
        self.say(f"{figures.uncertain} uncertain, {figures.tried} under way, {figures.doubled} found twice")

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        shown = EffectSerializer(operators.find_effect(options["id"])).data
        if as_json:
            self.print_json(shown)
            return
        for key, value in shown.items():
            self.stdout.write(f"{key:<20}{cell(value)}")

    def do_decide(self, as_json: bool, options: dict[str, Any]) -> None:
        """Nothing is done if one of the numbers is unknown."""
        for effect_id in options["ids"]:
            operators.find_effect(effect_id)
        answers = [
            operators.decide_effect(
                command_actor(), effect_id, WORDS[options["word"]], options["reason"], options["retry"]
            )
            for effect_id in options["ids"]
        ]
        if as_json:
            self.print_json([{**EffectSerializer(one.effect).data, "job_retried": one.job_retried} for one in answers])
            return
        for one in answers:
            job = (
                "; its job is retried" if one.job_retried else f"; its job is not: {one.why_not}" if one.why_not else ""
            )
            self.stdout.write(f"effect {one.effect.pk} is {one.effect.state}{job}")


def _add_list(parser: ArgumentParser) -> None:
    parser.add_argument("--state", action="append", choices=EffectState.values, help="may be repeated")
    parser.add_argument("--kind", help="the exact kind, for example mail")
    parser.add_argument("--job", help="the id of the job that tried it last")
    parser.add_argument("--search", help="the beginning of the key")
    parser.add_argument("--limit", type=int, default=20, help=f"how many at most, up to {MAX_LIMIT} (default 20)")


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", type=int)


def _add_decide(parser: ArgumentParser) -> None:
    parser.add_argument("ids", type=int, nargs="+", metavar="id")
    parser.add_argument("word", choices=WORDS, help="happened: the job passes over it; not-happened: it tries again")
    parser.add_argument("--reason", default="", help="how this is known; kept with the effect and in the audit log")
    parser.add_argument("--retry", action="store_true", help="retry the job too, if it is failed or cancelled")
