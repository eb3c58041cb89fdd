"""Two sentences of an issue that say most of it: chosen, not written.

Each is scored by where it stands, by words that announce a problem or a wish, and by how much it has in common with
the whole (its centroid); the second must not repeat the first (maximal marginal relevance: Carbonell and Goldstein,
1998).
"""

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from reviews.enrichment.cleaning import Cleaned
from reviews.enrichment.words import words

SENTENCES = 2
#: Fewer good sentences than this, and there is nothing to choose from.
LEAST_SENTENCES = 3
LEAST_WORDS, MOST_WORDS = 4, 60
MOST_READ = 60
MOST_CHARACTERS = 320

_ENDS = re.compile(r"(?<=[.!?。！？])[\"')\]]?\s+(?=[\"'(\[]?[^\W_a-z])|(?<=[。！？])|\n")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|approx|no|fig|z\.B|d\.h|bzw)\.$", re.IGNORECASE)
_CUE = re.compile(
    r"\b(?:error|fails?|failed|failing|failure|crash\w*|broken|breaks?|bug|wrong|incorrect\w*|unexpected\w*|instead"
    r"|expect\w*|should|cannot|can't|can’t|doesn't|doesn’t|does not|didn't|don't|isn't|won't|unable|missing|hangs?"
    r"|raises?|throws?|regression|since|after (?:upgrad|updat)\w+|would (?:like|be)|it would|feature|support for"
    r"|add(?:ing)?|allow|propose|request|need\w*|when(?:ever)? (?:i|we|you|the)"
    r"|fehler|schlägt|funktioniert nicht|statt|sollte|erwartet|erreur|échoue|devrait|error al|falla|debería)\b",
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"^(?:hi|hello|hey|thanks|thank you|dear|cheers|first of all|sorry|please let me know|let me know|i(?:'d| would) "
    r"be happy|great (?:work|project|library)|love (?:this|the)|hallo|danke|bonjour|merci|hola|gracias)\b",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(r":\s*$")


@dataclass(frozen=True)
class Summary:
    """text: plain. how: "2 sentences of 9", or why there are fewer."""

    text: str
    how: str


def summarise(cleaned: Cleaned) -> Summary:
    """Two sentences in their order; of a text with fewer than three, its title and first sentence."""
    found = sentences(cleaned)
    if len(found) < LEAST_SENTENCES:
        first = found[0] if found else ""
        return Summary(_joined([_titled(cleaned.title), first]), "the title and the first sentence")
    return Summary(_joined(_chosen(cleaned.title, found)), f"{SENTENCES} sentences of {len(found)}")


def sentences(cleaned: Cleaned) -> list[str]:
    """Those of a usable length, without greetings, each once."""
    found: dict[str, None] = {}
    for paragraph in cleaned.paragraphs:
        for sentence in _split(paragraph):
            count = len(sentence.split())
            dense = len(sentence) > 12 and count < LEAST_WORDS and not sentence.isascii()
            if (LEAST_WORDS <= count <= MOST_WORDS or dense) and not _GREETING.match(sentence):
                found[sentence] = None
            if len(found) >= MOST_READ:
                return list(found)
    return list(found)


def _split(paragraph: str) -> list[str]:
    parts: list[str] = []
    for part in _ENDS.split(paragraph):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] = f"{parts[-1]} {part}"
        elif part.strip():
            parts.append(part.strip())
    return parts


def _chosen(title: str, found: list[str]) -> list[str]:
    vectors = _vectors([*found, title])
    of_title = vectors.pop()
    centroid: defaultdict[str, float] = defaultdict(float)
    for vector in vectors:
        for word, weight in vector.items():
            centroid[word] += weight / len(vectors)
    scores = [
        _score(at, len(found), sentence, _cosine(vector, centroid), _cosine(vector, of_title))
        for at, (sentence, vector) in enumerate(zip(found, vectors, strict=True))
    ]
    chosen: list[int] = []
    while len(chosen) < SENTENCES:
        left = [at for at in range(len(found)) if at not in chosen]
        best = max(left, key=lambda at: 0.7 * scores[at] - 0.3 * _nearest(vectors, at, chosen))
        chosen.append(best)
    return [found[at] for at in sorted(chosen)]


def _score(at: int, count: int, sentence: str, central: float, like_title: float) -> float:
    position = 1 - at / count
    cue = 1.0 if _CUE.search(sentence) else 0.0
    # What ends with a colon announced something that is gone.
    return 0.35 * position + 0.25 * cue + 0.25 * central + 0.15 * like_title - (0.3 if _LEAD_IN.search(sentence) else 0)


def _nearest(vectors: list[dict[str, float]], at: int, chosen: list[int]) -> float:
    return max((_cosine(vectors[at], vectors[other]) for other in chosen), default=0.0)


def _vectors(texts: list[str]) -> list[dict[str, float]]:
    counted = [Counter(words(text)) for text in texts]
    held = Counter(word for counts in counted for word in counts)
    return [
        {word: (1 + math.log(count)) * math.log(1 + len(texts) / held[word]) for word, count in counts.items()}
        for counts in counted
    ]


def _cosine(one: dict[str, float], other: dict[str, float]) -> float:
    lengths = math.sqrt(sum(v * v for v in one.values()) * sum(v * v for v in other.values()))
    return sum(weight * other.get(word, 0.0) for word, weight in one.items()) / lengths if lengths else 0.0


def _titled(title: str) -> str:
    title = title.strip()
    return title if not title or title[-1] in ".!?。！？…" else f"{title}."


def _joined(parts: list[str]) -> str:
    return " ".join(
        part if len(part) <= MOST_CHARACTERS else f"{part[: MOST_CHARACTERS - 1]}…" for part in parts if part
    )
