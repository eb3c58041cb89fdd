"""The rows of encoders, and which of them a collection is embedded with."""

from embeddings.encoders import Encoder, load
from embeddings.encoders.base import Identity
from embeddings.models import Collection, EmbeddingModel


def model_for(encoder: Encoder) -> EmbeddingModel:
    """The row of an encoder as built, made at the first call; any number of processes may call at once."""
    return row_of(encoder.identity)


def row_of(identity: Identity) -> EmbeddingModel:
    """The same from an encoder's identity. What was measured or is shown follows the latest build."""
    shown = {"parameters": identity.parameters, "quality": identity.quality}
    row, _ = EmbeddingModel.objects.get_or_create(
        spec=identity.spec, digest=identity.digest, defaults={"dimension": identity.dimension, **shown}
    )
    changed = [name for name, value in shown.items() if value and getattr(row, name) != value]
    for name in changed:
        setattr(row, name, shown[name])
    if changed:
        row.save(update_fields=changed)
    return row


def resolve(collection: Collection) -> EmbeddingModel:
    """The model that a collection's documents are embedded with; chosen by its encoder's spec at the first call.

    Raises EncoderUnavailable, UnknownEncoder.
    """
    if collection.model is None:
        chosen = model_for(load(collection.encoder))
        # Of two that resolve at once, both take what the first one wrote.
        Collection.objects.filter(pk=collection.pk, model=None).update(model=chosen)
        collection.refresh_from_db(fields=["model"])
    assert collection.model is not None
    return collection.model
