"""Labels that a repository's own issues taught, and labels at GitHub."""

import io
import random
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.models import Job
from jobs.operators.actors import command_actor
from reviews.enrichment import classifier
from reviews.llm.costs import Scope
from reviews.llm.errors import LlmCapped
from reviews.models import Issue, IssueClassifier, IssueTag, Repository, TagSource
from reviews.providers.base import ProviderFailed
from reviews.services import (
    enriching,
    issue_importing,
    issue_labels,
    issue_llm,
    issues,
    label_posting,
    label_training,
)
from reviews.services.issue_labels import LabelRefused
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, Standin, serving

pytestmark = pytest.mark.django_db

BUGS = ["crash", "error", "traceback", "broken", "fails", "hang", "wrong", "regression"]
WISHES = ["support", "allow", "option", "configurable", "wish", "extend", "customise", "nicer"]
FILLER = ["page", "server", "table", "column", "report", "window", "upload", "button"]


def text_of(kind: list[str], chance: random.Random) -> tuple[str, str]:
    said = chance.sample(kind, 3) + chance.sample(FILLER, 3)
    chance.shuffle(said)
    return " ".join(said[:3]), " ".join(said[3:]) + " there."


@pytest.fixture
def repository() -> Repository:
    return Repository.objects.create(full_name="acme/shop", issue_labels=["defect", "wish", "rare"])


def taught(repository: Repository, count: int = 60) -> random.Random:
    chance = random.Random(7)
    for number in range(count):
        kind, name = ((BUGS, "defect"), (WISHES, "wish"))[number % 2]
        title, body = text_of(kind, chance)
        issue = Issue.objects.create(repository=repository, number=number + 1, title=title, body=body)
        IssueTag.objects.create(issue=issue, name=name, source=TagSource.HUMAN)
    IssueTag.objects.create(issue=Issue.objects.get(number=1), name="rare", source=TagSource.HUMAN)
    return chance


@pytest.mark.long  # scikit-learn takes seconds to load
def test_labels_are_learned_from_a_repositorys_own_issues(repository: Repository) -> None:
    chance = taught(repository)
    told = label_training.train(repository.pk)
    assert (told["trained"], sorted(told["labels"])) == (True, ["defect", "wish"])

    title, body = text_of(BUGS, chance)
    put = issues.put(command_actor(), title=title, body=body, repository="acme/shop")
    enriching.enrich(put.issue.pk)

    (tag,) = IssueTag.objects.filter(issue=put.issue)
    assert (tag.name, tag.source, tag.by) == ("defect", TagSource.AI, "classifier")
    assert tag.confidence is not None
    assert tag.confidence >= 0.8
    assert any(word in tag.reason for word in BUGS)


@pytest.mark.long  # scikit-learn takes seconds to load
def test_what_was_learned_is_replaced_and_read_anew(repository: Repository) -> None:
    taught(repository)
    label_training.train(repository.pk)
    first = label_training.classifier_of(repository)
    assert label_training.classifier_of(repository) is first
    label_training.train(repository.pk)
    assert label_training.classifier_of(repository) is not first

    IssueTag.objects.all().delete()
    label_training.train(repository.pk)

    assert label_training.classifier_of(repository) is None
    assert "labelled issues" in IssueClassifier.objects.get().note


def test_too_few_examples_teach_nothing(repository: Repository) -> None:
    taught(repository, 20)

    assert "30 are needed" in label_training.train(repository.pk)["note"]


def test_learning_starts_when_enough_is_new(repository: Repository) -> None:
    taught(repository, 29)
    assert label_training.request_if_due(repository) == ""
    last = Issue.objects.create(repository=repository, title="x")

    issue_labels.label(command_actor(), last, ["wish"])

    assert Job.objects.filter(task="reviews.train_issue_labels", queue="slow_lane").count() == 1
    IssueClassifier.objects.create(repository=repository, examples=30)
    assert label_training.request_if_due(repository) == ""


def test_case_does_not_tell_two_labels_apart(repository: Repository) -> None:
    issue = issues.put(command_actor(), title="x", repository="acme/shop").issue
    issue_labels.label(command_actor(), issue, ["Wish", "wish"])

    assert issue_labels.set_labels(command_actor(), issues.find_issue(issue.pk), ["WISH", "rare"]).tags == [
        "rare",
        "wish",
    ]
    assert issue_labels.label(command_actor(), issue, remove=["Wish"]).tags == ["rare"]
    with pytest.raises(LabelRefused, match="added and removed"):
        issue_labels.label(command_actor(), issue, ["wish"], ["Wish"])


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "x" * 300, "nul\0", "half\ud800"])
def test_what_can_be_no_label_is_neither_given_nor_taken(repository: Repository, name: str) -> None:
    for where in ("acme/shop", ""):
        issue = issues.put(command_actor(), title="x", repository=where).issue
        for add, remove in (([name], []), ([], [name])):
            with pytest.raises(LabelRefused):
                issue_labels.label(command_actor(), issue, add, remove)


def test_what_was_learned_is_kept_without_pickle() -> None:
    made = classifier.Classifier(
        ("a",), {"x": 0, "y": 1}, np.ones(2, np.float32), np.array([[4.0, -4.0]], np.float32), np.zeros(1, np.float32)
    )

    read = classifier.load(made.dump())

    assert [round(one.confidence, 2) for one in read.suggest(["x"], ["a"])] == [0.98]
    assert read.suggest(["unknown"], ["a"]) == read.suggest(["x"], ["b"]) == []
    hostile = io.BytesIO()
    np.savez(hostile, names=np.array([{"a": 1}], dtype=object))
    for bad in (b"", b"PK", made.dump()[:-40], hostile.getvalue()):
        with pytest.raises(classifier.BadArchive):
            classifier.load(bad)


# --- at GitHub -----------------------------------------------------------------------------------------------------


@pytest.fixture
def standin(repo: Repo, settings: Any) -> Iterator[Standin]:
    with serving(repo) as standin:
        settings.GITHUB = {**settings.GITHUB, "TOKEN": TOKEN, "API_URL": standin.url}
        standin.labels.update({"bug": "Something is broken", "docs": ""})
        standin.open_issue(12, "[Bug] Upload fails", "It fails.")
        yield standin


def at_github(standin: Standin, **changes: Any) -> Issue:
    values = {"github_id": standin.repository_id, "full_name": standin.full_name, **changes}
    repository = Repository.objects.create(**values)
    issue = Issue.objects.create(repository=repository, number=12, title="[Bug] Upload fails", content_hash="a")
    enriching.enrich(issue.pk)
    issue.refresh_from_db()
    return issue


def test_the_labels_that_github_has_are_fetched_once(standin: Standin) -> None:
    issue = at_github(standin)
    Issue.objects.update(enrichment_state="queued")
    enriching.enrich(issue.pk)

    assert issue.tags == ["bug"]
    assert len(standin.asked("GET")) == 1
    assert standin.asked("POST") == []  # the repository does not allow it
    assert not Job.objects.filter(task="reviews.apply_issue_labels").exists()


def test_labels_are_added_at_github_once_where_the_repository_allows_it(standin: Standin) -> None:
    issue = at_github(standin, apply_labels=True)
    job = Job.objects.get(task="reviews.apply_issue_labels")
    assert job.kwargs == {"issue_id": issue.pk}

    assert label_posting.apply(issue.pk) == {"added": ["bug"]}
    assert label_posting.apply(issue.pk) == {"added": []}

    assert standin.issues[12]["labels"] == ["bug"]
    assert len(standin.asked("POST")) == 1
    assert IssueTag.objects.get().at_github


def test_a_label_that_was_deleted_at_github_is_not_made_there_again(standin: Standin) -> None:
    issue = at_github(standin)
    issue_labels.label(command_actor(), issue, ["bug", "docs"])
    Repository.objects.update(apply_labels=True)

    issue_labels.label_deleted(Repository.objects.get(), "docs")

    assert label_posting.apply(issue.pk) == {"added": ["bug"]}
    assert standin.issues[12]["labels"] == ["bug"]


def test_without_github_an_issue_is_enriched_all_the_same_and_says_what_is_missing(standin: Standin) -> None:
    standin.tokens.clear()

    first = at_github(standin)

    assert (first.enrichment_state, first.tags) == ("done", [])
    assert "labels could not be fetched" in first.enrichment_error


def test_issues_that_github_has_are_fetched_with_their_labels_and_compared_with(standin: Standin) -> None:
    standin.open_issue(13, "Upload of large files stops", "The upload stops half way.", "ada", "docs")
    row = Repository.objects.create(github_id=standin.repository_id, full_name=standin.full_name)
    job = Job.objects.get(pk=issue_importing.request(command_actor(), row))

    told = issue_importing.run(**job.kwargs)

    assert (told["seen"], told["stored"], issue_importing.run(**job.kwargs)["stored"]) == (2, 2, 0)
    old = Issue.objects.get(number=13)
    assert (old.tags, old.enrichment_state, list(old.tag_rows.values_list("source", flat=True))) == (
        *(["docs"], "waiting"),
        [TagSource.HUMAN],
    )
    new = issues.put(command_actor(), title="Large upload stops", body="Half way.", repository="acme/shop").issue
    enriching.enrich(new.pk)
    assert Issue.objects.get(pk=new.pk).similar[0]["issue"] == old.pk


# --- by a language model -------------------------------------------------------------------------------------------


class Told:
    """What a model answered."""

    def __init__(self, summary: str, *labels: tuple[str, float]) -> None:
        self.summary = summary
        self.labels = [SimpleNamespace(name=name, confidence=sure, reason="it says so") for name, sure in labels]


def by_model(repository: Repository, monkeypatch: pytest.MonkeyPatch, ask: Any) -> Issue:
    monkeypatch.setattr(issue_llm, "_ask", ask)
    Repository.objects.filter(pk=repository.pk).update(issue_provider="claude")
    put = issues.put(command_actor(), title="It hangs", body="My mail is ada@example.com.", repository="acme/shop")
    enriching.enrich(put.issue.pk)
    return issues.find_issue(put.issue.pk)


def test_a_models_labels_are_of_the_list_and_sure_and_its_summary_is_named(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def ask(issue: Issue, cleaned: Any, allowed: Any) -> Told:
        asked.append(cleaned.text)
        return Told("The page\nhangs.", ("Defect", 0.9), ("wish", 0.7), ("invented", 1.0))

    issue = by_model(repository, monkeypatch, ask)

    assert (issue.ai_summary, issue.summary_source, issue.tags) == ("The page hangs.", "claude", ["defect"])
    assert [(tag.source, tag.by) for tag in issue.tag_rows.all()] == [(TagSource.AI, "claude")]
    assert asked == ["It hangs\nMy mail is [mail]."]


def test_a_repositorys_own_caps_hold_for_its_issues(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    Repository.objects.update(issue_provider="claude", change_cap_usd="0.25", daily_cap_usd="3")
    scopes: list[Scope] = []

    def ask(*asked: Any) -> Any:
        scopes.append(asked[-1])
        raise LlmCapped("the cap of $0.25 for one change is reached")

    monkeypatch.setattr("reviews.llm.asking.ask", ask)
    enriching.enrich(Issue.objects.create(repository=repository, number=12, title="It hangs").pk)

    assert scopes == [Scope(repository.pk, 12, None, Decimal("0.25"), Decimal(3))]
    assert "the cap of $0.25" in Issue.objects.get().enrichment_error


def test_without_its_model_an_issue_is_enriched_offline_and_says_so(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(issue: Issue, cleaned: Any, allowed: Any) -> Told:
        raise ProviderFailed("the daily cap of $1 is reached")

    issue = by_model(repository, monkeypatch, ask)

    assert (issue.enrichment_state, issue.summary_source) == ("done", "offline")
    assert issue.enrichment_error.startswith("made offline, because claude")
    assert "the daily cap of $1 is reached" in issue.enrichment_error
