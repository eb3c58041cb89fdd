"""`manage.py rebuild_index`: brings a collection's index up to date."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from embeddings.management.waiting import add_wait, check_timeout, wait_for_job
from embeddings.models import Collection
from embeddings.services import collections, rebuilding
from jobs.management.output import OperatorCommand
from jobs.models import Job, State
from jobs.operators.actors import command_actor


class Command(OperatorCommand):
    help = (
        "Embed what is new in a collection, build its index if anything changed, and put it in use: "
        "embed_all_documents, build_faiss_index and hot_swap_index, as jobs that workers run. Prints the first "
        "job's id, or with --wait which version is in use then."
    )
    wrong_use = (collections.UnknownCollection,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("collection", nargs="?", default="documents", help="its name (default: documents)")
        parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
        add_wait(parser)

    def handle(self, *, collection: str, as_json: bool, wait: bool, timeout: float, **options: Any) -> None:
        check_timeout(timeout)
        before = collections.find(collection)
        first = rebuilding.rebuild(command_actor(), before)
        shown: dict[str, Any] = {"collection": before.name, "job": first}
        text = first
        if wait:
            jobs = self._wait(first, timeout)
            after = Collection.objects.select_related("active_version").get(pk=before.pk)
            number = None if after.active_version is None else after.active_version.number
            changed = after.active_version_id != before.active_version_id
            shown |= {"jobs": jobs, "version": number, "changed": changed}
            text = f"{after.name} uses version {number}" + ("" if changed else ", as before")
            text = text if number is not None else f"{after.name} has no index"
        if as_json:
            self.print_json(shown)
        else:
            self.stdout.write(text)

    def _wait(self, first: str, timeout: float) -> dict[str, str]:
        """Wait for each job of the chain. Returns their ids by task. Raises CommandError if one does not succeed."""
        chain = Job.objects.values_list("embed", flat=True).get(pk=first).get("chain") or []
        # The next step is last, as Celery has it.
        steps = [first, *reversed([step["options"]["task_id"] for step in chain])]
        deadline = time.monotonic() + timeout
        done: dict[str, str] = {}
        for step in steps:
            job = wait_for_job(self, step, max(0.0, deadline - time.monotonic()))
            done[job.task] = job.pk
            if job.state != State.SUCCEEDED:
                raise CommandError(
                    f"{job.task} {job.pk} is {job.state}: {job.error or job.reason or 'no reason given'}"
                )
        return done
