"""The fast tier with the real MiniLM, from the first document on."""

from typing import Any

import pytest

from embeddings import encoders
from embeddings.encoders import quality, weights
from embeddings.models import EmbeddingModel
from embeddings.services import searching
from embeddings.services.documents import put
from embeddings.tasks import embed_all_documents
from embeddings.tests.factories import make_collection
from embeddings.tests.static_tables import share_in
from jobs.models import Job, State
from jobs.tests.in_process import run_all


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not weights.are_installed(), reason="the weights of requirements/model.txt are not installed")
def test_after_the_first_run_new_documents_are_found_before_minilm_has_read_them(tmp_path: Any, settings: Any) -> None:
    share_in(tmp_path / "shared", settings)
    collection = make_collection(encoder="minilm", fast_encoder="static")
    put(None, collection, [{"id": str(n), "text": text} for n, text in enumerate(quality.sample()[:40])])
    embed_all_documents.delay(collection=collection.name)
    run_all()

    collection.refresh_from_db()
    table = collection.fast_model
    assert table == EmbeddingModel.objects.get(spec="static")
    assert (table.dimension, table.parameters["kind"]) == (384, "base")
    assert not Job.objects.filter(state=State.FAILED).exists()

    put(None, collection, [{"id": "new", "text": "Volcanoes erupt and lava flows down the mountain"}])

    found = searching.search(None, "magma from an eruption", collection=collection.name, mode="hybrid", k=3)
    assert found.hits[0].id == "new"
    vectors = encoders.load_exactly("static", table.digest).encode(["lava", "magma", "a list of strings"]).vectors
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
