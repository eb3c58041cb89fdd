"""The fast tier: a new document gets a vector in the transaction that brings it, and moves to another table with care.

A collection moves to a new table in three steps: a run embeds all of its chunks by it; `fast_model` is then changed
and an index built; until that index is in use, the old one answers, and new documents get a vector of each.
"""

import logging
from collections.abc import Sequence

from django.db import DatabaseError, connection, transaction
from django.db.models import Q

from embeddings import encoders
from embeddings.encoders.base import Encoder, EncoderUnavailable, TextRefused
from embeddings.models import Collection, EmbeddingModel, EmbeddingRun, RunKind
from embeddings.vectors import Matrix

logger = logging.getLogger(__name__)

_MOST_REFUSED = 20
_LACKING = """
    SELECT EXISTS (
        SELECT 1 FROM embeddings_chunk AS c WHERE c.collection_id = %s AND NOT EXISTS (
            SELECT 1 FROM embeddings_vector AS v WHERE v.model_id = %s AND v.content_sha = c.content_sha))
"""
# Whatever an encoder, its files or the database may raise; not what ends a job, such as its time limit.
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, OSError, ImportError, DatabaseError)
_said: set[tuple[int, str]] = set()


def embed_now(collection: Collection, shas: Sequence[bytes], texts: Sequence[str]) -> int:
    """Store vectors of the collection's fast model, in the caller's process and transaction.

    shas: SHA-256 of each text. Returns how many vectors are new: 0 where the collection has no fast encoder, or none
    can be used here, and for texts that it cannot embed. Never raises: the slow encoder will come to them anyway.
    """
    if not texts or not collection.fast_encoder:
        return 0
    try:
        if _is_its_own_fast_tier(collection):
            return 0
        with transaction.atomic():
            first = collection.fast_model is None
            stored = sum(_embed(model, shas, texts) for model in _models_in_use(collection))
            if first and collection.fast_model is not None:
                fill(collection, collection.fast_model)
            return stored
    except _FAILURES as error:
        _say_once(collection, error)
    return 0


def fill(collection: Collection, model: EmbeddingModel) -> EmbeddingRun | None:
    """Start a run that embeds by a fast model what it has not; None if nothing lacks a vector of it."""
    if not _lacks_vectors(collection, model):
        return None
    from embeddings.services import runs

    return runs.start(None, collection, RunKind.FAST, exact_spec(model))


def move(collection: Collection, model: EmbeddingModel) -> bool:
    """Have a collection move to another fast model, at once if it has nothing to embed. False if it is there."""
    if collection.fast_model_id == model.pk:
        return False
    if fill(collection, model) is None:
        adopt(collection, model)
    return True


def adopt(collection: Collection, model: EmbeddingModel) -> bool:
    """Change the fast model of a collection, whose chunks have vectors of it, and have its index built and put in use.

    The old index goes on answering until then, so `embed_now` serves both. False, changing nothing, if it is there.
    """
    from embeddings.services import rebuilding

    others = Collection.objects.filter(Q(fast_model=None) | ~Q(fast_model=model), pk=collection.pk)
    if not others.update(fast_model=model):
        return False
    collection.fast_model = model
    rebuilding.send_chain(collection, rebuilding.STEPS[1:])
    return True


def exact_spec(model: EmbeddingModel) -> str:
    """The spec that gives this very model, whatever table is the newest."""
    return f"{model.spec}:{model.digest}" if model.spec == "static" else model.spec


def _is_its_own_fast_tier(collection: Collection) -> bool:
    return collection.fast_encoder == (collection.encoder or encoders.default_spec())


def _models_in_use(collection: Collection) -> list[EmbeddingModel]:
    """The collection's fast model, and that of the fast index that still answers."""
    if collection.fast_model is None:
        _choose_first(collection)
    models: dict[int, EmbeddingModel] = {}
    if collection.fast_model is not None:
        models[collection.fast_model.pk] = collection.fast_model
    if collection.fast_version is not None:
        models[collection.fast_version.model_id] = collection.fast_version.model
    return list(models.values())


def _choose_first(collection: Collection) -> None:
    """Give a collection its first fast model."""
    from embeddings.services.model_rows import model_for

    made = encoders.load(collection.fast_encoder)
    known = EmbeddingModel.objects.filter(spec=made.identity.spec, digest=made.identity.digest).first()
    model = known or model_for(made)
    Collection.objects.filter(pk=collection.pk, fast_model=None).update(fast_model=model)
    collection.refresh_from_db(fields=["fast_model"])


def _embed(model: EmbeddingModel, shas: Sequence[bytes], texts: Sequence[str]) -> int:
    from embeddings.services.storing import store_vectors

    by_sha = dict(zip(map(bytes, shas), texts, strict=True))
    vectors = _encode_what_can_be(encoders.load_exactly(model.spec, model.digest), by_sha)
    return store_vectors(model, list(by_sha), vectors)


def _encode_what_can_be(encoder: Encoder, by_sha: dict[bytes, str]) -> Matrix:
    """Embed texts; what is refused is taken out of `by_sha`. Raises TextRefused when it is one after another."""
    for _ in range(_MOST_REFUSED):
        try:
            return encoder.encode(list(by_sha.values())).vectors
        except TextRefused as refused:
            del by_sha[list(by_sha)[refused.index]]
    return encoder.encode(list(by_sha.values())).vectors


def _lacks_vectors(collection: Collection, model: EmbeddingModel) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_LACKING, [collection.pk, model.pk])
        return bool(cursor.fetchone()[0])


def _say_once(collection: Collection, error: Exception) -> None:
    """Log what is wrong once a process, not with every document."""
    why = str(error) if isinstance(error, EncoderUnavailable) else f"{type(error).__name__}: {error}"
    if (collection.pk, why) not in _said:
        _said.add((collection.pk, why))
        # No traceback of what merely is not installed.
        expected = isinstance(error, EncoderUnavailable)
        logger.warning("Collection %s: no vector at once: %s", collection.name, why, exc_info=not expected)
