"""`manage.py indexes`: versions of collections' indexes, which is in use, and building one."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from embeddings import errors
from embeddings.models import Collection, IndexVersion, VersionState
from embeddings.services import versions
from jobs.management.output import OperatorCommand, add_verbs, cell
from jobs.operators.actors import command_actor

MAX_LIMIT = 1000
COLUMNS = {
    "id": "ID",
    "collection": "COLLECTION",
    "number": "VERSION",
    "state": "STATE",
    "in_use": "IN USE",
    "model": "MODEL",
    "kind": "KIND",
    "count": "VECTORS",
    "recall_mean": "RECALL",
    "created_at": "CREATED",
    "reason": "REASON",
}


class Command(OperatorCommand):
    help = "List and show versions of search indexes, build one, check one's files, and put one in use."
    wrong_use = (IndexVersion.DoesNotExist, Collection.DoesNotExist)
    failed = (
        *(errors.VersionNotActivated, errors.VersionWithoutFiles, errors.IndexDamaged, errors.IndexRefused),
        *(errors.EngineUnavailable, errors.StoreUnavailable, errors.BuildUnderWay),
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verbs(
            parser,
            [
                ("list", "list index versions, the newest first", _add_list),
                ("show", "show one version, with its manifest and when it was in use", _add_id),
                ("activate", "put a version in use; an older one is gone back to", _add_activate),
                ("verify", "read a version's files whole and compare them with what was built", _add_id),
                ("build", "build what has changed of a collection's index, in this process, now", _add_build),
            ],
        )

    def handle(self, *, verb: str, as_json: bool, **options: Any) -> None:
        getattr(self, f"do_{verb}")(as_json, options)

    def do_list(self, as_json: bool, options: dict[str, Any]) -> None:
        from embeddings.api.index_views import IndexVersionSerializer

        if not 1 <= options["limit"] <= MAX_LIMIT:
            raise CommandError(f"--limit is {options['limit']}; it takes 1 to {MAX_LIMIT}", returncode=2)
        found = versions.versions().defer("manifest").order_by("-created_at", "-id")
        if options["collection"] is not None:
            found = found.filter(collection=_collection(options["collection"]))
        if options["state"]:
            found = found.filter(state__in=options["state"])
        rows = IndexVersionSerializer(found[: options["limit"]], many=True).data
        if as_json:
            self.print_json(rows)
        else:
            self.print_table(COLUMNS, [_flat(row) for row in rows])

    def do_show(self, as_json: bool, options: dict[str, Any]) -> None:
        from embeddings.api.index_views import IndexVersionDetailSerializer

        shown = IndexVersionDetailSerializer(versions.find_named(options["id"])).data
        if as_json:
            self.print_json(shown)
            return
        for key, value in shown.items():
            self.stdout.write(f"{key:<16}{cell(value)}")

    def do_activate(self, as_json: bool, options: dict[str, Any]) -> None:
        from embeddings.services import pointer

        version = versions.find_named(options["id"])
        activation = pointer.activate(command_actor(), version, options["reason"])
        if as_json:
            self.print_json({"collection": version.collection.name, "version": version.number, "is_active": True})
            return
        already = " already" if activation is None else ""
        self.stdout.write(f"version {version.number} of {version.collection.name} is in use{already}")

    def do_verify(self, as_json: bool, options: dict[str, Any]) -> None:
        version = versions.find_named(options["id"])
        found = versions.verify(command_actor(), version)
        if as_json:
            self.print_json(found)
            return
        files = ", ".join(f"{name} ({size:,} bytes)" for name, size in found["files"].items())
        self.stdout.write(f"version {version.number} of {version.collection.name} is whole{files and ': '}{files}")

    def do_build(self, as_json: bool, options: dict[str, Any]) -> None:
        from embeddings.services import builds, pointer
        from embeddings.vectors import BadVector

        collection = _collection(options["collection"])
        command_actor().require("embeddings.build_index")
        try:
            outcomes = [outcome.as_row() for outcome in builds.build_each(collection.name)]
        except (BadVector, OSError) as exc:
            raise CommandError(str(exc)) from None
        swapped = pointer.swap_to_newest(collection.name)["swapped"] if options["activate"] else []
        if as_json:
            self.print_json({"collection": collection.name, "versions": outcomes, "activated": swapped})
        else:
            for row in outcomes:
                self.stdout.write(_told(row))
            for number in swapped:
                self.stdout.write(f"version {number} is in use")
            if not outcomes:
                self.say(f"nothing of {collection.name} is embedded yet; run: manage.py rebuild_index")
        refused = [row for row in outcomes if row["state"] == VersionState.REFUSED]
        if refused:
            raise CommandError(f"version {refused[0]['version']} was refused: {refused[0]['reason']}")


def _collection(name: str) -> Collection:
    found = Collection.objects.filter(name=name).first()
    if found is None:
        raise Collection.DoesNotExist(f"no collection {name!r}")
    return found


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A version on a line."""
    in_use = "damaged" if row["damage"] else row["is_active"]
    reason = row["damage"] or row["reason"]
    return {**row, "in_use": in_use, "reason": reason, "recall_mean": _short(row["recall_mean"])}


def _told(row: dict[str, Any]) -> str:
    """One model's outcome, for people."""
    if "version" not in row:
        return "there is nothing to index"
    told = f"version {row['version']} of model {row['model']} is {row['state']}"
    if row["state"] in (VersionState.READY, "unchanged"):
        told += f": {row['count']:,} vectors, {row['kind']}, recall@10 {_short(row['recall'])}"
    return f"{told}, {row['seconds']:.1f} s" if row["state"] == VersionState.READY else told


def _short(recall: float | None) -> str:
    return "" if recall is None else f"{recall:.3f}"


def _add_list(parser: ArgumentParser) -> None:
    parser.add_argument("--collection", help="only those of this collection")
    parser.add_argument("--state", action="append", choices=VersionState.values, help="may be repeated")
    parser.add_argument("--limit", type=int, default=20, help=f"how many at most, up to {MAX_LIMIT} (default 20)")


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", help="the version's id, as listed, or COLLECTION/NUMBER, such as documents/5")


def _add_activate(parser: ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("--reason", default="", help="kept with the version and in the audit log")


def _add_build(parser: ArgumentParser) -> None:
    parser.add_argument("collection", nargs="?", default="documents", help="its name (default: documents)")
    parser.add_argument("--activate", action="store_true", help="put it in use if it is newer than what is")
