"""`manage.py bench embeddings`: its texts, how it judges, and one small run of all of it."""

import json
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from embeddings.bench import PARTS
from embeddings.bench.encoders import _beside_bare
from embeddings.bench.inside import bare, index, store
from embeddings.bench.inside import swaps as inside_swaps
from embeddings.bench.swaps import Asker
from embeddings.bench.texts import LONG, SHORT, texts
from embeddings.bench.web import Web
from embeddings.encoders import tokens
from embeddings.tests import tiny_bert
from jobs.bench.parts import Outcome
from jobs.bench.registry import find

KEYS = {
    "docs_per_s_short",
    "docs_per_s_long",
    "recall_at_10",
    "queries_per_s",
    "swap_failed_queries",
    "rebuild_unchanged_s",
}
RIGHT = {"1": [["a", "b"]], "2": [["c", "d"]]}


def bench(*arguments: str) -> str:
    out = StringIO()
    call_command("bench", *arguments, stdout=out)
    return out.getvalue()


def test_texts_are_distinct_and_of_their_length() -> None:
    for length, mean in ((SHORT, 31.5), (LONG, 150)):
        some = texts(length, 303)

        assert len(set(some)) == 303
        counts = tokens.count(some)
        assert sum(counts) / 303 == pytest.approx(mean, rel=0.03)
        assert texts.__wrapped__(length, 303) == some


def test_texts_come_again_with_a_number_when_the_prose_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embeddings.bench.texts._cut", lambda length: iter(["one", "two", "one"]))

    assert texts.__wrapped__(SHORT, 5) == ("one", "two", "one (2)", "two (2)", "one (3)")


def test_a_part_that_is_not_there_is_wrong_use_and_names_those_that_are() -> None:
    with pytest.raises(CommandError, match=r"no part 'speed'; choose from: encoders, .*swaps") as caught:
        bench("embeddings", "--only", "store,speed")

    assert caught.value.returncode == 2


def test_a_benchmark_of_one_piece_has_no_parts() -> None:
    with pytest.raises(CommandError, match="'jobs' has no part 'store'; it is of one piece") as caught:
        bench("jobs", "--only", "store")

    assert caught.value.returncode == 2


def test_list_names_the_parts() -> None:
    assert find("embeddings").parts == PARTS
    assert f"parts: {', '.join(PARTS)}" in bench("list")


def test_an_index_is_built_and_its_recall_measured(tmp_path: Path) -> None:
    folder = str(tmp_path / "vectors")
    index.synthetic(folder, 2_000)

    built = index.build(folder, "faiss", 0.9)
    asked = index.ask(folder, "faiss", 0)

    assert built["mb"] > 1
    assert asked["recall"] > 0.95
    assert asked["queries_per_s"] > 0


def test_recall_tells_wrong_answers(tmp_path: Path) -> None:
    folder = str(tmp_path / "vectors")
    index.synthetic(folder, 500)
    source = index._source(folder)
    queries = source.vectors[:20].astype("float32")
    scores = queries @ source.vectors.astype("float32").T
    best = source.ids[(-scores).argsort(axis=1)]

    assert index._recalls(source, queries, best[:, :10]).mean() == 1
    assert index._recalls(source, queries, best[:, 5:15]).mean() == pytest.approx(0.5, abs=0.02)
    assert index._recalls(source, queries, best[:, -10:]).mean() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_bare_products_are_those_of_the_encoder_and_are_computed(tmp_path: Path, settings: Any, precision: str) -> None:
    tiny_bert.write(tmp_path)
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "WEIGHTS": str(tmp_path)}

    said = bare.prepare()

    d, wide = tiny_bert.DIMENSION, tiny_bert.WIDE
    assert said["operations"] == tiny_bert.LAYERS * 2 * (4 * d * d + 2 * d * wide)
    assert bare.rate(precision, 0) > 0
    results = [one.binding.copy_outputs_to_cpu()[0] for one in bare._bound[precision]]
    assert [result.shape for result in results] == [(bare.TOKENS, n) for n in (3 * d, d, wide, d)]
    assert all(np.isfinite(result).all() and len(np.unique(result)) > 100 for result in results)


def test_a_share_of_the_bare_products_is_taken_with_the_precision_of_the_encoder() -> None:
    outcome = Outcome(told={"mean_tokens": {"short": 8.0, "long": 98.0}, "bare": {"operations": 1e9, "marks": 2}})
    outcome.medians["encoder bare"] = {"int8_gops": 500.0, "fp32_gops": 100.0}
    measured = {
        "bare": [{"int8_gops": 500.0, "fp32_gops": 100.0}],
        "minilm": [{"short_per_cpu_s": 25.0, "long_per_cpu_s": 2.0}],
        "sentence_transformers": [{"short_per_cpu_s": 5.0, "long_per_cpu_s": 0.5}],
    }

    _beside_bare(outcome, measured)

    values = {key: figure.value for key, figure in outcome.figures.items()}
    assert values == {"bare_docs_per_s_short": 100, "bare_docs_per_s_long": 10, "minilm_of_bare": 0.5}
    assert outcome.medians["of_bare minilm"] == {"short": 0.5, "long": 0.4}
    assert outcome.medians["of_bare sentence_transformers"] == {"short": 0.5, "long": 0.5}


def test_vectors_are_stored_both_ways() -> None:
    assert store.by_copy(300, 100) > 0
    for in_one in (False, True):
        assert store.by_rows(5, in_one) > 0
        assert store.JsonRow.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_an_answer_tells_which_version_it_came_from(indexes_dir: Path) -> None:
    from embeddings.services import searching
    from embeddings.serving import reader

    made = inside_swaps.make("ngram", 120, 12)
    assert len(made["questions"]) >= 6

    for version in ("1", "2", "1"):
        inside_swaps.activate(int(version))
        reader.forget()
        for number, question in enumerate(made["questions"]):
            answer = searching.search(None, question, collection="swaps", mode="vector")
            assert answer.index is not None
            assert answer.index["version"] == int(version)
            found = sorted(hit.id for hit in answer.hits)
            assert found == made["answers"][version][number]
            assert found != made["answers"]["2" if version == "1" else "1"][number]


class Answering:
    """Stands in for a connection to a web process."""

    def __init__(self, status: int, version: int, ids: list[str], warnings: list[str]) -> None:
        self.said = {"index": {"version": version}, "hits": [{"id": one} for one in ids], "warnings": warnings}
        self.status = status

    def get(self, path: str, **parameters: Any) -> tuple[int, Any]:
        return self.status, self.said


@pytest.mark.parametrize(
    ("status", "version", "ids", "warnings", "counted"),
    [
        (200, 1, ["b", "a"], [], (0, 0, 0)),
        (200, 1, ["c", "d"], [], (0, 1, 0)),
        (200, 2, ["c", "a"], [], (0, 1, 0)),
        (200, 2, ["c"], [], (0, 1, 0)),
        (200, 2, ["c", "x"], [], (0, 0, 1)),
        (200, 1, ["a", "b"], ["index version 1 cannot be opened"], (1, 0, 0)),
        (503, 1, [], [], (1, 0, 0)),
    ],
)
def test_answers_are_judged(
    status: int, version: int, ids: list[str], warnings: list[str], counted: tuple[int, int, int]
) -> None:
    asker = Asker(Web(Path("/nowhere"), None), "token", ["?"], RIGHT)  # type: ignore[arg-type]

    asker._ask(Answering(status, version, ids, warnings), 0)  # type: ignore[arg-type]

    assert (asker.failed, asker.mixed, asker.wrong) == counted
    assert bool(asker.first_problem) == any(counted)


def test_a_web_process_that_is_gone_is_a_failed_query(tmp_path: Path, until: Any) -> None:
    asker = Asker(Web(tmp_path / "gone", None), "token", ["?"], RIGHT)  # type: ignore[arg-type]
    done = threading.Event()
    thread = threading.Thread(target=asker.run, args=[done])
    thread.start()
    until(lambda: asker.failed > 0)
    done.set()
    thread.join()

    assert "FileNotFoundError" in asker.first_problem


@pytest.mark.long
@pytest.mark.timeout(1800)  # a guard, also for a machine that is kept busy
def test_bench_embeddings_measures_all_parts(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATA_DIR = tmp_path
    monkeypatch.setenv("EMBEDDING_ENCODER", "ngram")

    answer = json.loads(bench("embeddings", "--quick", "--json", "--tasks", "20"))

    assert set(answer["figures"]) >= KEYS
    assert set(answer["seconds"]) == set(PARTS)
    figures = {key: figure["value"] for key, figure in answer["figures"].items()}
    assert figures["swap_failed_queries"] == figures["swap_mixed_answers"] == figures["swap_wrong_answers"] == 0
    assert figures["unchanged_encoded"] == figures["unchanged_indexes_written"] == 0
    assert figures["recall_at_10"] > 0.9
    assert figures["docs_per_s_short"] > 0
    # What is not installed is told, and never measured as 0.
    assert all(key not in figures and why for key, why in answer["not_measured"].items())
