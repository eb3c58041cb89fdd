"""A BERT of a few thousand numbers, as a folder of weights, and what it makes of token ids, told by NumPy alone."""

import json
import math
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

DIMENSION, HEADS, LAYERS, WIDE, POSITIONS = 32, 4, 2, 64, 40
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": DIMENSION,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "intermediate_size": WIDE,
    "max_position_embeddings": POSITIONS,
    "layer_norm_eps": 1e-12,
}


def write(folder: Path, **changes: Any) -> dict[str, Any]:
    """Fill a folder. changes: to config.json. Returns the tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *string.ascii_lowercase,
        *(f"##{c}" for c in string.ascii_lowercase),
    ]
    tensors = _tensors(len(vocabulary))
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tensors


def _tensors(words: int) -> dict[str, Any]:
    random = np.random.default_rng(7)

    def some(*shape: int) -> Any:
        return (random.normal(size=shape) * 0.3).astype(np.float32)

    def norm(name: str) -> dict[str, Any]:
        return {f"{name}.weight": 1 + some(DIMENSION) * 0.3, f"{name}.bias": some(DIMENSION)}

    def dense(name: str, wide: int, narrow: int) -> dict[str, Any]:
        return {f"{name}.weight": some(wide, narrow), f"{name}.bias": some(wide)}

    found = {
        "embeddings.word_embeddings.weight": some(words, DIMENSION),
        "embeddings.position_embeddings.weight": some(POSITIONS, DIMENSION),
        "embeddings.token_type_embeddings.weight": some(2, DIMENSION),
        **norm("embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        for kind in ("query", "key", "value"):
            found |= dense(f"{at}attention.self.{kind}", DIMENSION, DIMENSION)
        found |= dense(f"{at}attention.output.dense", DIMENSION, DIMENSION)
        found |= dense(f"{at}intermediate.dense", WIDE, DIMENSION) | dense(f"{at}output.dense", DIMENSION, WIDE)
        found |= norm(f"{at}attention.output.LayerNorm") | norm(f"{at}output.LayerNorm")
    return found


def embed(tensors: Mapping[str, Any], ids: list[int], config: dict[str, Any]) -> Any:
    """The vector of one text, by the book: Devlin et al. 2018, then mean and length 1. Shape (dimension,), float64."""
    of = {name: value.astype(np.float64) for name, value in tensors.items() if value.dtype.kind == "f"}
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]

    def dense(x: Any, name: str) -> Any:
        return x @ of[f"{name}.weight"].T + of[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return centred / spread * of[f"{name}.weight"] + of[f"{name}.bias"]

    x = of["embeddings.word_embeddings.weight"][ids] + of["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + of["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}."
        parts = [dense(x, f"{at}attention.self.{kind}") for kind in ("query", "key", "value")]
        query, key, value = (part.reshape(len(ids), heads, -1).swapaxes(0, 1) for part in parts)
        likeness = np.exp(query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1]))
        mixed = (likeness / likeness.sum(-1, keepdims=True) @ value).swapaxes(0, 1).reshape(len(ids), -1)
        x = norm(x + dense(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        wide = dense(x, f"{at}intermediate.dense")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(x + dense(wide, f"{at}output.dense"), f"{at}output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)
