"""Engines by name."""

from embeddings.engines.base import Built, EngineUnavailable, Held, IndexDamaged, IndexEngine, Searcher, Source


def engine(name: str) -> IndexEngine:
    """The engine of a collection or version: `faiss` or `pgvector`."""
    if name == "pgvector":
        from embeddings.engines.pgvector import PgvectorEngine

        return PgvectorEngine()
    from embeddings.engines.faiss_engine import FaissEngine

    return FaissEngine()


__all__ = ["Built", "EngineUnavailable", "Held", "IndexDamaged", "IndexEngine", "Searcher", "Source", "engine"]
