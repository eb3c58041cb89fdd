"""Learns labels from issues that people labelled. Needs scikit-learn; see `classifier.py` for what applies it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reviews.enrichment.classifier import Classifier
from reviews.enrichment.suggested import LEAST_CONFIDENCE

#: Of a label, and of issues without it.
LEAST_EXAMPLES = 8
LEAST_ISSUES = 30
MOST_FEATURES = 20_000
#: A label whose sure guesses were right less often than this, on issues held back, is not guessed.
LEAST_PRECISION = 0.8
#: Fewer sure guesses say nothing about how often they are right.
LEAST_JUDGED = 5
MOST_LABELS = 40
FOLDS = 3
STRENGTH = 20.0


@dataclass(frozen=True)
class Learned:
    """classifier: None where nothing can be learned; note: why. labels: as `IssueClassifier.labels`, with used."""

    classifier: Classifier | None
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    note: str = ""


def learn(texts: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> Learned:
    """texts: the features of each issue; labels: those that it has, one list an issue."""
    counts = Counter(label for found in labels for label in set(found))
    enough = [label for label, count in counts.most_common() if LEAST_EXAMPLES <= count <= len(texts) - LEAST_EXAMPLES][
        :MOST_LABELS
    ]
    if len(texts) < LEAST_ISSUES or not enough:
        return Learned(None, note=_too_few(len(texts), counts))
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=list, sublinear_tf=True, min_df=2, max_features=MOST_FEATURES)
    matrix = vectorizer.fit_transform(texts)
    figures, rows = {}, []
    for label in enough:
        has = [label in found for found in labels]
        precision, coverage = _judge(matrix, has)
        used = precision is None or precision >= LEAST_PRECISION
        figures[label] = {"examples": counts[label], "precision": precision, "coverage": coverage, "used": used}
        if used:
            rows.append((label, _regression().fit(matrix, has)))
    if not rows:
        return Learned(None, figures, "of no label were the sure guesses right often enough")
    return Learned(_packed(vectorizer, rows), figures)


def _too_few(total: int, counts: "Counter[str]") -> str:
    most = max(counts.values(), default=0)
    return (
        f"{total} labelled issues, and at most {most} of one label; "
        f"{LEAST_ISSUES} are needed, with {LEAST_EXAMPLES} that have a label and {LEAST_EXAMPLES} without it"
    )


def _regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=STRENGTH, solver="liblinear", max_iter=200)


def _judge(matrix: Any, has: list[bool]) -> tuple[float | None, float]:
    """(precision, coverage) of sure guesses, each by a model that did not see the issue."""
    import numpy as np
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    truth = np.asarray(has)
    guesses = cross_val_predict(_regression(), matrix, truth, cv=folds, method="predict_proba")[:, 1]
    sure = guesses >= LEAST_CONFIDENCE
    coverage = float((sure & truth).sum() / truth.sum())
    return (round(float(truth[sure].mean()), 3) if sure.sum() >= LEAST_JUDGED else None), round(coverage, 3)


def _packed(vectorizer: Any, rows: list[tuple[str, Any]]) -> Classifier:
    import numpy as np

    return Classifier(
        labels=tuple(label for label, _ in rows),
        terms={str(term): int(at) for term, at in sorted(vectorizer.vocabulary_.items(), key=lambda item: item[1])},
        idf=vectorizer.idf_.astype(np.float32),
        coefficients=np.vstack([model.coef_[0] for _, model in rows]).astype(np.float32),
        intercepts=np.asarray([model.intercept_[0] for _, model in rows], dtype=np.float32),
    )
