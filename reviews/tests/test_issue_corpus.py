"""Issues as documents that are searched by meaning."""

from pathlib import Path

import pytest

from embeddings.models import Document
from embeddings.tests.conftest import indexes_dir
from embeddings.tests.searching_helpers import embed, searchable, swapped
from jobs.operators.actors import command_actor
from reviews.models import Issue, IssueTag, Repository, TagSource
from reviews.operators import repositories
from reviews.services import enriching, issue_corpus, issues
from reviews.tasks import forget_repository

__all__ = ["indexes_dir"]


TEXTS = ("Login fails after the password was reset", "Login is refused after a reset of the password")


def made(title: str, repository: str = "acme/shop") -> Issue:
    put = issues.put(command_actor(), title=title, body="My mail is ada@example.com.", repository=repository)
    enriching.enrich(put.issue.pk)
    return issues.find_issue(put.issue.pk)


@pytest.mark.django_db(transaction=True)
def test_neighbours_by_meaning_are_told_and_vote_for_labels(indexes_dir: Path) -> None:
    Repository.objects.create(full_name="acme/shop", issue_labels=["access", "wish"])
    collection = searchable(name=issue_corpus.NAME)
    for number in range(8):
        IssueTag.objects.create(issue=made(f"{TEXTS[number % 2]} {number}"), name="access", source=TagSource.HUMAN)
    made(TEXTS[0], "acme/other")
    assert issue_corpus.alike(Issue.objects.all()[0], TEXTS[0]) == []  # there is no index yet
    embed(collection, collection.model)
    swapped(collection)

    issue = made("Signing in fails after the password was reset")

    found = {row["issue"]: row["reason"] for row in issue.similar}
    shop = set(Issue.objects.filter(repository__full_name="acme/shop").values_list("pk", flat=True))
    assert set(found) <= shop - {issue.pk}
    assert any("means something alike" in reason for reason in found.values())
    (tag,) = [tag for tag in issue.tag_rows.all() if tag.by == "neighbours"]
    assert (tag.name, tag.source, "nearest labelled issues have it" in tag.reason) == ("access", TagSource.AI, True)


@pytest.mark.django_db
def test_what_is_kept_of_an_issue_has_no_personal_data_and_goes_with_it() -> None:
    issue = made(TEXTS[0])

    document = Document.objects.get(collection__name=issue_corpus.NAME, external_id=str(issue.pk))
    assert document.text == f"{TEXTS[0]}\nMy mail is [mail]."

    assert [group.name for group in document.collection.groups.all()] == [issue_corpus.READERS]

    issue_corpus.forget(issue)

    assert not Document.objects.filter(pk=document.pk).exists()


@pytest.mark.django_db
def test_the_issues_of_a_repository_that_is_forgotten_are_found_no_more() -> None:
    stays, goes = made(TEXTS[0], "acme/other"), made(TEXTS[1])
    assert goes.repository_id is not None

    assert forget_repository(repository_id=goes.repository_id)["issues"] == 0  # of the index alone
    repositories.delete_repository(command_actor(), goes.repository_id)
    assert forget_repository(repository_id=goes.repository_id)["issues"] == 1

    found = Document.objects.filter(collection__name=issue_corpus.NAME)
    assert list(found.values_list("external_id", flat=True)) == [str(stays.pk)]
