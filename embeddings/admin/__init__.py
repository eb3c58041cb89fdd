"""Pages for operators; importing a module registers its own."""

from embeddings.admin import collections, documents, indexes, migration, models, runs, search, set_aside

__all__ = ["collections", "documents", "indexes", "migration", "models", "runs", "search", "set_aside"]
