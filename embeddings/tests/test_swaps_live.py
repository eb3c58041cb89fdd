"""Indexes are swapped, also for those of another model, while several processes search without pause."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from embeddings.models import Collection, EmbeddingModel, IndexVersion
from embeddings.services import builds, documents, pointer, versions
from embeddings.tests import steady_searches
from embeddings.tests.searching_helpers import embed, put, searchable
from jobs.stack.parent import before_exec
from jobs.tests.live import database_url

PROCESSES = 4
SWAPS = 24
WORDS = ("night", "train", "bread", "swan", "lake", "cat", "winter", "ticket", "house", "flour", "river", "stone")

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


def _text(number: int) -> str:
    return " ".join(f"{word}{(number * 7 + place * place) % 97}" for place, word in enumerate(WORDS))


class Readers:
    def __init__(self, collection: Collection, folder: Path) -> None:
        self.folder = folder
        self.processes = []
        for number in range(PROCESSES):
            log = (folder / f"{number}.log").open("wb")
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "embeddings.tests.steady_searches", collection.name, folder, str(number)],
                    cwd=Path(__file__).resolve().parents[2],
                    env={
                        **os.environ,
                        "DJANGO_SETTINGS_MODULE": "config.settings",
                        "DATABASE_URL": database_url(),
                        "SEARCH_LISTENER": "1",
                        "OMP_NUM_THREADS": "1",
                    },
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    preexec_fn=before_exec(signal.SIGKILL),
                )
            )

    def are_ready(self) -> bool:
        assert all(process.poll() is None for process in self.processes), self.logs()
        return all((self.folder / f"{number}.ready").exists() for number in range(PROCESSES))

    def stop(self) -> list[dict[str, Any]]:
        (self.folder / "stop").touch()
        for process in self.processes:
            assert process.wait(60) == 0, self.logs()
        return self.reports()

    def reports(self) -> list[dict[str, Any]]:
        return [json.loads((self.folder / f"{number}.json").read_text()) for number in range(PROCESSES)]

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("*.log")))


def _activate(collection: Collection, version: IndexVersion) -> None:
    """As a migration does: the model and its index in one transaction."""
    with transaction.atomic():
        Collection.objects.filter(pk=collection.pk).update(model=version.model, active_version=version)
        pointer.tell(collection)


def test_no_search_fails_or_mixes_versions_while_indexes_and_models_are_swapped(
    tmp_path: Path, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steady_searches.register()
    collection = searchable()
    first, turned = steady_searches.Turned().inner.identity, steady_searches.Turned().identity
    other = EmbeddingModel.objects.create(spec="turned", digest=turned.digest, dimension=first.dimension)
    lasting = {f"d{number}": _text(number) for number in range(80)}
    put(collection, [{"id": key, "text": text} for key, text in lasting.items()])
    embed(collection, other, "turned")
    (tmp_path / "questions.json").write_text(json.dumps(dict(list(lasting.items())[:20])))
    (tmp_path / "gone.json").write_text("[]")
    gone: list[str] = []
    used: list[int] = []
    began: dict[int, float] = {}

    def build(model: EmbeddingModel) -> IndexVersion:
        builds.build(collection.name, model)
        version = versions.newest_ready(collection, model)
        assert version is not None
        return version

    main = collection.model
    assert main is not None
    current = {main.pk: build(main), other.pk: build(other)}
    _activate(collection, current[main.pk])
    readers = Readers(collection, tmp_path)
    try:
        until(readers.are_ready, 60)
        added = set()
        for swap in range(SWAPS):
            model = other if swap % 2 == 0 else main
            key = f"new{swap}"
            put(collection, [{"id": key, "text": f"{_text(1)} fresh{swap}"}], embedded=False)
            for one, spec in ((main, "ngram"), (other, "turned")):
                embed(collection, one, spec)
            added.add(key)
            if swap % 6 < 2:
                current[model.pk] = build(model)
            _activate(collection, current[model.pk])
            number = current[model.pk].number
            used.append(number)
            if number not in began:
                began[number] = time.time()
                until(lambda number=number: all(str(number) in report["versions"] for report in readers.reports()))
            time.sleep(0.3)
            if swap % 3 == 2:
                documents.delete(None, collection, [f"new{swap - 2}"])
                gone.append(f"new{swap - 2}")
                beside = tmp_path / "gone.tmp"
                beside.write_text(json.dumps(gone))
                beside.rename(tmp_path / "gone.json")
        until(lambda: all(f"new{SWAPS - 1}" in report["found"] for report in readers.reports()))
    finally:
        reports = readers.stop()

    for report in reports:
        assert report["failed"] == []
        assert report["wrong"] == []
        assert report["queries"] > SWAPS
        assert len(report["versions"]) >= len(set(used)), "each index was used by each process"
        # What was deleted soon after may have passed unseen.
        assert added - set(gone) <= set(report["found"])
    late = [report["versions"][str(number)] - at for number, at in began.items() for report in reports if number > 2]
    queries = sum(report["queries"] for report in reports)
    slowest = max(report["slowest_ms"] for report in reports)
    print(f"{queries} queries, slowest {slowest:.0f} ms; pointer to live at most {max(late) * 1000:.0f} ms")
