"""Which encoders there are, building one, and measuring it again. The admin, the API and the command all come here."""

import importlib.util
import time
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q, QuerySet

from embeddings.models import EmbeddingModel
from embeddings.services import collections
from jobs.ledger.door import sent_by
from jobs.operators.actors import Actor

if TYPE_CHECKING:
    from embeddings.encoders import Encoder

# Encoders are imported where they are used: the admin and the API name this module at their start.
PERMISSION = "embeddings.build_encoder"
LARGEST_ID = 2**63 - 1
MOST_NAMES = 100
#: Specs of encoders that are made from files of this host.
BUILDABLE = ("minilm", "minilm-openvino")


class NothingToBuild(ValueError):
    """The encoder is used as it is; the message says how it comes about."""


@dataclass(frozen=True)
class EncoderHere:
    """An encoder as this host knows it. state: ready, not built, unavailable, or remote, which only a use tells."""

    spec: str
    is_default: bool
    state: str
    reason: str = ""
    digest: str = ""
    dimension: int | None = None
    bytes: int | None = None
    quality: dict[str, Any] = field(default_factory=dict)


def models() -> QuerySet[EmbeddingModel]:
    return EmbeddingModel.objects.all()


def find_model(model_id: int) -> EmbeddingModel:
    """Raises EmbeddingModel.DoesNotExist for an unknown id."""
    found = models().filter(pk=model_id).first() if 0 < model_id <= LARGEST_ID else None
    if found is None:
        raise EmbeddingModel.DoesNotExist(f"no model {model_id}")
    return found


def used_by(model: EmbeddingModel, user: Any = None) -> list[str]:
    """Names of collections that embed with it, in either tier, or before or after a migration.

    user: who asks, and is told of those that they may see; None sees all.
    """
    places = ("model", "fast_model", "candidate", "previous")
    found = collections.visible_to(user).filter(reduce(or_, (Q(**{place: model}) for place in places)))
    return list(found.order_by("name").values_list("name", flat=True)[:MOST_NAMES])


def encoders_here() -> list[EncoderHere]:
    """Every kind without a name, and those with a name that have embedded something; nothing is built."""
    from embeddings.encoders.registry import KINDS

    named = models().filter(spec__contains=":").order_by("spec").values_list("spec", flat=True).distinct()
    return [_look(spec) for spec in (*(kind for kind in KINDS if not kind.endswith(":")), *named)]


def _look(spec: str) -> EncoderHere:
    from embeddings.encoders import EncoderUnavailable, default_spec, load

    is_default = spec == default_spec()
    try:
        if spec == "minilm":
            return _look_at_minilm(is_default)
        if spec == "minilm-openvino" and importlib.util.find_spec("openvino") is None:
            return EncoderHere(spec, is_default, "unavailable", "openvino is not installed: pip install openvino")
        if spec in ("ngram", "static"):
            identity = load(spec).identity
            return EncoderHere(
                *(spec, is_default, "ready", "", identity.digest, identity.dimension, None, dict(identity.quality))
            )
    except EncoderUnavailable as exc:
        return EncoderHere(spec, is_default, "unavailable", str(exc))
    row = models().filter(spec=spec).order_by("-id").first()
    if row is None:
        return EncoderHere(spec, is_default, "not built")
    known = (row.digest, row.dimension, None, dict(row.quality))
    return EncoderHere(spec, is_default, "remote" if spec.startswith("openai:") else "ready", "", *known)


def _look_at_minilm(is_default: bool) -> EncoderHere:
    from embeddings.encoders import built, minilm, weights

    found = weights.find()
    digest = minilm.digest_of(found)
    noted = built.manifest_of(built.folder_of(digest))
    known = (digest, found.architecture.dimension)
    if noted is None:
        return EncoderHere("minilm", is_default, "not built", "the first use of it builds it", *known)
    return EncoderHere("minilm", is_default, "ready", "", *known, noted["bytes"][minilm.GRAPH], noted["quality"])


def start_build(actor: Actor, spec: str = "") -> str:
    """Send the job that builds an encoder (empty: the default one). Returns its id, or that of an unfinished one.

    Raises PermissionDenied (embeddings.build_encoder), UnknownEncoder, NothingToBuild.
    """
    from embeddings import tasks

    actor.require(PERMISSION)
    spec = check_buildable(spec)
    with transaction.atomic(), sent_by(actor.via, actor.name):
        job_id = str(tasks.build_encoder.delay(spec=spec).id)
        actor.record("encoder.build", spec, job=job_id)
    return job_id


def build_now(actor: Actor, spec: str = "") -> EmbeddingModel:
    """Build an encoder in this process. Raises what `start_build` does, and EncoderUnavailable."""
    actor.require(PERMISSION)
    spec = check_buildable(spec)
    actor.record("encoder.build", spec)
    return build(spec)


def build(spec: str) -> EmbeddingModel:
    """Build an encoder anew, and note its row. Raises EncoderUnavailable, UnknownEncoder, NothingToBuild."""
    from embeddings.encoders.registry import forget, load
    from embeddings.services.model_rows import model_for, row_of

    spec = check_buildable(spec)
    if spec == "minilm":
        from embeddings.encoders.minilm import MiniLM

        made = row_of(MiniLM.load(anew=True).identity)
    else:
        made = model_for(load(spec))
    forget(spec)
    return made


def check_buildable(spec: str) -> str:
    """Return the spec. Raises UnknownEncoder, NothingToBuild."""
    from embeddings.encoders.registry import check_spec, default_spec

    spec = check_spec(spec) if spec else default_spec()
    if spec.partition(":")[0] == "static":
        raise NothingToBuild("static is fitted to documents: run the task embeddings.fit_static")
    if spec not in BUILDABLE:
        raise NothingToBuild(f"{spec} is used as it is; what can be built: {', '.join(BUILDABLE)}")
    return spec


def check(spec: str = "") -> dict[str, Any]:
    """Measure an encoder on this machine: texts a second of CPU time, and where it has an exact form, its likeness.

    A provider is asked for one text, which it may charge for. Raises EncoderUnavailable, UnknownEncoder.
    """
    from embeddings.encoders import quality
    from embeddings.encoders.registry import check_spec, default_spec, load

    spec = check_spec(spec) if spec else default_spec()
    encoder = load(spec)
    passages = quality.sample()
    half = len(passages) // 2
    found: dict[str, Any] = {"spec": spec, "digest": encoder.identity.digest, "dimension": encoder.identity.dimension}
    if spec.startswith("openai:"):
        encoder.encode(passages[:1])
        return found
    found["short_per_cpu_second"] = _rate(encoder, passages[half:])
    found["long_per_cpu_second"] = _rate(encoder, passages[:half])
    measure = getattr(encoder, "measure", None)
    if measure is not None:
        found |= measure()
        found["holds"] = found["top_10_overlap"] >= quality.LEAST_OVERLAP
    return found


def _rate(encoder: "Encoder", texts: list[str]) -> float:
    encoder.encode(texts[:8])
    start = time.process_time()
    encoder.encode(texts)
    return round(len(texts) / (time.process_time() - start), 1)
