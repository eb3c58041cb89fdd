from embeddings.models.collection import Collection, EmbeddingModel, Engine
from embeddings.models.document import Change, Chunk, Document, SetAside, Vector
from embeddings.models.run import BatchState, EmbeddingBatch, EmbeddingRun, RunKind, RunState
from embeddings.models.search import Search
from embeddings.models.statistics import CollectionStatistics, ModelComparison
from embeddings.models.version import Activation, IndexVersion, VersionState

__all__ = [
    "Activation",
    "BatchState",
    "Change",
    "Chunk",
    "Collection",
    "CollectionStatistics",
    "Document",
    "EmbeddingBatch",
    "EmbeddingModel",
    "EmbeddingRun",
    "Engine",
    "IndexVersion",
    "ModelComparison",
    "RunKind",
    "RunState",
    "Search",
    "SetAside",
    "Vector",
    "VersionState",
]
