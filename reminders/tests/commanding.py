"""manage.py's commands as tests call them."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command


def run(*words: str) -> str:
    """What it prints."""
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def data(*words: str) -> Any:
    return json.loads(run(*words, "--json"))


def refused(*words: str) -> tuple[int, str]:
    """With which code it ends, and what it says."""
    with pytest.raises(CommandError) as caught:
        run(*words)
    return caught.value.returncode, str(caught.value)
