"""Models of sentence-transformers. The package, with torch, is too large to test by: a stand-in has its interface."""

import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest

from embeddings import encoders
from embeddings.encoders import EncoderUnavailable, TextRefused
from embeddings.encoders import sentence_transformers as ours


class Tensor:
    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, np.float32)

    def detach(self) -> "Tensor":
        return self

    cpu = float = detach

    def numpy(self) -> Any:
        return self.values


class Model:
    max_seq_length = 5
    weights = (1.0, 2.0)

    def __init__(self, name: str, **options: Any) -> None:
        if name == "nobody/nothing":
            raise OSError(f"{name} is not a local folder and is not a valid model identifier")
        assert options == {"device": "cpu", "trust_remote_code": False}

    def get_sentence_embedding_dimension(self) -> int:
        return 2

    def state_dict(self) -> dict[str, Tensor]:
        return {"weights": Tensor(self.weights)}

    def tokenizer(self, texts: list[str]) -> dict[str, Any]:
        return {"input_ids": [text.split() for text in texts]}

    def encode(self, texts: list[str], **options: Any) -> Any:
        assert not options["show_progress_bar"]
        return np.array([[0.0, 0.0] if "zero" in text else [len(text), 3.0] for text in texts])


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A package of the same interface is installed. Returns to how many threads torch was limited."""
    set_to: list[int] = []
    package, torch = types.ModuleType("sentence_transformers"), types.ModuleType("torch")
    package.SentenceTransformer = Model  # type: ignore[attr-defined]
    torch.set_num_threads = set_to.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: types.SimpleNamespace(name=name))
    return set_to


def test_vectors_have_unit_length_and_one_thread_makes_them(threads: list[int]) -> None:
    encoder = ours.SentenceTransformers("some/model")

    made = encoder.encode(["four", "a text of seven words in all"])

    np.testing.assert_allclose(made.vectors[0], [0.8, 0.6], atol=1e-6)
    assert made.tokens == 1 + 5
    assert threads == [1]
    assert encoder.encode([]).vectors.shape == (0, 2)


def test_other_weights_under_the_same_name_are_another_model(
    threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = (ours.SentenceTransformers("some/model").identity for _ in range(2))
    monkeypatch.setattr(Model, "weights", (1.0, 2.5))

    other = ours.SentenceTransformers("some/model").identity

    assert first == again
    assert (other.spec, other.dimension) == (first.spec, first.dimension)
    assert other.digest != first.digest


@pytest.mark.parametrize("text", ["zero", "", "a \ud800"])
def test_a_text_that_cannot_be_embedded_is_named(threads: list[int], text: str) -> None:
    with pytest.raises(TextRefused) as refused:
        ours.SentenceTransformers("some/model").encode(["fine", text])

    assert refused.value.index == 1


def test_a_model_that_is_not_there_says_what_to_name(threads: list[int]) -> None:
    with pytest.raises(EncoderUnavailable, match=r"nobody/nothing cannot be loaded.*name a folder"):
        ours.SentenceTransformers("nobody/nothing")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(EncoderUnavailable, match="pip install sentence-transformers"):
        encoders.load("sentence-transformers:some/model")
