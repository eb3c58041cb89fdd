"""How a static table is made of a teacher and of documents, and when another one is."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings

from embeddings import encoders
from embeddings.encoders import distilling
from embeddings.encoders.static import Tokens
from embeddings.models import Collection, EmbeddingModel, EmbeddingRun, RunState
from embeddings.services import fit_texts, fitting
from embeddings.services.model_rows import model_for
from embeddings.services.storing import store_vectors
from embeddings.tests.factories import add_chunks, make_collection
from embeddings.tests.static_tables import TEACHER, Letters, on_a_host, share_in
from jobs.models import Job

pytestmark = pytest.mark.django_db
SPEC = f"{TEACHER}one"


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    share_in(tmp_path / "shared", settings)
    on_a_host(tmp_path / "host", monkeypatch)
    monkeypatch.setattr(fitting, "TEACHERS", (SPEC, f"{TEACHER}two"))
    monkeypatch.setattr(fit_texts, "LEAST_TEXTS", 300)
    monkeypatch.setattr(fitting, "LEAST_HELD_OUT", 40)


def words(count: int, seed: int = 1) -> list[str]:
    chosen = random.Random(seed)
    return ["".join(chosen.choices("abcdefghijklmnopqrstuvwxyz ", k=30)) + "x" for _ in range(count)]


def embedded(texts: list[str], spec: str = SPEC, **fields: Any) -> Collection:
    """A collection of texts with the vectors of a teacher."""
    teacher = encoders.load(spec)
    collection = make_collection(encoder=spec, fast_encoder="static", model=model_for(teacher), **fields)
    add_embedded(collection, texts)
    return collection


def add_embedded(collection: Collection, texts: list[str]) -> None:
    chunks = add_chunks(collection, texts)
    assert collection.model is not None
    if texts:
        shas = [bytes(chunk.content_sha) for chunk in chunks]
        store_vectors(collection.model, shas, encoders.load(collection.encoder).encode(texts).vectors)


def teacher_of_all() -> EmbeddingModel:
    found = fitting.find_teacher()
    assert found is not None
    return found


def tables() -> list[EmbeddingModel]:
    return list(EmbeddingModel.objects.filter(spec="static").order_by("id"))


# --- when a table is made ---


def test_without_a_teacher_there_is_no_table() -> None:
    make_collection(encoder="ngram")

    assert fitting.fit()["made"] is None
    assert tables() == []


def test_the_first_table_is_made_of_the_teacher_alone_where_there_are_few_documents() -> None:
    embedded(words(5))

    result = fitting.fit()

    (table,) = tables()
    assert result["made"] == table.digest[:12]
    assert (table.parameters["kind"], table.dimension) == ("base", 32)
    assert encoders.load("static").encode(["abc"]).vectors.shape == (1, 32)


def test_a_table_that_is_fitted_to_documents_finds_what_the_teacher_finds() -> None:
    embedded(words(5))
    fitting.fit()
    embedded(words(900, seed=2))

    result = fitting.fit()

    base, fitted = tables()
    assert result["made"] == fitted.digest[:12]
    assert fitted.parameters["kind"] == "fitted"
    assert fitted.quality["held_out_texts"] >= 100
    assert fitted.quality["top_10_overlap"] > 0.5
    corpus = fit_texts.read(teacher_of_all())
    before = _overlap(base, corpus.held_out)
    assert fitted.quality["top_10_overlap"] > before + 0.1


def _overlap(table: EmbeddingModel, texts: fit_texts.Texts) -> float:
    rows = encoders.load_exactly("static", table.digest).rows  # type: ignore[attr-defined]
    tokens = Tokens((Path(settings.EMBEDDINGS["WEIGHTS"]) / "tokenizer.json").read_bytes())
    return distilling.measure(rows, tokens.ids(texts.texts), texts.vectors).top_10_overlap


def test_when_nothing_changed_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    embedded(words(600))
    fitting.fit()
    monkeypatch.setattr(distilling, "fit", lambda *_: pytest.fail("it was fitted again"))

    result = fitting.fit()

    assert result["made"] is None
    assert "about the same" in result["why"]
    assert len(tables()) == 1


def test_a_few_more_documents_are_no_reason_to_fit_again(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = embedded(words(600))
    fitting.fit()
    add_embedded(collection, words(20, seed=9))
    monkeypatch.setattr(distilling, "fit", lambda *_: pytest.fail("it was fitted again"))

    assert fitting.fit()["made"] is None


def test_a_table_that_is_no_better_is_not_kept_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = embedded(words(600))
    fitting.fit()
    add_embedded(collection, words(300, seed=9))
    monkeypatch.setattr(fitting, "MARGIN", 0.9)

    assert "nearer" in fitting.fit()["why"]
    assert "about the same" in fitting.fit()["why"]
    assert len(tables()) == 1


def test_what_judges_a_table_was_never_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = embedded(words(400))
    teacher = teacher_of_all()
    before = fit_texts.read(teacher)
    add_embedded(collection, words(400, seed=3))

    after = fit_texts.read(teacher)

    assert len(before.fitted.texts) + len(before.held_out.texts) == 400
    assert not {*before.fitted.texts, *after.fitted.texts} & {*before.held_out.texts, *after.held_out.texts}
    row = before.fitted.texts.index(before.fitted.texts[7])
    np.testing.assert_allclose(
        before.fitted.vectors[row], encoders.load(SPEC).encode([before.fitted.texts[7]]).vectors[0], atol=1e-3
    )


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [(["a", "b"], ["a", "b"], 1.0), (["a", "b"], ["c", "d"], 0.0), ([], [], 1.0), ([], ["a"], 0.0)],
)
def test_corpora_are_compared_by_their_sketches(one: list[str], other: list[str], share: float) -> None:
    assert fit_texts.likeness(one, other) == share


def test_a_fit_takes_no_more_texts_than_memory_allows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(str(1 << 30))
    (tmp_path / "memory.current").write_text(str(1 << 29))
    monkeypatch.setattr(fit_texts, "_CONTAINER", tmp_path)

    assert fit_texts.most_texts() == 4096


def test_documents_without_a_token_are_passed_over() -> None:
    embedded([*words(400), *("!" * n for n in range(1, 40))])
    chunks = fit_texts.read(teacher_of_all())
    assert any(set(text) == {"!"} for text in chunks.fitted.texts)

    assert fitting.fit()["made"]


# --- what follows ---


def test_the_end_of_the_first_run_by_the_teacher_asks_for_a_table_once() -> None:
    collection = embedded(["a"])
    run = EmbeddingRun(collection=collection, encoder=SPEC, state=RunState.DONE)

    fitting.after_run(run)
    fitting.after_run(run)

    assert Job.objects.filter(task="embeddings.fit_static").count() == 1


@pytest.mark.parametrize("fields", [{"encoder": "ngram"}, {"state": RunState.FAILED}, {"state": RunState.CANCELLED}])
def test_no_other_end_of_a_run_does(fields: dict[str, str]) -> None:
    run = EmbeddingRun(**{"collection": make_collection(), "encoder": SPEC, "state": RunState.DONE, **fields})

    fitting.after_run(run)

    assert not Job.objects.exists()


def test_collections_move_to_a_new_table_also_when_it_is_found_late() -> None:
    collection = embedded(words(5))
    fitting.fit()
    EmbeddingRun.objects.update(state=RunState.FAILED, finished_at="2026-01-01T00:00Z")

    assert fitting.fit()["moving"] == [collection.name]


def test_the_teacher_is_the_one_of_most_collections() -> None:
    embedded([])
    two = [embedded([], spec=f"{TEACHER}two") for _ in range(2)]

    assert fitting.find_teacher() == two[0].model


# --- distilling ---


def test_a_control_character_of_the_vocabulary_is_no_obstacle() -> None:
    class Strict(Letters):
        def encode(self, texts: Any) -> encoders.Encoded:
            for index, text in enumerate(texts):
                if text == "\x01":
                    raise encoders.TextRefused(index, "no word")
            return super().encode(texts)

    rows = distilling.embed_vocabulary(Strict("one"), ["a", "\x01", *"bcdefghijklmnop"])

    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_rare_tokens_weigh_more_than_frequent_ones() -> None:
    by_rank = distilling.weights_by_rank(30_000)
    by_texts = distilling.weights_by_texts([np.array([0, 0, 0, 0, 1], np.int32)], 3)

    assert (np.diff(by_rank) >= 0).all()
    assert by_texts[0] < by_texts[1] < by_texts[2]


def test_a_fit_is_what_least_squares_with_a_penalty_says() -> None:
    """Against the textbook's form of it, with all tokens at once."""
    random_ = np.random.default_rng(3)
    base = random_.normal(size=(12, 4)).astype(np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    ids = [random_.integers(0, 12, size=6).astype(np.int32) for _ in range(40)]
    targets = random_.normal(size=(40, 4)).astype(np.float32)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    weights = np.linspace(0.2, 1, 12).astype(np.float32)

    fitted = distilling.fit(base, weights, ids, targets)

    counts = np.stack([np.bincount(one, minlength=12) for one in ids]).astype(float)
    sums = counts @ (base * weights[:, None])
    scale = 1 / np.linalg.norm(sums, axis=1, keepdims=True)
    x = counts * scale * weights
    penalty = distilling.RIDGE * np.trace(x @ x.T) / len(ids)
    change = np.linalg.solve(x.T @ x + penalty * np.eye(12), x.T @ (targets - sums * scale))
    np.testing.assert_allclose(fitted, (base + change) * weights[:, None], atol=1e-4)
