"""Pages for operators; importing a module registers its own."""

from reviews.admin import (
    accesses,
    code_indexes,
    deliveries,
    issues,
    llm_calls,
    llm_providers,
    missed_deliveries,
    pull_reviews,
    replies,
    repositories,
)

__all__ = [
    "accesses",
    "code_indexes",
    "deliveries",
    "issues",
    "llm_calls",
    "llm_providers",
    "missed_deliveries",
    "pull_reviews",
    "replies",
    "repositories",
]
