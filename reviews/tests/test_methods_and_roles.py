"""Every page and every operation of reviews: reading changes nothing, and nothing is done without its permission."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, reverse

from jobs.tests.api_client import caller, person
from reviews.api import delivery_urls, issue_urls, repository_urls, review_urls, settings_urls
from reviews.models import (
    AccessKind,
    CodeIndex,
    CommentKind,
    GitHubAccess,
    Installation,
    Issue,
    LlmCall,
    LlmProvider,
    MissedDelivery,
    Reply,
)
from reviews.tests.test_operators_api import a_delivery, a_finding, a_review

pytestmark = pytest.mark.django_db
SECRET = "never-to-be-shown-0815"
V1 = "/api/v1/"
#: Users and tokens note when they were last seen.
_LEFT_OUT = {"sessions.session", "auth.user", "jobs.apitoken", "admin.logentry"}


@pytest.fixture
def everything() -> dict[str, int]:
    """One row of each model, by its name; each with the same secret where it has one."""
    review = a_review(status="failed", job_id="gone")
    row = review.repository
    assert review.pull_request is not None
    access = GitHubAccess.objects.create(
        name="ours", kind=AccessKind.TOKEN, token=SECRET, webhook_secret=SECRET, api_url="http://127.0.0.1:1"
    )
    rows: list[Any] = [
        review,
        row,
        access,
        a_finding(review),
        a_delivery("d-1"),
        Installation.objects.create(access=access, github_id=5, account_login="acme", token=SECRET),
        Issue.objects.create(repository=row, number=3, title="t"),
        LlmProvider.objects.create(name="m", kind="openai", model="m", api_key=SECRET, base_url="http://127.0.0.1:1"),
        LlmCall.objects.create(provider="m", model="m", purpose="check", repository=row),
        Reply.objects.create(pull_request=review.pull_request, comment_id=1, kind=CommentKind.ISSUE, author="ada"),
        CodeIndex.objects.create(repository=row),
        MissedDelivery.objects.create(
            access=access, guid="m", github_id=1, event="push", delivered_at="2026-01-01T00:00:00Z"
        ),
    ]
    return {type(one)._meta.model_name or "": one.pk for one in rows}


def stored() -> dict[str, list[Any]]:
    models = [model for model in apps.get_models() if model._meta.label_lower not in _LEFT_OUT and model._meta.managed]
    return {model._meta.label: sorted(map(str, model._default_manager.values_list())) for model in models}


def admin_pages(rows: dict[str, int]) -> list[str]:
    found = []
    for model, pages in admin.site._registry.items():
        if model._meta.app_label == "reviews":
            patterns = [one for one in pages.get_urls() if isinstance(one, URLPattern) and one.name]
            found += [address(one, f"admin:{one.name}", rows, model._meta.model_name or "") for one in patterns]
    return sorted(set(found))


def address(pattern: URLPattern, name: str, rows: dict[str, int], model: str) -> str:
    known = {"finding_id": "finding", "missed_id": "misseddelivery"}
    given = {key: rows[known.get(key, model)] for key in pattern.pattern.converters}
    return reverse(name, kwargs=given)


def operations(rows: dict[str, int]) -> list[str]:
    of = {"access": "githubaccess", "provider": "llmprovider", "call": "llmcall", "index": "codeindex"}
    of |= {"review": "pullrequestreview", "missed": "misseddelivery"}
    found = []
    for module in (delivery_urls, issue_urls, repository_urls, review_urls, settings_urls):
        for pattern in module.urlpatterns:
            path = str(pattern.pattern)
            for key in pattern.pattern.converters:
                name = key.removesuffix("_id")
                path = path.replace(f"<int:{key}>", str(rows[of.get(name, name)]))
            found.append(V1 + path)
    return found


def test_to_look_at_any_page_changes_nothing_and_tells_no_secret(everything: dict[str, int]) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    pages = admin_pages(everything)
    before = stored()

    answers = {page: client.get(page) for page in pages}

    assert len(pages) > 40
    wrong = {page: answer.status_code for page, answer in answers.items() if answer.status_code not in (200, 302, 403)}
    assert wrong == {}
    assert [page for page, answer in answers.items() if SECRET in answer.content.decode()] == []
    assert stored() == before


def test_to_ask_by_rest_changes_nothing_and_tells_no_secret(everything: dict[str, int]) -> None:
    api = caller(person("root", is_superuser=True))
    before = stored()

    answers = {path: api.get(path) for path in operations(everything)}

    assert {path: answer.status_code for path, answer in answers.items() if answer.status_code not in (200, 405)} == {}
    assert [path for path, answer in answers.items() if SECRET in answer.content.decode()] == []
    assert stored() == before


@pytest.mark.parametrize("method", ["get", "post", "patch", "put", "delete"])
def test_without_any_permission_nothing_is_told_or_done_by_rest(everything: dict[str, int], method: str) -> None:
    api, nobody = caller(person("ann")), Client()
    before = stored()
    for path in operations(everything):
        sent = {"data": {}, "content_type": "application/json"} if method != "get" else {}
        assert getattr(api, method)(path, **sent).status_code in (403, 404, 405), path
        assert getattr(nobody, method)(path, **sent).status_code == 401, path
    assert stored() == before


@pytest.mark.parametrize("method", ["get", "post"])
def test_without_any_permission_no_page_is_shown_and_nothing_done(everything: dict[str, int], method: str) -> None:
    client = Client()
    client.force_login(User.objects.create_user("ann", is_staff=True))
    before = stored()
    for page in admin_pages(everything):
        answer = getattr(client, method)(page)
        assert answer.status_code in (302, 403), page
    assert stored() == before
