"""What was learned of a repository's labels: kept as an archive of arrays, applied with NumPy alone.

TF-IDF with logarithmic counts, one logistic regression a label. scikit-learn is needed to learn, not to apply, so
that a worker enriches an issue without loading it.
"""

import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reviews.enrichment.suggested import Suggested

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
NAMED_WORDS = 3


class BadArchive(ValueError):
    """Weights that cannot be read; they have to be learned anew."""


@dataclass(frozen=True)
class Classifier:
    """terms: feature → column. idf: shape (n,). coefficients: shape (labels, n). intercepts: shape (labels,)."""

    labels: tuple[str, ...]
    terms: dict[str, int]
    idf: "NDArray[np.float32]"
    coefficients: "NDArray[np.float32]"
    intercepts: "NDArray[np.float32]"

    def suggest(self, found: Sequence[str], allowed: Sequence[str]) -> list[Suggested]:
        """Each allowed label with its probability. found: from `features.features`."""
        import numpy as np

        counts = Counter(term for term in found if term in self.terms)
        if not counts:
            return []
        columns = np.fromiter((self.terms[term] for term in counts), dtype=np.int64, count=len(counts))
        weights = np.fromiter((1 + math.log(count) for count in counts.values()), dtype=np.float64, count=len(counts))
        weights *= self.idf[columns]
        weights /= np.linalg.norm(weights)
        parts = self.coefficients[:, columns] * weights
        names = list(counts)
        suggested = []
        for row, label in enumerate(self.labels):
            if label not in allowed:
                continue
            probability = 1 / (1 + math.exp(-float(np.clip(parts[row].sum() + self.intercepts[row], -30, 30))))
            telling = [names[at] for at in np.argsort(-parts[row])[:NAMED_WORDS] if parts[row][at] > 0]
            reason = f"its words are those of issues with this label: {_readable(telling)}"
            suggested.append(Suggested(label, "ai", probability, reason, "classifier"))
        return suggested

    def dump(self) -> bytes:
        import numpy as np

        kept = io.BytesIO()
        names = json.dumps({"format": FORMAT, "labels": self.labels, "terms": list(self.terms)}).encode()
        np.savez_compressed(
            kept,
            names=np.frombuffer(names, dtype=np.uint8),
            idf=self.idf,
            coefficients=self.coefficients,
            intercepts=self.intercepts,
        )
        return kept.getvalue()


def load(data: bytes) -> Classifier:
    """Raises BadArchive for what is none, or whose parts do not fit together."""
    import numpy as np

    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            names = json.loads(kept["names"].tobytes())
            idf, coefficients, intercepts = kept["idf"], kept["coefficients"], kept["intercepts"]
        labels = tuple(str(label) for label in names["labels"])
        terms = {str(term): at for at, term in enumerate(names["terms"])}
    except Exception as exc:  # zipfile, NumPy and JSON each have errors of their own
        raise BadArchive(f"the weights cannot be read ({type(exc).__name__})") from exc
    shapes = (idf.shape, coefficients.shape, intercepts.shape)
    if names.get("format") != FORMAT or shapes != ((len(terms),), (len(labels), len(terms)), (len(labels),)):
        raise BadArchive("the weights are of another format, or incomplete")
    return Classifier(labels, terms, idf, coefficients, intercepts)


def _readable(found: list[str]) -> str:
    return ", ".join(dict.fromkeys(term.removeprefix("title:") for term in found)) or "none stands out"
