"""Encoders without a model, where tokens are, batches, and the prose that quality is measured over."""

import hashlib
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.encoders import TextRefused, batching, quality, tokens
from embeddings.encoders.ngram import NgramHash
from embeddings.tests import tiny_bert

TEXTS = ["The quick brown fox", "the QUICK  brown\nfox", "Ein völlig anderer Satz über Äpfel 🍏", "x"]


@pytest.fixture(params=["words", "pieces"])
def tokenizing(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> str:
    """Without weights, and with."""
    folder = tmp_path / "weights"
    if request.param == "pieces":
        tiny_bert.write(folder)
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "WEIGHTS": str(folder)}
    return str(request.param)


def test_other_weights_have_another_tokenizer(tmp_path: Path, settings: Any) -> None:
    tiny_bert.write(tmp_path / "weights")
    usual = tokens.count(["letters"])

    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "WEIGHTS": str(tmp_path / "weights")}
    by_letters = tokens.count(["letters"])
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "WEIGHTS": ""}

    assert by_letters == [len("letters")]
    assert tokens.count(["letters"]) == usual == [1]


def test_hashed_letters_make_the_same_vectors_on_every_machine() -> None:
    vectors = NgramHash().encode(TEXTS).vectors

    kept = hashlib.sha256((vectors * 1e4).round().astype("<i4").tobytes()).hexdigest()
    assert kept == "8eded167a1e93a35a942aa5a1ac0dafc4f5c1feb170e679f08df005dfa27b09d"


def test_texts_that_share_words_are_nearer_than_others() -> None:
    vectors = NgramHash().encode(TEXTS).vectors

    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0] @ vectors[1] == pytest.approx(1)
    assert vectors[0] @ vectors[2] < 0.3
    assert NgramHash().encode(["broken pump"]).vectors[0] @ NgramHash().encode(["a pump broke"]).vectors[0] > 0.4


def test_common_words_and_signs_count_only_where_there_is_nothing_else() -> None:
    vectors = NgramHash().encode(["The pump is broken!", "a broken, (pump)", "to be or not to be", "!?"]).vectors

    assert vectors[0] @ vectors[1] > 0.6
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_text_is_hashed_alike_in_any_company() -> None:
    encoder = NgramHash()
    texts = [f"{TEXTS[n % 3]} {n}" * 40 for n in range(200)]

    together = encoder.encode(texts).vectors

    np.testing.assert_array_equal(together[::50], np.concatenate([encoder.encode([t]).vectors for t in texts[::50]]))


@pytest.mark.parametrize(
    ("text", "reason"), [("\u2003\n", "empty"), ("a\udfff", "half of a surrogate pair"), (7, "int")]
)
def test_hashed_letters_refuse_what_is_no_text(text: Any, reason: str) -> None:
    with pytest.raises(TextRefused, match=reason) as refused:
        NgramHash().encode(["fine", text])
    assert refused.value.index == 1


def test_spans_are_the_places_of_tokens_in_characters(tokenizing: str) -> None:
    text = "Zwei Äpfel, 🍏!"

    found = tokens.spans([text, "", "a"])

    words = [text[start:end] for start, end in found[0]]
    assert [len(one) for one in found] == tokens.count([text, "", "a"])
    if tokenizing == "words":
        assert words == ["Zwei", "Äpfel", ",", "🍏", "!"]
    else:
        assert "".join(words[:4]) == "Zwei"
    assert found[1].shape == (0, 2)
    assert all(one.dtype == np.int32 for one in found)


def test_a_very_long_text_has_the_same_tokens_as_its_parts(tokenizing: str) -> None:
    text = "some words " * 12_000

    (found,) = tokens.spans([text])

    (short,) = tokens.spans(["some words "])
    assert len(found) == 12_000 * len(short) == tokens.count([text])[0]
    np.testing.assert_array_equal(found[-len(short) :] - 11 * 11_999, short)


def test_damaged_unicode_is_told_by_its_place(tokenizing: str) -> None:
    if tokenizing == "pieces":
        with pytest.raises(TextRefused, match="surrogate"):
            tokens.count(["fine", "x\ud800"])
    else:
        assert tokens.count(["fine", "x\ud800"]) == [1, 2]


def test_tokens_are_found_after_a_fork(tokenizing: str) -> None:
    expected = tokens.count(TEXTS)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    child = context.Process(target=lambda: answers.put(tokens.count(TEXTS)), daemon=True)
    child.start()

    assert answers.get(timeout=120) == expected


def test_batches_hold_every_text_once_within_the_budget() -> None:
    lengths = [int(n) for n in np.random.default_rng(0).integers(1, 300, 500)] + [900]

    made = list(batching.batches(lengths, 256))

    assert sorted(np.concatenate(made).tolist()) == list(range(501))
    for places in made:
        longest = max(lengths[place] for place in places)
        assert longest * len(places) <= 256 or len(places) == 1
    assert list(batching.batches([], 256)) == []


def test_quality_is_measured_over_short_and_long_prose() -> None:
    passages = quality.sample()

    assert len(set(passages)) == len(passages) == quality.PASSAGES
    assert sum(len(text) > quality.SHORT for text in passages) >= quality.PASSAGES // 2


def test_neighbour_overlap_counts_shared_neighbours() -> None:
    vectors = np.eye(30, dtype=np.float32) + np.random.default_rng(1).random((30, 30), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    assert quality.neighbour_overlap(vectors, vectors) == 1
    assert quality.neighbour_overlap(vectors, np.roll(vectors, 7, axis=0)) < 0.7


def test_the_start_of_django_loads_no_numbers_and_no_models() -> None:
    script = """
import sys, django
django.setup()
from django.urls import get_resolver
import embeddings.tasks, embeddings.admin.models, embeddings.api.model_urls
print(sorted({"onnxruntime", "onnx", "tokenizers", "safetensors", "faiss"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=180)
    assert found.stdout.strip() == "[]"
