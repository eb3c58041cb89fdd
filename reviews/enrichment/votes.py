"""What the labels of an issue's neighbours say of its own."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from reviews.enrichment.suggested import Suggested

#: Fewer neighbours that people labelled, and they are no electorate.
LEAST_VOTERS = 4


def by_neighbours(
    neighbours: Iterable[tuple[int, float]], labels_of: Mapping[int, Sequence[str]], allowed: Sequence[str]
) -> list[Suggested]:
    """neighbours: (issue, score), the nearest first. labels_of: those that people gave, of issues that have any.

    The confidence is the share of the votes, each weighted by how near it is, against one that votes for nothing.
    """
    voters = [(issue, score) for issue, score in neighbours if labels_of.get(issue) and score > 0]
    if len(voters) < LEAST_VOTERS:
        return []
    votes: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, int] = defaultdict(int)
    for issue, score in voters:
        for label in labels_of[issue]:
            votes[label] += score
            counts[label] += 1
    total = sum(score for _, score in voters)
    abstention = total / len(voters) / 2
    return [
        Suggested(name, "ai", votes[name] / (total + abstention), _reason(counts[name], len(voters)), "neighbours")
        for name in allowed
        if name in votes
    ]


def _reason(count: int, voters: int) -> str:
    return f"{count} of the {voters} nearest labelled issues have it"
