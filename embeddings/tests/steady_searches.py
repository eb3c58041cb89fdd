"""A process that searches without pause, as one of a web server's does, and tells what it saw when it is stopped.

python -m embeddings.tests.steady_searches COLLECTION FOLDER NAME

FOLDER has `questions.json` (texts that are documents; the answer must be the document itself), `gone.json` (ids of
documents whose deletion is committed), and gets NAME.ready and NAME.json. It ends when FOLDER/stop appears.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import django

THREADS = 2


class Turned:
    """Another model: its vectors are those of the first one, backwards, so that mixing the two is noticed."""

    def __init__(self) -> None:
        from dataclasses import replace

        from embeddings.encoders.ngram import NgramHash

        self.inner = NgramHash()
        self.identity = replace(self.inner.identity, spec="turned", digest="f" * 64)

    def encode(self, texts: Any) -> Any:
        from dataclasses import replace

        made = self.inner.encode(texts)
        return replace(made, vectors=made.vectors[:, ::-1].copy())


def register() -> None:
    from embeddings.encoders import registry

    registry.KINDS["turned"] = lambda _: Turned()


class Report:
    def __init__(self) -> None:
        self.queries = 0
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.versions: dict[int, float] = {}
        self.found: dict[str, float] = {}
        self.slowest_ms = 0.0
        self.lock = threading.Lock()

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        with self.lock:
            seen = json.dumps({key: value for key, value in vars(self).items() if key != "lock"})
        beside = path.with_suffix(".tmp")
        beside.write_text(seen)
        beside.rename(path)

    def note(self, answer: Any, expected: str, gone: set[str], ms: float) -> None:
        version = (answer.index or {}).get("version") or 0
        first = answer.hits[0] if answer.hits else None
        with self.lock:
            self.queries += 1
            self.slowest_ms = max(self.slowest_ms, ms)
            self.versions.setdefault(version, time.time())
            for hit in answer.hits:
                self.found.setdefault(hit.id, time.time())
                if hit.id in gone:
                    self.wrong.append(f"version {version}: {hit.id} had been deleted")
            if first is None or first.id != expected or first.score < 0.98:
                seen = None if first is None else (first.id, first.score)
                self.wrong.append(f"version {version}: {seen} instead of {expected}")


def search_on(collection: str, folder: Path, report: Report) -> None:
    from embeddings.services.searching import search
    from embeddings.serving import listener

    questions: dict[str, str] = json.loads((folder / "questions.json").read_text())
    while not (folder / "stop").exists():
        for expected, text in questions.items():
            gone = set(json.loads((folder / "gone.json").read_text()))
            before = time.perf_counter()
            try:
                answer = search(None, text, 40, collection, mode="vector")
            except Exception as exc:
                report.failed.append(f"{type(exc).__name__}: {exc}")
                continue
            finally:
                listener.start()
            report.note(answer, expected, gone, (time.perf_counter() - before) * 1000)
            time.sleep(0.005)


def main(collection: str, folder: Path, name: str) -> None:
    django.setup()
    register()
    report = Report()
    threads = [threading.Thread(target=search_on, args=(collection, folder, report)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    while report.queries < 10 and not report.failed:
        time.sleep(0.01)
    report.write(folder / f"{name}.json")
    (folder / f"{name}.ready").touch()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        report.write(folder / f"{name}.json")
    report.write(folder / f"{name}.json")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
