from collections.abc import Callable
from urllib.request import urlopen

import pytest
import requests

from jobs.tests.receivers import receiving
from jobs.unreachable import why_unreachable

CLIENTS = {
    "requests": lambda url: requests.post(url, data=b"hidden", timeout=30),
    "urllib": lambda url: urlopen(url, data=b"hidden", timeout=30),
}


@pytest.fixture(params=CLIENTS)
def said_of(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """What is told of a POST that fails."""

    def post(url: str) -> str:
        try:
            CLIENTS[request.param](url)
        except OSError as exc:
            return why_unreachable(exc)
        raise AssertionError("it did not fail")

    return post


def test_it_is_told_in_the_words_of_the_operating_system(said_of: Callable[[str], str]) -> None:
    assert said_of("http://127.0.0.1:9/?token=hidden") == "Connection refused"


def test_an_answer_that_does_not_come_is_told_by_the_name_of_the_error(said_of: Callable[[str], str]) -> None:
    with receiving() as receiver:
        receiver.answers = [0]

        assert said_of(receiver.url) == "RemoteDisconnected"
