"""MiniLM on OpenVINO, where the extra is installed; elsewhere, what is said instead."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings

from embeddings import encoders
from embeddings.encoders import EncoderUnavailable, TextRefused, quality, weights
from embeddings.tests import tiny_bert

MISSING = [name for name in ("openvino", "nncf") if importlib.util.find_spec(name) is None]
needs_extra = pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} of requirements/openvino.txt not installed")
SPEC = "minilm-openvino"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_bert.write(tmp_path / "weights")
    ours = {"WEIGHTS": str(tmp_path / "weights"), "ENCODERS_DIR": tmp_path / "encoders"}
    monkeypatch.setattr(settings, "EMBEDDINGS", {**settings.EMBEDDINGS, **ours})


@pytest.mark.parametrize("lacking", ["openvino", "nncf"])
def test_without_the_extra_it_says_what_to_install(tiny: None, monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    from embeddings.encoders import openvino

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == lacking else there("json"))

    with pytest.raises(EncoderUnavailable, match=f"{lacking}; .*requirements/openvino.txt"):
        openvino.check_installed("openvino", "nncf")


@pytest.mark.long
def test_what_judges_it_is_not_what_it_was_made_by() -> None:
    judged, made_by = quality.sample(), quality.sample(part=1)

    assert len(judged) == len(made_by) == quality.PASSAGES
    assert not set(judged) & set(made_by)


@needs_extra
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(not weights.are_installed(), reason="the weights of requirements/model.txt are not installed")
def test_it_finds_what_the_exact_model_finds(tmp_path: Path) -> None:
    from embeddings.encoders.minilm import MiniLM
    from embeddings.encoders.openvino import OpenVinoMiniLM

    made = OpenVinoMiniLM.load()
    other = MiniLM.load()

    assert made.identity.quality["top_10_overlap"] >= quality.LEAST_OVERLAP
    assert made.identity.digest != other.identity.digest
    texts = quality.sample()[:60]
    vectors = made.encode(texts).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert float(np.einsum("nd,nd->n", vectors, other.encode(texts).vectors).min()) > 0.97
    assert made.encode(texts).tokens == other.encode(texts).tokens
    assert made.encode([texts[3]]).vectors[0] @ vectors[3] > 0.999
    with pytest.raises(TextRefused) as refused:
        made.encode(["fine", " "])
    assert refused.value.index == 1


@needs_extra
@pytest.mark.skipif(not weights.are_installed(), reason="the weights of requirements/model.txt are not installed")
@pytest.mark.long
def test_a_damaged_graph_says_how_to_mend_it() -> None:
    from embeddings.encoders.openvino import Session

    folder = Path(settings.EMBEDDINGS["ENCODERS_DIR"]) / f"damaged-{os.getpid()}"
    folder.mkdir(parents=True)
    (folder / "model.xml").write_text("<net>")
    try:
        with pytest.raises(EncoderUnavailable, match=f"encoders build {SPEC}"):
            Session.read(folder / "model.xml")
    finally:
        (folder / "model.xml").unlink()
        folder.rmdir()


@pytest.mark.skipif(not MISSING, reason="the extra is installed")
def test_the_registry_tells_of_the_missing_extra() -> None:
    with pytest.raises(EncoderUnavailable, match=r"requirements/openvino\.txt"):
        encoders.load(SPEC)
