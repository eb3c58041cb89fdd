"""Whatever is given as a setting is stored as it is told, or refused by name: nothing raises anything else."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.db import transaction

from jobs.operators.actors import command_actor
from jobs.operators.settings import Settings, SettingsRefused
from reviews.models import GitHubAccess, LlmProvider, Repository
from reviews.operators import accesses, llm_providers, repositories
from reviews.standin.apps import private_key

pytestmark = [pytest.mark.long, pytest.mark.django_db]

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**40, 0.5, -0.5, 1e300, float("nan"), float("inf")),
    *("", " ", "a", "a" * 256, "a" * 20_001, "\x00", "\ud800", "1", "true", "NaN", "1e999", "https://[", "é" * 300),
    *([], [""], ["a"], ["\x00"], [1], [None], ["a" * 300], [["a"]], ["a"] * 201, ["[z-a]"], ["\\"], [{}]),
    *({}, {"path": "a"}, [{"path": "a", "instructions": "b"}], [{"path": "[z-a]", "instructions": "b"}]),
    *([{"path": 1, "instructions": 2}], [{"path": "\x00", "instructions": "b"}]),
)


def change_repository() -> Callable[[Mapping[str, Any]], Any]:
    row = Repository.objects.create(full_name="acme/shop")
    return lambda given: repositories.change_repository(command_actor(), row.pk, given)


def change_access() -> Callable[[Mapping[str, Any]], Any]:
    row = GitHubAccess.objects.create(name="a", client_id="a", private_key=private_key())
    return lambda given: accesses.change_access(command_actor(), row.pk, given)


def change_provider() -> Callable[[Mapping[str, Any]], Any]:
    row = LlmProvider.objects.create(name="a", kind="openai", model="m")
    return lambda given: llm_providers.change_provider(command_actor(), row.pk, given)


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        (repositories.SETTINGS, change_repository),
        (accesses.SETTINGS, change_access),
        (llm_providers.SETTINGS, change_provider),
    ],
    ids=["repository", "access", "provider"],
)
def test_odd_values_are_stored_or_refused(settings: Settings, make: Callable[[], Callable[..., Any]]) -> None:
    change, refused, stored = make(), 0, 0
    said: list[str] = []
    for name in settings.names:
        for value in ODD:
            mark = transaction.savepoint()
            try:
                change({name: value})
                stored += 1
            except SettingsRefused as exc:
                refused += 1
                said.append(str(exc))
            transaction.savepoint_rollback(mark)

    assert refused > 3 * stored > 0
    assert all(text.partition(":")[0] in settings.names for text in said)
