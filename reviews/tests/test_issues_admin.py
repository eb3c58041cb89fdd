"""The admin's pages of issues, and `manage.py issues`."""

import json
import re
from html import unescape
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from jobs.operators.actors import command_actor
from jobs.tests.admin_helpers import client_with, page_of
from reviews.models import Issue, IssueTag, Repository
from reviews.services import enriching, issue_labels, issues

pytestmark = pytest.mark.django_db
LIST = "/admin/reviews/issue/"
VIEW = ("reviews.view_issue",)
ALL = (*VIEW, "reviews.change_issue", "reviews.enrich_issue")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def issue() -> Issue:
    Repository.objects.create(full_name="acme/shop", issue_labels=["bug", "docs", HOSTILE])
    actor = command_actor()
    for title in ("Upload of large files stops", f"[Bug] Large upload stops {HOSTILE}"):
        body = f"The upload stops half way. {HOSTILE}"
        last = issues.put(actor, title=title, body=body, repository="acme/shop").issue
        enriching.enrich(last.pk)
    issue_labels.label(actor, last, [HOSTILE])
    return issues.find_issue(last.pk)


def page(issue: Issue, name: str = "change") -> str:
    return page_of("reviews_issue", name, issue.pk)


def plain(response: Any) -> str:
    assert response.status_code == 200
    assert HOSTILE not in response.content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_an_issues_page_tells_what_was_added_by_whom_and_why(issue: Issue) -> None:
    text = plain(client_with(*VIEW).get(page(issue)))

    assert "its title begins with “bug”" in text
    assert "rule, title prefix 0.95" in text
    assert "Upload of large files stops" in text
    assert "shares " in text
    assert "Set labels" not in text
    assert "Enrich again" not in text


def test_lists_are_narrowed_by_label_state_and_words(issue: Issue) -> None:
    client = client_with(*VIEW)

    assert "Large upload stops" in plain(client.get(LIST))
    for query in ("?tag=bug", "?q=Large", "?enrichment_state=done", "?repository=acme/shop", "?state=open"):
        assert "[Bug]" in plain(client.get(f"{LIST}{query}")), query
    for query in ("?tag=docs", "?q=nothing", "?enrichment_state=failed", "?state=closed"):
        assert "[Bug]" not in plain(client.get(f"{LIST}{query}")), query


def test_labels_are_set_as_a_persons_word(issue: Issue) -> None:
    client = client_with(*ALL)

    client.post(page(issue, "labels"), {"label": ["docs"]})

    rows = IssueTag.objects.filter(issue=issue).order_by("name").values_list("name", "source", "removed")
    assert list(rows)[1:] == [("bug", "human", True), ("docs", "human", False)]
    assert "has no label" in plain(client.post(page(issue, "labels"), {"label": ["odd"]}, follow=True))


def sent_by(client: Client, issue: Issue) -> dict[str, list[str]]:
    """What a browser sends of the form of an issue's labels, if its user changes nothing."""
    form = client.get(page(issue)).content.decode().partition(page(issue, "labels"))[2].partition("</form>")[0]
    boxes = re.findall(r'type="checkbox" name="label" value="([^"]*)"( checked)?', form)
    shown = re.findall(r'type="hidden" name="shown" value="([^"]*)"', form)
    return {"label": [unescape(name) for name, ticked in boxes if ticked], "shown": [unescape(name) for name in shown]}


def test_where_a_label_that_was_taken_off_still_is_is_told_plainly(issue: Issue) -> None:
    IssueTag.objects.filter(issue=issue).update(at_github=True)
    IssueTag.objects.filter(issue=issue, name="bug").update(source="human", removed=True)

    text = plain(client_with(*VIEW).get(page(issue)))

    assert "A person took it off; nothing puts it back. It is still on the issue at GitHub." in text
    assert "It is on the issue at GitHub, too." in text


def test_labels_that_an_open_page_did_not_show_stay(issue: Issue) -> None:
    client, bare = client_with(*ALL), Issue.objects.exclude(pk=issue.pk).get()
    sent = sent_by(client, bare)
    IssueTag.objects.create(issue=bare, name="bug", source="rule", confidence=0.95)

    client.post(page(bare, "labels"), {**sent, "label": [*sent["label"], "docs"]})

    rows = IssueTag.objects.filter(issue=bare).order_by("name").values_list("name", "source", "removed")
    assert list(rows) == [("bug", "rule", False), ("docs", "human", False)]


def test_labels_that_somebody_took_off_meanwhile_are_not_put_back(issue: Issue) -> None:
    client = client_with(*ALL)
    sent = sent_by(client, issue)
    assert sorted(sent["label"]) == [HOSTILE, "bug"]
    issue_labels.label(command_actor(), issue, remove=["bug"])

    client.post(page(issue, "labels"), {**sent, "label": ["bug"]})

    assert set(IssueTag.objects.filter(issue=issue, removed=True).values_list("name", flat=True)) == {"bug", HOSTILE}


def test_a_form_in_which_nothing_was_ticked_is_nobodys_word(issue: Issue) -> None:
    client = client_with(*ALL)

    answer = client.post(page(issue, "labels"), sent_by(client, issue), follow=True)

    assert "Nothing was changed." in plain(answer)
    assert IssueTag.objects.get(issue=issue, name="bug").source == "rule"


def test_an_issue_is_enriched_again_from_its_page_and_from_the_list(issue: Issue) -> None:
    client = client_with(*ALL)

    assert "enriched again by job" in plain(client.post(page(issue, "enrich"), follow=True))
    enriching.enrich(issue.pk)
    client.post(LIST, {"action": "enrich_again", "_selected_action": [issue.pk]})

    assert Issue.objects.get(pk=issue.pk).enrichment_state == "queued"


def test_pages_that_change_something_need_their_permission(issue: Issue) -> None:
    client: Client = client_with(*VIEW)

    assert client.post(page(issue, "labels"), {"label": []}).status_code == 403
    assert client.post(page(issue, "enrich")).status_code == 403
    assert client_with(name="bob").get(page(issue)).status_code == 403
    assert client.get(f"{LIST}{10**30}/change/").status_code == 302


def run(*arguments: str) -> Any:
    out = StringIO()
    call_command("issues", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_the_command_does_what_the_api_does(issue: Issue) -> None:
    assert [row["id"] for row in run("list", "--tag", "bug")] == [issue.pk]
    assert run("show", str(issue.pk))["tags"] == [HOSTILE, "bug"]
    assert run("label", str(issue.pk), "--add", "docs", "--remove", "bug")["tags"] == [HOSTILE, "docs"]
    assert run("enrich", str(issue.pk))["enrichment_state"] == "queued"
    assert run("train", "acme/shop")["job"]
    for wrong in (["show", "999999"], ["label", str(issue.pk)], ["label", str(issue.pk), "--add", "odd"]):
        with pytest.raises(CommandError) as caught:
            call_command("issues", *wrong)
        assert caught.value.returncode == 2
