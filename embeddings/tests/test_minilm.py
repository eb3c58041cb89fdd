import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from embeddings.encoders import EncoderUnavailable, TextRefused, built, quality, sessions, weights
from embeddings.encoders.minilm import GRAPH, MiniLM, run
from embeddings.encoders.sessions import session
from embeddings.tests import tiny_bert

WORDS = ["a small text", "quite another one", "abc", "the same words in a longer row of words that goes on and on"]


@pytest.fixture
def tiny(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of small weights in use. Random weights know no neighbours, so any likeness to them will do."""
    folder = tmp_path / "weights"
    tiny_bert.write(folder)
    settings.EMBEDDINGS = {
        **settings.EMBEDDINGS,
        "WEIGHTS": str(folder),
        "ENCODERS_DIR": tmp_path / "encoders",
    }
    monkeypatch.setattr(quality, "LEAST_OVERLAP", 0.3)
    monkeypatch.setattr(quality, "sample", lambda: [f"{one} {two}" for one in WORDS for two in WORDS])
    return folder


@pytest.mark.parametrize("graph", ["exact_graph", "standard_graph"])
def test_an_exact_graph_computes_what_the_paper_says(tiny: Path, graph: str) -> None:
    from embeddings.encoders import building

    tensors = tiny_bert.write(tiny)
    rows = [[2, 5, 3], [2, 9, 10, 11, 12, 3], [2, *range(4, 30), 3]]

    vectors = run(session(getattr(building, graph)(weights.find())), rows, tiny_bert.DIMENSION)

    expected = [tiny_bert.embed(tensors, row, tiny_bert.CONFIG) for row in rows]
    np.testing.assert_allclose(vectors, expected, atol=2e-6)


def test_the_standard_graph_needs_nobody_elses_operators(tiny: Path) -> None:
    from embeddings.encoders import building

    nodes = onnx.load_from_string(building.standard_graph(weights.find())).graph.node

    assert {node.domain for node in nodes} == {""}


def test_the_small_graph_stays_close_to_the_exact_one(tiny: Path) -> None:
    encoder = MiniLM.load()
    tensors = tiny_bert.write(tiny)

    made = encoder.encode(WORDS)

    expected = [tiny_bert.embed(tensors, row, tiny_bert.CONFIG) for row in encoder._token_ids(WORDS)]
    assert np.einsum("nd,nd->n", made.vectors, np.array(expected)).min() > 0.995
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-6)
    assert made.tokens == sum(len(row) for row in encoder._token_ids(WORDS))


def test_vectors_come_in_the_order_of_the_texts_whatever_else_is_in_the_batch(tiny: Path) -> None:
    encoder = MiniLM.load()

    together = encoder.encode(WORDS * 20).vectors

    alone = np.concatenate([encoder.encode([word]).vectors for word in WORDS * 20])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_text_longer_than_the_model_takes_is_cut(tiny: Path) -> None:
    encoder = MiniLM.load()

    made = encoder.encode(["b " * 10_000, "b " * (tiny_bert.POSITIONS - 2)])

    assert made.tokens == 2 * tiny_bert.POSITIONS
    np.testing.assert_allclose(made.vectors[0], made.vectors[1], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("half \ud83d of it", "U+D83D.*at character 5"),
        ("\x00\x01\x02", "no word is left"),
        (None, "must be a string, not NoneType"),
    ],
)
def test_a_text_that_cannot_be_embedded_is_refused_by_its_place(tiny: Path, text: Any, reason: str) -> None:
    with pytest.raises(TextRefused, match=reason.replace("U+", r"U\+")) as refused:
        MiniLM.load().encode(["good", text, "good"])
    assert refused.value.index == 1


def test_no_texts_make_no_vectors(tiny: Path) -> None:
    assert MiniLM.load().encode([]).vectors.shape == (0, tiny_bert.DIMENSION)


def test_a_build_that_loses_too_many_neighbours_is_refused_and_leaves_nothing(
    tiny: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "LEAST_OVERLAP", 1.1)

    with pytest.raises(EncoderUnavailable, match="of the ten nearest"):
        MiniLM.load()

    assert not [file for file in settings.EMBEDDINGS["ENCODERS_DIR"].iterdir() if file.suffix != ".lock"]


def test_an_encoder_is_built_once_and_its_measure_is_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = MiniLM.load().identity
    monkeypatch.setattr("embeddings.encoders.building.build", None)

    assert MiniLM.load().identity == first
    assert 0.3 <= first.quality["top_10_overlap"] <= 1


def test_a_processor_that_cuts_sums_off_is_made_to_add_in_full(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = MiniLM.load().encode(WORDS).vectors
    asked = []
    options = sessions._options
    monkeypatch.setattr(sessions, "_options", lambda in_full: asked.append(in_full) or options(in_full=in_full))
    monkeypatch.setattr(sessions, "PROBE_SUM", sessions.PROBE_SUM + 2)  # as if the sums came out wrong

    in_full = MiniLM.load().encode(WORDS).vectors

    assert asked == [False, True]
    np.testing.assert_allclose(in_full, expected, atol=1e-6)


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_a_built_file_that_was_damaged_is_built_again(tiny: Path, damage: str) -> None:
    encoder = MiniLM.load()
    graph = built.folder_of(encoder.identity.digest) / GRAPH
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-100] if damage == "cut" else whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])

    assert MiniLM.load().encode(["again"]).vectors.shape == (1, tiny_bert.DIMENSION)
    assert graph.read_bytes() == whole


def test_other_weights_are_another_model(tiny: Path) -> None:
    before = MiniLM.load().identity.digest
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-5}))

    assert MiniLM.load().identity.digest != before


def test_damaged_weights_are_refused_with_the_file_and_what_to_do(tiny: Path) -> None:
    tensors = tiny / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:5000])

    with pytest.raises(EncoderUnavailable, match=r"model\.safetensors cannot be read.*requirements/model\.txt"):
        MiniLM.load()


def test_weights_that_do_not_fit_their_config_are_refused(tiny: Path) -> None:
    (tiny / "config.json").write_text(json.dumps({**tiny_bert.CONFIG, "num_hidden_layers": 3}))
    with pytest.raises(EncoderUnavailable, match=r"lacks encoder\.layer\.2"):
        MiniLM.load()

    (tiny / "config.json").write_text(json.dumps({**tiny_bert.CONFIG, "model_type": "gpt2"}))
    with pytest.raises(EncoderUnavailable, match="only bert"):
        MiniLM.load()

    (tiny / "config.json").unlink()
    with pytest.raises(EncoderUnavailable, match=r"has no config\.json"):
        MiniLM.load()


def test_published_weights_that_were_altered_are_refused(
    tiny: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "WEIGHTS": ""}
    monkeypatch.setattr(weights, "folder", lambda: tiny)

    with pytest.raises(EncoderUnavailable, match=f"not {weights.PUBLISHED}"):
        MiniLM.load()


def test_a_session_is_made_anew_after_a_fork(tiny: Path) -> None:
    encoder = MiniLM.load()
    expected = encoder.encode(WORDS).vectors
    answers = multiprocessing.get_context("fork").Queue()

    child = multiprocessing.get_context("fork").Process(
        target=lambda: answers.put(encoder.encode(WORDS).vectors), daemon=True
    )
    child.start()
    found = answers.get(timeout=120)
    child.join(60)

    assert child.exitcode == 0
    np.testing.assert_array_equal(found, expected)


def test_many_processes_that_want_it_at_once_build_it_once(tmp_path: Path) -> None:
    script = """
import sys, time
from embeddings.encoders import built
def make(folder):
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    time.sleep(0.5)
    (folder / "file").write_text("whole")
    return {"note": 1}
print(built.build_once("d" * 64, make)["note"])
"""
    log = tmp_path / "log"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "ENCODERS_DIR": str(tmp_path / "encoders")}
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(log)], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]

    assert [child.communicate(timeout=180)[0].strip() for child in started] == ["1"] * 2
    assert log.read_text() == "built\n"


@pytest.mark.long
@pytest.mark.skipif(not weights.are_installed(), reason="the weights are not installed: requirements/model.txt")
def test_the_published_model_is_built_as_it_was_published(tmp_path: Path, settings: Any) -> None:
    from embeddings.encoders import building

    settings.EMBEDDINGS = {**settings.EMBEDDINGS, "WEIGHTS": "", "ENCODERS_DIR": tmp_path}
    encoder = MiniLM.load()
    found = weights.find()
    texts = ["A man is playing a guitar.", "Someone plays the guitar.", "Shares fell sharply on Monday."]
    rows = encoder._token_ids(texts)
    config = json.loads((found.folder / "config.json").read_text())
    expected = np.array([tiny_bert.embed(building.read_tensors(found), row, config) for row in rows])

    exact = run(session(building.exact_graph(found)), rows, 384)
    made = encoder.encode(texts).vectors

    np.testing.assert_allclose(exact, expected, atol=1e-5)
    assert np.einsum("nd,nd->n", made, expected).min() > 0.99
    assert made[0] @ made[1] > 0.7 > 0.2 > made[0] @ made[2]
    assert encoder.identity.quality["top_10_overlap"] >= quality.LEAST_OVERLAP
