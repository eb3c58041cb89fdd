"""Both APIs through their SDKs, against stand-ins that hold requests to the published schemas."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from reviews.llm import anthropic_client, openai_client
from reviews.llm.accounts import client_of, find, key_of
from reviews.llm.client import Prompt
from reviews.llm.errors import LlmBusy, LlmFailed, LlmTooLong, LlmUnavailable
from reviews.llm.failures import retry_after
from reviews.llm.schema import ReviewAnswer, json_schema_of, parse
from reviews.models import LlmProvider
from reviews.tests.llm_helpers import provider_at
from reviews.tests.llm_standin import KEY, Cut, Fault, LlmStandin, Refusal, serving

pytestmark = pytest.mark.django_db
KINDS = ("anthropic", "openai")


@pytest.fixture
def llm() -> Iterator[LlmStandin]:
    for forms in (anthropic_client._forms, openai_client._forms):
        forms.forget()
    openai_client._limits.clear()
    with serving() as standin:
        yield standin


def prompt(text: str = "hello", *, is_shared: bool = True) -> Prompt:
    return Prompt("rules " * 500, "common " * 100, text, "review", json_schema_of(ReviewAnswer), is_shared)


def ask(row: LlmProvider, asked: Prompt | None = None, seconds: float = 60.0):
    client = client_of(row)
    try:
        return client.complete(asked or prompt(), 1000, seconds)
    finally:
        client.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_asked_for_by_schema_with_the_steady_part_first(llm: LlmStandin, kind: str) -> None:
    answer = ask(provider_at(llm, kind))

    assert parse(ReviewAnswer, answer.text).summary == "Changes things."
    (asked,) = llm.requests
    assert (asked.form, llm.refused) == ("schema", [])
    assert asked.system.startswith("rules")
    assert asked.text.startswith("common")
    assert asked.text.endswith("hello")


@pytest.mark.parametrize("kind", KINDS)
def test_what_requests_share_comes_from_the_cache_and_is_counted_so(llm: LlmStandin, kind: str) -> None:
    row = provider_at(llm, kind)
    first, second = ask(row, prompt("one")).usage, ask(row, prompt("two")).usage

    assert first.cached == 0
    assert first.written > 500
    assert second.cached > 500
    assert second.written < first.written
    assert first.input == second.input >= first.written  # all tokens, however they were had


@pytest.mark.parametrize(
    ("kind", "refuses", "form"),
    [
        ("anthropic", {"output_config"}, "tool"),
        ("openai", {"response_format"}, "tool"),
        ("anthropic", {"output_config", "tool_choice"}, "text"),
    ],
)
def test_an_endpoint_is_asked_in_the_way_that_it_takes_and_that_is_remembered(
    llm: LlmStandin, kind: str, refuses: set[str], form: str
) -> None:
    llm.refuses = refuses
    row = provider_at(llm, kind)

    assert parse(ReviewAnswer, ask(row).text).findings == []
    refused = len(llm.refused)
    ask(row)
    assert [asked.form for asked in llm.requests] == [form, form]
    assert refused == len(refuses) == len(llm.refused)


def test_an_older_server_is_told_the_limit_by_the_name_that_it_knows(llm: LlmStandin) -> None:
    llm.refuses = {"max_completion_tokens"}
    ask(provider_at(llm, "openai"))

    assert llm.requests[0].body["max_tokens"] == 1000
    assert llm.requests[0].form == "schema"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "error", "seconds"),
    [
        (Fault(429, "rate limit", {"retry-after": "37"}), LlmBusy, 37.0),
        (Fault(529, "overloaded"), LlmBusy, None),
        (Fault(500, "oops"), LlmBusy, None),
        (Fault(503, "later", {"retry-after": "2"}), LlmBusy, 2.0),
        (Fault(429, "You exceeded your current quota", code="insufficient_quota"), LlmUnavailable, None),
        (Fault(400, "prompt is too long: 300000 tokens > 200000 maximum"), LlmTooLong, None),
        (Fault(413, "request too large"), LlmTooLong, None),
        (Fault(403, "no access to this model"), LlmUnavailable, None),
        (Fault(307, "elsewhere", {"location": "http://127.0.0.1:9/"}), LlmUnavailable, None),
        (Fault(200, body=b'{"choices": [], "content": 5}'), LlmBusy, None),
        (Fault(200, body=b"<html>a proxy"), LlmBusy, None),
    ],
)
def test_errors_are_told_apart_and_nothing_is_sent_twice(
    llm: LlmStandin, kind: str, fault: Fault, error: type[LlmFailed], seconds: float | None
) -> None:
    llm.script = [fault]
    with pytest.raises(error) as raised:
        ask(provider_at(llm, kind))

    assert type(raised.value) is error
    assert len(llm.requests) == 1
    assert getattr(raised.value, "retry_after_seconds", None) == seconds
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_key_is_not_repeated_and_names_its_remedy(llm: LlmStandin, kind: str) -> None:
    with pytest.raises(LlmUnavailable, match="check its API key") as raised:
        ask(provider_at(llm, kind, api_key="sk-wrong-" + "0123456789"))
    assert "0123456789" not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_model_names_its_remedy(llm: LlmStandin, kind: str) -> None:
    with pytest.raises(LlmUnavailable, match="check the model's name"):
        ask(provider_at(llm, kind, model="no-such-model"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_timeout_may_have_cost_and_a_refused_connection_has_not(llm: LlmStandin, kind: str) -> None:
    given_up = threading.Event()
    llm.script = [lambda asked: given_up.wait(60) and "too late"]
    with pytest.raises(LlmBusy, match="in time") as late:
        ask(provider_at(llm, kind), seconds=0.1)
    given_up.set()
    with pytest.raises(LlmBusy, match=r"cannot be reached \(Connection refused\)") as away:
        ask(provider_at(llm, kind, name="away", base_url="http://127.0.0.1:9/v1"))

    assert late.value.may_have_cost
    assert not away.value.may_have_cost


@pytest.mark.parametrize("kind", KINDS)
def test_cut_and_refused_answers_are_known_as_such(llm: LlmStandin, kind: str) -> None:
    llm.script = [Cut(), Refusal()]
    row = provider_at(llm, kind)

    assert [ask(row).stop, ask(row).stop] == ["cut", "refused"]


def test_waits_are_read_in_every_form_and_bounded() -> None:
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after({"retry-after": "99999999"}) == 3600.0
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({}) is None
    date = {"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT", "date": "Sat, 21 Nov 2026 12:00:00 GMT"}
    assert retry_after(date) == 30.0


def test_the_environments_key_goes_to_its_own_address_alone(settings) -> None:
    settings.REVIEWS = {**settings.REVIEWS, "OPENAI_API_KEY": "sk-of-the-environment"}
    row = LlmProvider(name="x", kind="openai", model="m")
    assert key_of(row).reveal() == "sk-of-the-environment"

    row.base_url = "https://elsewhere.example/v1"
    assert not key_of(row)


def test_a_provider_of_the_environment_is_made_only_if_a_model_is_named(settings) -> None:
    settings.REVIEWS = {**settings.REVIEWS, "ANTHROPIC_API_KEY": "sk-1", "ANTHROPIC_MODEL": ""}
    assert find("anthropic") is None

    settings.REVIEWS = {**settings.REVIEWS, "ANTHROPIC_MODEL": "claude-sonnet-5-5"}
    row = find("anthropic")
    assert row is not None
    assert (row.model, str(row.output_usd_per_million)) == ("claude-sonnet-5-5", "10")
    assert find("openai") is None
    assert LlmProvider.objects.count() == 1


@pytest.mark.long
def test_nothing_of_the_sdks_is_loaded_before_a_client_is_made() -> None:
    code = (
        "import django, sys; django.setup(); import reviews.tasks, reviews.llm.calls, reviews.llm.reviewer, "
        "reviews.providers.combined, reviews.services.llm_providers; "
        "print([name for name in ('anthropic', 'openai') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
