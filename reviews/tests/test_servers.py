"""Repositories of several servers, whose ids may be the same."""

from typing import Any

import pytest

from jobs.operators.actors import Actor
from reviews.models import AccessKind, GitHubAccess, Repository
from reviews.operators import accesses, repositories
from reviews.services.event_fields import RepositoryFields
from reviews.services.events_repositories import remember

pytestmark = pytest.mark.django_db
ACTOR = Actor(name="ops", via="command")
SERVER = "https://github.corp.example/api/v3"


@pytest.fixture
def enterprise() -> GitHubAccess:
    return GitHubAccess.objects.create(name="corp", kind=AccessKind.TOKEN, token="t" * 20, api_url=f"{SERVER}/")


def told(full_name: str, github_id: int = 7) -> RepositoryFields:
    return RepositoryFields(github_id, full_name, None, None, archived=False)


def test_one_id_at_two_servers_is_two_repositories(enterprise: GitHubAccess) -> None:
    public = remember(told("acme/shop"), {}, None)
    own = remember(told("corp/tools"), {}, enterprise)

    assert public.pk != own.pk
    assert remember(told("acme/renamed"), {}, None).pk == public.pk
    assert remember(told("corp/renamed"), {}, enterprise).pk == own.pk
    assert set(Repository.objects.values_list("full_name", "api_url")) == {
        ("acme/renamed", "https://api.github.com"),
        ("corp/renamed", SERVER),
    }


def test_accesses_to_one_server_share_its_repositories(enterprise: GitHubAccess, settings: Any) -> None:
    settings.GITHUB = {**settings.GITHUB, "API_URL": SERVER}
    other = GitHubAccess.objects.create(name="other", kind=AccessKind.TOKEN, token="o" * 20, api_url=SERVER.upper())

    assert len({remember(told("corp/tools"), {}, access).pk for access in (None, enterprise, other)}) == 1


def test_one_that_was_entered_by_name_is_taken_over_by_its_own_server_alone(enterprise: GitHubAccess) -> None:
    entered = repositories.create_repository(ACTOR, "acme/shop", {"access": "corp"})

    assert remember(told("acme/shop"), {}, None).pk != entered.pk
    assert remember(told("acme/shop", 8), {}, enterprise).pk == entered.pk


def test_one_that_moves_to_another_server_gets_its_id_from_there(enterprise: GitHubAccess) -> None:
    row = remember(told("acme/shop"), {}, None)
    repositories.change_repository(ACTOR, row.pk, {"access": "corp"})

    assert remember(told("acme/shop", 99), {}, enterprise).pk == row.pk
    accesses.change_access(ACTOR, enterprise.pk, {"api_url": "https://new.example/api/v3", "token": "n" * 20})
    row.refresh_from_db()
    assert (row.github_id, row.api_url) == (None, "")
    enterprise.refresh_from_db()
    assert remember(told("acme/shop", 5), {}, enterprise).pk == row.pk
