"""`manage.py search TEXT`."""

import io
import json
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from embeddings.tests.searching_helpers import put, searchable

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def travel(db: None) -> None:
    put(
        searchable(name="travel"),
        [
            {"id": "trains", "text": "The night train to Lisbon\x1b[2J leaves at eight.", "metadata": {"year": 2024}},
            {"id": "bread", "text": "Bread is baked early in the morning.", "metadata": {"year": 2020}},
        ],
    )


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("search", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_hits_are_listed_and_told_how_they_were_found() -> None:
    out, err = run("night train", "--collection", "travel", "--k", "1")

    head, row = out.splitlines()
    assert head.split("\t") == ["RANK", "SCORE", "BY", "ID", "SNIPPET"]
    assert row.split("\t")[3] == "trains"
    assert "\x1b" not in out
    assert "1 found in" in err
    assert "no index yet, 2 chunks beside it" in err


def test_json_has_all_of_the_answer() -> None:
    out, _ = run("night train", "--collection", "travel", "--json", "--filter", '{"year": {"lt": 2021}}', "--chunks")

    answer = json.loads(out)
    assert [hit["id"] for hit in answer["hits"]] == ["bread"]
    assert "vector" in answer["hits"][0]["explain"]


def test_nothing_found_is_no_failure() -> None:
    out, err = run("zzz", "--collection", "travel", "--mode", "text")
    assert out == ""
    assert err.startswith("0 found")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["", "--collection", "travel"], 2, "TEXT: it is ''; give the text"),
        (["x", "--collection", "nowhere"], 2, "unknown collection 'nowhere'; choose from: documents, travel"),
        (["x", "--collection", "travel", "--k", "0"], 2, "--k: it is 0"),
        (["x", "--collection", "travel", "--mode", "best"], 2, "--mode: unknown mode 'best'"),
        (["x", "--collection", "travel", "--filter", "{"], 2, "--filter '{' is not JSON"),
        (["x", "--collection", "travel", "--filter", "[]"], 2, "must be an object"),
        (["x", "--collection", "travel", "--filter", '{"a": {"like": 1}}'], 2, "--filter: 'a': unknown operator"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], code: int, says: str) -> None:
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert refused.value.returncode == code
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_encoder_that_cannot_be_used_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from embeddings import encoders
    from embeddings.encoders.base import EncoderUnavailable

    def missing(spec: str, digest: str) -> Any:
        raise EncoderUnavailable("install the weights")

    monkeypatch.setattr(encoders, "load_exactly", missing)
    with pytest.raises(CommandError, match="install the weights") as failed:
        run("x", "--collection", "travel", "--mode", "vector")
    assert failed.value.returncode == 1
