"""A provider that hangs or fails does not keep searches waiting."""

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest
from django.conf import settings

from embeddings import encoders
from embeddings.encoders.base import ProviderBusy, TextRefused
from embeddings.models import Collection, EmbeddingModel
from embeddings.services import providers
from embeddings.services.searching import search
from embeddings.tests import openai_standin
from embeddings.tests.openai_standin import KEY, MODEL, Refused, Standin
from embeddings.tests.searching_helpers import embed, put, searchable
from jobs.tests.api_client import caller, person

SPEC = f"openai:{MODEL}"
VECTOR = np.ones(1, np.float32)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    with openai_standin.serving() as standin:
        ours = {"OPENAI_BASE_URL": standin.url, "OPENAI_API_KEY": KEY}
        monkeypatch.setattr(settings, "EMBEDDINGS", {**settings.EMBEDDINGS, **ours})
        monkeypatch.setattr(encoders.registry, "_loaded", {})
        monkeypatch.setattr(providers, "QUERY_SECONDS", 60.0)  # a busy machine makes a search wait, too
        yield standin


@pytest.fixture
def collection(db: None, provider: Standin) -> Collection:
    """Embedded by the provider, which is known from then on."""
    identity = encoders.load(SPEC).identity
    model = EmbeddingModel.objects.create(spec=SPEC, digest=identity.digest, dimension=identity.dimension)
    collection = searchable(model=model)
    put(collection, [{"id": "tea", "text": "Tea is made with hot water."}], embedded=False)
    embed(collection, model, SPEC)
    provider.requests.clear()
    return collection


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(providers, "time", clock)
    return clock


def test_a_provider_that_hangs_is_given_up_and_not_asked_again_at_once(
    collection: Collection, provider: Standin, clock: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.faults = [answers := threading.Event()]
    with monkeypatch.context() as patched:
        patched.setattr(providers, "QUERY_SECONDS", 0.2)
        # So that it is not the encoder's own limit that is met first.
        patched.setattr(providers, "longest_wait", ContextVar("of nobody"))

        first = search(None, "hot tea", collection=collection.name)
        second = search(None, "tea", collection=collection.name)
    until(lambda: provider.requests)

    assert [hit.id for hit in first.hits] == [hit.id for hit in second.hits] == ["tea"]
    assert "did not answer within 0.2 s; it is asked again in 30 s" in first.warnings[0]
    assert provider.requests == [["hot tea"]]

    clock.now += 31
    third = search(None, "tea", collection=collection.name)
    assert third.warnings == []
    assert third.hits[0].tier == "main"
    assert provider.requests == [["hot tea"], ["tea"]]
    answers.set()


def test_a_search_by_vector_says_when_to_ask_again(collection: Collection, provider: Standin, clock: Any) -> None:
    provider.faults = [Refused(503, "overloaded", headers={"Retry-After": "90"})]
    client = caller(person("ann", "embeddings.search_collection"))

    for waited, left in ((0, "90"), (50, "40")):
        clock.now += waited
        refused = client.get("/api/v1/search/", {"q": "tea", "collection": collection.name, "mode": "vector"})
        assert refused.status_code == 503
        assert refused["Retry-After"] == left
        assert "overloaded" in refused.json()["detail"]
    assert provider.requests == [["tea"]]


def test_one_search_tries_a_provider_again_and_others_do_not_wait_for_it(clock: Any) -> None:
    def busy() -> Any:
        raise ProviderBusy(1.0, "overloaded")

    def while_it_is_tried() -> Any:
        with pytest.raises(ProviderBusy, match="overloaded"):
            providers.ask("m", lambda: pytest.fail("it is being tried"))
        return VECTOR

    with pytest.raises(ProviderBusy):
        providers.ask("m", busy)
    clock.now += 30
    assert providers.ask("m", while_it_is_tried) is VECTOR
    assert providers.ask("m", lambda: VECTOR) is VECTOR


def test_a_text_that_is_refused_is_no_failure_of_the_provider() -> None:
    def refuses() -> Any:
        raise TextRefused(0, "it is empty")

    with pytest.raises(TextRefused):
        providers.ask("m", refuses)
    assert providers.ask("m", lambda: VECTOR) is VECTOR
