"""Makes static tables of MiniLM and the team's own documents, and moves collections to a better one."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Q

from embeddings import encoders
from embeddings.models import Collection, EmbeddingModel, EmbeddingRun, IndexVersion, RunKind, RunState, VersionState
from embeddings.models.run import OPEN_RUNS
from embeddings.services import fast
from jobs import job

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from embeddings.encoders.distilling import Quality
    from embeddings.encoders.static import Tokens
    from embeddings.services.fit_texts import Corpus, Texts
    from embeddings.vectors import Matrix

logger = logging.getLogger(__name__)

SPEC = "static"
#: Encoders that a table can be distilled from.
TEACHERS = ("minilm", "minilm-openvino")
#: A table is worth the work of moving to it if it comes so much nearer to its teacher.
MARGIN = 0.01
#: Below this share of the same texts, another fit is tried.
LIKE_ENOUGH = 0.9
LEAST_HELD_OUT = 100


def after_run(run: EmbeddingRun) -> None:
    """The fast tier's part at the end of a run, in its transaction: the first table, or the move to another one."""
    if run.state != RunState.DONE:
        return
    if run.kind == RunKind.FAST:
        # It may also have brought up what a collection has already, or a table that another one has overtaken.
        if run.model is not None and run.collection.fast_encoder == SPEC and run.model == newest():
            fast.adopt(run.collection, run.model)
    elif run.encoder in TEACHERS and not EmbeddingModel.objects.filter(spec=SPEC).exists():
        from embeddings.tasks import fit_static

        fit_static.delay()


def fit() -> dict[str, Any]:
    """Make the first table, or a better one if the texts have changed and it is; then have collections use it.

    Returns what was done, and why. Raises EncoderUnavailable.
    """
    from embeddings.services import fit_texts

    teacher = find_teacher()
    if teacher is None:
        return {"made": None, "why": "nothing is embedded by MiniLM, from which a table is distilled"}
    current = newest()
    corpus = fit_texts.read(teacher)
    if current is not None and (why := _reason_to_keep(current, teacher, corpus)):
        return {"made": None, "why": why, "moving": move_all(current)}
    table = _make(teacher, corpus, current)
    if table is None:
        assert current is not None
        return {"made": None, "why": "none came nearer to MiniLM", "moving": move_all(current)}
    moving = move_all(table)
    remove_unused()
    measured = {name: value for name, value in table.quality.items() if name != "last_fit"}
    return {"made": table.digest[:12], **table.parameters, **measured, "moving": moving}


def find_teacher() -> EmbeddingModel | None:
    """The model that most collections are embedded with, of those that a table can be distilled from.

    Where there is none yet, MiniLM if it is the default encoder.
    """
    from embeddings.services.model_rows import model_for

    in_use = Collection.objects.filter(model__spec__in=TEACHERS).values_list("model").annotate(n=Count("pk"))
    most = in_use.order_by("-n", "-model").first()
    if most is not None:
        return EmbeddingModel.objects.get(pk=most[0])
    spec = encoders.default_spec()
    return model_for(encoders.load(spec)) if spec in TEACHERS else None


def newest() -> EmbeddingModel | None:
    return EmbeddingModel.objects.filter(spec=SPEC).order_by("-id").first()


def move_all(model: EmbeddingModel) -> list[str]:
    """Have every collection whose fast encoder is the static table use this one. Returns those that are moving."""
    wanted = Collection.objects.filter(fast_encoder=SPEC).exclude(encoder=SPEC).exclude(fast_model=model)
    # One without a document gets its model with the first.
    filled = wanted.filter(Q(fast_model__isnull=False) | Q(documents__isnull=False)).distinct()
    return [collection.name for collection in filled.order_by("name") if fast.move(collection, model)]


def remove_unused() -> int:
    """Remove the files of tables that nothing uses any more, except the newest. Returns how many."""
    from embeddings.encoders import table_store

    open_runs = EmbeddingRun.objects.filter(state__in=OPEN_RUNS)
    versions = IndexVersion.objects.filter(state__in=(VersionState.BUILDING, VersionState.READY))
    columns = ("model", "fast_model", "candidate", "previous")
    used = {pk for row in Collection.objects.values_list(*columns) for pk in row}
    used |= {*open_runs.values_list("model", flat=True), *versions.values_list("model", flat=True)}
    # By name: a run that is not planned yet has no model.
    named = {*open_runs.values_list("encoder", flat=True), *Collection.objects.values_list("fast_encoder", flat=True)}
    current = newest()
    removed = 0
    for model in EmbeddingModel.objects.filter(spec=SPEC):
        if model != current and model.pk not in used and fast.exact_spec(model) not in named:
            table_store.remove(model.digest)
            removed += 1
    return removed


def _reason_to_keep(current: EmbeddingModel, teacher: EmbeddingModel, corpus: "Corpus") -> str:
    """Why no other table is tried; empty: one is."""
    from embeddings.services import fit_texts

    if not corpus.is_enough:
        return f"fewer than {fit_texts.LEAST_TEXTS} texts are embedded by MiniLM"
    last = current.quality.get("last_fit") or {}
    if last.get("teacher") == teacher.digest and fit_texts.likeness(last["sketch"], corpus.sketch) >= LIKE_ENOUGH:
        return "the documents are about the same as at the last fit"
    return ""


def _make(teacher: EmbeddingModel, corpus: "Corpus", current: EmbeddingModel | None) -> EmbeddingModel | None:
    """Make what can be made, measure it, and keep the best if it is better than the current table; None if not."""
    from embeddings.encoders import weights
    from embeddings.encoders.static import StaticTable, Tokens

    tokenizer = weights.find().tokenizer.read_bytes()
    tokens = Tokens(tokenizer)
    held_out = _Tokenized.of(tokens, corpus.held_out)
    tables = _candidates(teacher, tokens, corpus)
    judged = [(held_out.measure(rows), kind, rows) for kind, rows in tables.items()]
    # Of equals, and where nothing can be measured, the first: the base.
    quality, kind, rows = max(judged, key=lambda one: _score(one[0]))
    note = {"teacher": teacher.digest, "sketch": corpus.sketch}
    if current is not None:
        now = held_out.measure(StaticTable.load(current.digest).rows)
        if _score(quality) < _score(now) + MARGIN:
            current.quality["last_fit"] = note
            current.save(update_fields=["quality"])
            return None
    parameters = {"kind": kind, "teacher": teacher.spec, "vocabulary": len(rows), "texts": len(corpus.fitted.texts)}
    return _keep(rows, tokenizer, parameters, quality, note)


def _candidates(teacher: EmbeddingModel, tokens: "Tokens", corpus: "Corpus") -> dict[str, "Matrix"]:
    """The tables that can be made: always the base, and with enough texts one that is fitted to them."""
    from embeddings.encoders import distilling

    base = _base(teacher, tokens.vocabulary)
    tables: dict[str, Matrix] = {"base": base * distilling.weights_by_rank(len(base))[:, None]}
    if corpus.is_enough:
        fitted = _Tokenized.of(tokens, corpus.fitted)
        weights = distilling.weights_by_texts(fitted.ids, len(base))
        note = f"fitting to {len(fitted.ids):,} texts"
        tables["fitted"] = distilling.fit(
            base, weights, fitted.ids, fitted.vectors, lambda part: job.progress(0.3 + 0.6 * part, note)
        )
    return tables


def _keep(
    rows: "Matrix", tokenizer: bytes, parameters: dict[str, Any], quality: "Quality | None", note: dict[str, Any]
) -> EmbeddingModel:
    """Files first, the row last: a row that exists can be used on any host."""
    from embeddings.encoders import table_store
    from embeddings.encoders.static import StaticTable
    from embeddings.services.model_rows import model_for

    digest = table_store.write(rows, tokenizer, parameters, quality.as_dict() if quality else {})
    table_store.publish(digest)
    model = model_for(StaticTable.load(digest))
    model.quality["last_fit"] = note
    model.save(update_fields=["quality"])
    logger.info("Static table %s was made", digest[:12], extra={"action": "static_table_made", "digest": digest})
    return model


def _base(teacher: EmbeddingModel, vocabulary: list[str]) -> "Matrix":
    """The teacher's vectors of all tokens, which are made once on a host."""
    import numpy as np

    from embeddings.encoders import built, distilling, weights

    def make(folder: "Path") -> dict[str, Any]:
        encoder = encoders.load_exactly(teacher.spec, teacher.digest)
        rows = distilling.embed_vocabulary(encoder, vocabulary, lambda part: job.progress(0.3 * part, "the vocabulary"))
        np.save(folder / "rows.npy", rows, allow_pickle=False)
        return {"teacher": teacher.digest}

    digest = weights.digest_of({"teacher": teacher.digest, "vocabulary": vocabulary})
    built.build_once(digest, make)
    rows: Matrix = np.load(built.folder_of(digest) / "rows.npy", allow_pickle=False)
    return rows


@dataclass(frozen=True)
class _Tokenized:
    """Texts that have tokens, as their ids, and the teacher's vectors of them, shape (n, d)."""

    ids: "list[NDArray[np.int32]]"
    vectors: "Matrix"

    @classmethod
    def of(cls, tokens: "Tokens", texts: "Texts") -> "_Tokenized":
        ids = tokens.ids(texts.texts) if texts.texts else []
        kept = [place for place, one in enumerate(ids) if len(one)]
        return cls([ids[place] for place in kept], texts.vectors[kept])

    def measure(self, rows: "Matrix") -> "Quality | None":
        """How near a table comes to the teacher; None of too few texts."""
        from embeddings.encoders import distilling

        return distilling.measure(rows, self.ids, self.vectors) if len(self.ids) >= LEAST_HELD_OUT else None


def _score(quality: "Quality | None") -> float:
    return (quality.top_10_overlap + quality.top_10_in_100) / 2 if quality else 0.0
