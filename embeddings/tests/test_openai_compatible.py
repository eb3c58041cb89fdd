"""The encoder that asks OpenAI, or an endpoint that speaks its API, against a stand-in with OpenAI's schema."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from config import environment
from embeddings import encoders
from embeddings.encoders import EncoderUnavailable, ProviderBusy, TextRefused
from embeddings.encoders.openai_compatible import OpenAICompatible
from embeddings.tests import openai_standin
from embeddings.tests.openai_standin import DIMENSION, KEY, MODEL, Refused, Standin


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    with openai_standin.serving() as standin:
        ours = {"OPENAI_BASE_URL": standin.url, "OPENAI_API_KEY": KEY, "DOLLARS_PER_MILLION_TOKENS": 0.02}
        monkeypatch.setattr(settings, "EMBEDDINGS", {**settings.EMBEDDINGS, **ours})
        yield standin


@pytest.fixture
def encoder(provider: Standin) -> OpenAICompatible:
    made = OpenAICompatible(MODEL)
    provider.requests.clear()
    return made


def _expected(texts: list[str]) -> Any:
    rows = np.array([openai_standin.vector_of(text) for text in texts], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_each_text_gets_its_own_vector_at_unit_length(encoder: OpenAICompatible) -> None:
    texts = [f"text {number}" for number in range(20)]

    made = encoder.encode(texts)

    assert made.vectors.dtype == np.float32
    np.testing.assert_allclose(made.vectors, _expected(texts), atol=1e-6)
    assert made.tokens == sum(map(len, texts))
    assert made.dollars == pytest.approx(made.tokens * 0.02 / 1e6)


def test_the_dimension_is_what_the_provider_answers_and_no_key_is_in_the_identity(encoder: OpenAICompatible) -> None:
    assert encoder.identity.dimension == DIMENSION
    assert encoder.identity.spec == f"openai:{MODEL}"
    assert KEY not in json.dumps(encoder.identity.parameters)


def test_an_endpoint_with_another_address_is_another_model(provider: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    first = OpenAICompatible(MODEL).identity.digest
    provider.key = ""
    other = provider.url.replace("//", "//user:secret@").replace("127.0.0.1", "localhost")
    monkeypatch.setitem(settings.EMBEDDINGS, "OPENAI_BASE_URL", other)

    second = OpenAICompatible(MODEL).identity

    assert second.digest != first
    assert "secret" not in json.dumps(second.parameters)


def test_an_endpoint_of_ones_own_needs_no_key(provider: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    provider.key = ""
    monkeypatch.setitem(settings.EMBEDDINGS, "OPENAI_API_KEY", "")

    assert OpenAICompatible(MODEL).encode(["text"]).vectors.shape == (1, DIMENSION)


def test_openai_itself_is_not_asked_without_a_key(provider: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.EMBEDDINGS, "OPENAI_API_KEY", "")
    monkeypatch.setitem(settings.EMBEDDINGS, "OPENAI_BASE_URL", "https://api.openai.com/v1")

    with pytest.raises(EncoderUnavailable, match="OPENAI_API_KEY"):
        OpenAICompatible(MODEL)


def test_requests_keep_to_the_limits_of_inputs_and_tokens(encoder: OpenAICompatible, provider: Standin) -> None:
    many = [f"t{number}" for number in range(2049)]
    wide = [str(number) * 8000 for number in range(10)] * 6

    assert len(encoder.encode(many).vectors) == 2049
    np.testing.assert_allclose(encoder.encode(wide).vectors, _expected(wide), atol=1e-6)

    assert [len(request) for request in provider.requests] == [2048, 1, 37, 23]


def test_no_text_asks_nothing(encoder: OpenAICompatible, provider: Standin) -> None:
    assert encoder.encode([]).vectors.shape == (0, DIMENSION)
    assert provider.requests == []


def test_answers_out_of_order_reach_their_texts(encoder: OpenAICompatible, provider: Standin) -> None:
    provider.alter = lambda answer: {**answer, "data": answer["data"][::-1]}

    np.testing.assert_allclose(encoder.encode(["a", "b", "c"]).vectors, _expected(["a", "b", "c"]), atol=1e-6)


def _without_one(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "data": answer["data"][1:]}


def _twice_the_same_place(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "data": [{**one, "index": 0} for one in answer["data"]]}


def _another_dimension(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "data": [{**one, "embedding": one["embedding"][1:]} for one in answer["data"]]}


def _ragged(answer: dict[str, Any]) -> dict[str, Any]:
    first, *rest = answer["data"]
    return {**answer, "data": [{**first, "embedding": [1.0]}, *rest]}


def _words(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "data": [{**one, "embedding": "AAAA"} for one in answer["data"]]}


@pytest.mark.parametrize(
    "alter",
    [_without_one, _twice_the_same_place, _another_dimension, _ragged, _words, lambda _: [], lambda _: {"data": None}],
)
def test_an_answer_that_does_not_fit_the_question_is_refused(
    encoder: OpenAICompatible, provider: Standin, alter: Any
) -> None:
    provider.alter = alter

    with pytest.raises(EncoderUnavailable, match=MODEL):
        encoder.encode(["one", "two"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, 0.0])
def test_a_vector_that_is_no_direction_names_its_text(encoder: OpenAICompatible, provider: Standin, value: Any) -> None:
    def alter(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"][2]["embedding"] = [value] * DIMENSION
        return answer

    provider.alter = alter

    with pytest.raises(TextRefused) as refused:
        encoder.encode(["a", "b", "c", "d"])
    assert refused.value.index == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "2500"}, 2.5),
        ({"retry-after": "Sat, 21 Nov 2026 08:00:30 GMT", "date": "Sat, 21 Nov 2026 08:00:00 GMT"}, 30),
        ({"retry-after": "soon"}, 10),
        ({"retry-after": "nan"}, 10),
        ({"retry-after": "999999"}, 600),
        ({"retry-after": "-3"}, 1),
        ({}, 10),
    ],
)
def test_a_provider_that_is_busy_says_when_to_ask_again(
    encoder: OpenAICompatible, provider: Standin, headers: dict[str, str], seconds: float
) -> None:
    provider.faults = [Refused(429, "Rate limit reached", "rate_limit_exceeded", headers)]

    with pytest.raises(ProviderBusy, match="Rate limit reached") as busy:
        encoder.encode(["a", "b"])

    assert busy.value.seconds == seconds
    assert len(provider.requests) == 1  # retries are the job's


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_a_provider_that_fails_is_asked_again(encoder: OpenAICompatible, provider: Standin, status: int) -> None:
    provider.faults = [Refused(status, "The server had an error")]

    with pytest.raises(ProviderBusy):
        encoder.encode(["a"])


def test_an_account_without_money_is_not_asked_again(encoder: OpenAICompatible, provider: Standin) -> None:
    provider.faults = [Refused(429, "You exceeded your current quota", "insufficient_quota")]

    with pytest.raises(EncoderUnavailable, match="billing") as told:
        encoder.encode(["a"])
    assert not isinstance(told.value, ProviderBusy)


def test_a_provider_that_is_not_there_is_asked_again(provider: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.EMBEDDINGS, "OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    with pytest.raises(ProviderBusy, match=r"cannot be reached \(Connection refused\)"):
        OpenAICompatible(MODEL)


def test_a_provider_that_does_not_answer_in_time_is_asked_again(
    encoder: OpenAICompatible, provider: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embeddings.encoders.openai_compatible._ONE_TEXT_SECONDS", 0.2)
    provider.faults = [given_up := threading.Event()]

    with pytest.raises(ProviderBusy):
        encoder.encode(["a"])
    given_up.set()


@pytest.mark.parametrize("key", ["sk-wrong-0123456789", "a key of another form"])
def test_a_refused_key_is_not_repeated(provider: Standin, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setitem(settings.EMBEDDINGS, "OPENAI_API_KEY", key)

    with pytest.raises(EncoderUnavailable, match="OPENAI_API_KEY") as told:
        OpenAICompatible(MODEL)

    assert key not in str(told.value)
    assert not isinstance(told.value, ProviderBusy)


def test_an_unknown_model_is_named(provider: Standin) -> None:
    with pytest.raises(EncoderUnavailable, match=r"text-embedding-9.*does not exist.*model's name"):
        OpenAICompatible("text-embedding-9")


def test_a_text_that_the_provider_rejects_is_found_among_others(encoder: OpenAICompatible, provider: Standin) -> None:
    provider.poison = "poison"
    texts = [f"text {number}" for number in range(9)]
    texts[6] = "some poison"

    with pytest.raises(TextRefused, match="rejected") as refused:
        encoder.encode(texts)

    assert refused.value.index == 6


def test_a_setting_that_makes_every_text_refused_blames_no_text(encoder: OpenAICompatible, provider: Standin) -> None:
    provider.poison = "e"  # the encoder's own probe has it as well

    with pytest.raises(EncoderUnavailable, match="refuses every text"):
        encoder.encode(["pen"])


def test_a_text_that_is_too_long_is_cut(encoder: OpenAICompatible, provider: Standin) -> None:
    long = "ä" * 5000

    made = encoder.encode(["short", long])

    np.testing.assert_allclose(made.vectors, _expected(["short", "ä" * 4095]), atol=1e-6)


@pytest.mark.parametrize(("text", "why"), [("", "empty"), (" \n", "empty"), ("a \ud800", "Unicode")])
def test_what_cannot_be_sent_is_refused_before_it_is(
    encoder: OpenAICompatible, provider: Standin, text: str, why: str
) -> None:
    with pytest.raises(TextRefused, match=why) as refused:
        encoder.encode(["fine", text])

    assert refused.value.index == 1
    assert provider.requests == []


def test_it_is_found_by_its_spec(provider: Standin) -> None:
    try:
        assert encoders.load(f"openai:{MODEL}").identity.dimension == DIMENSION
    finally:
        encoders.registry.forget(f"openai:{MODEL}")


@pytest.mark.parametrize("value", ["cheap", "-1", "nan", "inf"])
def test_a_price_that_is_no_number_stops_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("EMBEDDING_DOLLARS_PER_MILLION_TOKENS", value)

    with pytest.raises(ImproperlyConfigured, match="EMBEDDING_DOLLARS_PER_MILLION_TOKENS"):
        environment.amount("EMBEDDING_DOLLARS_PER_MILLION_TOKENS", 0.02)
