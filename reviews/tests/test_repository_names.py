"""A repository that was deleted at GitHub and made again: its name means the one that is there."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from jobs import Discard
from jobs.models import Job
from jobs.tests.admin_helpers import client_with, page_of
from jobs.tests.api_client import post, problem
from reviews.models import Issue, Repository
from reviews.services import issue_importing

pytestmark = pytest.mark.django_db
V1 = "/api/v1/"


@pytest.fixture
def gone() -> Repository:
    return Repository.objects.create(full_name="acme/shop", github_id=1, removed_at=timezone.now())


@pytest.fixture
def there(gone: Repository) -> Repository:
    return Repository.objects.create(full_name="acme/shop", github_id=2)


def told(*arguments: str) -> Any:
    out = io.StringIO()
    call_command(*arguments, "--json", stdout=out, stderr=io.StringIO())
    return json.loads(out.getvalue())


def repository_of_job(pk: str) -> int:
    return int(Job.objects.get(pk=pk).kwargs["repository_id"])


@pytest.mark.parametrize("what", ["import-issues", "learn-labels"])
def test_a_job_is_about_the_repository_whose_number_was_given(api: Client, there: Repository, what: str) -> None:
    sent = post(api, f"{V1}repositories/{there.pk}/{what}/").json()["job"]

    assert repository_of_job(sent) == there.pk
    page = page_of("reviews_repository", what.replace("-", "_"), there.pk)
    client_with("reviews.view_repository", "reviews.enrich_issue").post(page)
    assert set(Job.objects.values_list("kwargs__repository_id", flat=True)) == {there.pk}


@pytest.mark.parametrize("command", [("issues", "import"), ("issues", "train"), ("index_repository",)])
def test_commands_take_the_repository_that_is_there(there: Repository, command: tuple[str, ...]) -> None:
    assert repository_of_job(told(*command, "Acme/Shop")["job"]) == there.pk


def test_an_issue_belongs_to_the_repository_that_is_there(api: Client, there: Repository) -> None:
    post(api, f"{V1}issues/", {"repository": "acme/shop", "title": "Upload fails"})

    assert Issue.objects.get().repository == there


def test_issues_of_one_that_is_gone_are_not_fetched_from_another_of_its_name(api: Client, gone: Repository) -> None:
    refused = problem(post(api, f"{V1}repositories/{gone.pk}/import-issues/"), 409)

    assert "acme/shop is gone from GitHub" in refused["detail"]
    with pytest.raises(CommandError) as raised:
        told("issues", "import", "acme/shop")
    assert raised.value.returncode == 2
    with pytest.raises(Discard, match="is gone from GitHub"):
        issue_importing.run(gone.pk)
