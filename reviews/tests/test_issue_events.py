"""GitHub's events of issues and labels."""

from typing import Any

import pytest
from django.db.models.functions import Now

from jobs.models import Job
from reviews.models import GitHubAccess, Issue, IssueTag, Repository, TagSource
from reviews.services import enriching, issue_labels, issues

pytestmark = pytest.mark.django_db

ADA = {"login": "ada", "type": "User"}
BOT = {"login": "sorter[bot]", "type": "Bot"}


def event(action: str, *labels: str, minute: int = 0, **changes: Any) -> dict[str, Any]:
    """changes: `sender`, `label` and further parts of the payload, and fields of its issue."""
    payload: dict[str, Any] = {name: changes.pop(name) for name in ("sender", "label", "changes") if name in changes}
    issue = {
        "id": 4242,
        "number": 12,
        "title": "[Bug] Upload fails",
        "body": "It fails with an error.",
        "user": ADA,
        "state": "open",
        "html_url": "https://github.com/acme/shop/issues/12",
        "labels": [{"name": name} for name in labels],
        "created_at": "2026-11-01T10:00:00Z",
        "updated_at": f"2026-11-01T10:{minute:02}:00Z",
        **changes,
    }
    where = {"id": 1234, "full_name": "acme/shop"}
    return {"action": action, "issue": issue, "repository": where, "sender": ADA, **payload}


def labelled(action: str, name: str, *labels: str, **changes: Any) -> dict[str, Any]:
    return event(action, *labels, label={"name": name}, **changes)


def opened(**changes: Any) -> Issue:
    found = issues.from_event(event("opened", **changes))
    assert found.job_id, found.text
    assert found.issue is not None
    Repository.objects.update(issue_labels=["bug", "docs"])
    return found.issue


def tags(**where: Any) -> set[tuple[str, str, bool]]:
    return set(IssueTag.objects.filter(**where).values_list("name", "source", "removed"))


def test_an_opened_issue_is_enriched_at_once_and_a_redelivery_changes_nothing() -> None:
    issue = opened()
    again = issues.from_event(event("opened"))

    job = Job.objects.get(task="enrich_issue")
    assert (job.state, issue.enrichment_state, issue.number) == ("queued", "queued", 12)
    assert again.text == f"ignored, because issue {issue.pk} waits for job {job.pk}"
    enriching.enrich(issue.pk)
    assert issues.from_event(event("opened")).text == f"ignored, because the text of issue {issue.pk} was read before"


def test_an_edited_issue_has_minutes_of_grace_which_a_further_edit_prolongs(settings: Any) -> None:
    settings.REVIEWS = {**settings.REVIEWS, "ISSUE_GRACE_SECONDS": 120}
    issue = opened()
    enriching.enrich(issue.pk)

    first = issues.from_event(event("edited", title="Upload of files fails", minute=1))
    second = issues.from_event(event("edited", title="Upload of large files fails", minute=2))

    assert "when nobody has edited it for a while" in first.text
    assert first.job_id == second.job_id != ""
    job = Job.objects.get(pk=first.job_id)
    assert (job.state, Issue.objects.get().enrichment_state) == ("scheduled", "waiting")
    assert (job.run_at - job.created_at).total_seconds() >= 119
    repeated = issues.from_event(event("edited", title="Upload of large files fails", minute=3))
    assert repeated.text.startswith(f"ignored, because issue {issue.pk} waits for job")


def test_an_edit_before_the_first_reading_does_not_postpone_it() -> None:
    issue = opened()
    edit = issues.from_event(event("edited", title="Download fails", minute=1))

    assert (edit.job_id, Job.objects.get().state) == (issue.job_id, "queued")
    enriching.enrich(issue.pk)
    assert Issue.objects.get().ai_summary.startswith("Download fails.")


def test_a_new_text_is_read_whatever_event_brings_it(settings: Any) -> None:
    settings.REVIEWS = {**settings.REVIEWS, "ISSUE_GRACE_SECONDS": 120}
    issue = opened()
    enriching.enrich(issue.pk)

    first = issues.from_event(labelled("labeled", "docs", "docs", title="Download fails", minute=5))
    late = issues.from_event(event("edited", title="Download fails", minute=4))

    assert "when nobody has edited it for a while" in first.text
    assert "a newer event" in late.text
    enriching.enrich(issue.pk)
    assert Issue.objects.get().ai_summary.startswith("Download fails.")


@pytest.mark.parametrize("action", ["assigned", "labeled", "closed"])
def test_an_issue_that_is_first_heard_of_by_another_event_than_its_opening_is_read_at_once(action: str) -> None:
    found = issues.from_event(event(action))
    again = issues.from_event(event(action, minute=1))

    job = Job.objects.get(task="enrich_issue")
    assert (found.text, job.state) == (f"job {job.pk}: enriches issue {Issue.objects.get().pk}", "queued")
    assert again.text.startswith(f"ignored, because the action {action!r} of an issue starts nothing")


def test_an_older_event_that_comes_late_changes_nothing() -> None:
    opened(title="Download fails", minute=5)
    late = issues.from_event(event("edited", minute=4))

    assert "a newer event" in late.text
    assert Issue.objects.get().title == "Download fails"


@pytest.mark.parametrize("given", [True, False])
def test_who_gave_or_took_a_label_counts_also_when_the_event_comes_late(given: bool) -> None:
    issue = opened()
    enriching.enrich(issue.pk)
    now = ["bug"] if given else []
    issues.from_event(labelled("unlabeled" if given else "labeled", "bug", *([] if given else ["bug"]), minute=1))
    issues.from_event(event("edited", *now, title="[Bug] Still", minute=3))

    late = issues.from_event(labelled("labeled" if given else "unlabeled", "bug", *now, minute=2))

    assert "a newer event" in late.text
    assert tags() == {("bug", TagSource.HUMAN, not given)}


def test_a_late_word_on_a_label_that_a_newer_event_contradicts_is_passed_over() -> None:
    opened()
    issues.from_event(labelled("labeled", "docs", "docs", minute=3))

    issues.from_event(labelled("unlabeled", "docs", minute=2))
    issues.from_event(labelled("labeled", "wish", "wish", minute=2))

    assert tags() == {("docs", TagSource.HUMAN, False)}


def test_an_issue_whose_job_has_ended_without_it_is_read_when_it_is_reopened() -> None:
    issue = opened()
    Job.objects.update(state="failed", finished_at=Now())
    enriching.settle_lost()

    again = issues.from_event(event("reopened", minute=1))

    assert again.text.endswith(f": enriches issue {issue.pk}")
    assert again.job_id != issue.job_id


def test_states_are_kept_and_start_nothing() -> None:
    issue = opened()
    closed = issues.from_event(event("closed", state="closed", minute=1))

    assert closed.text.startswith("ignored, because the action 'closed'")
    issue.refresh_from_db()
    assert (issue.state, Job.objects.count()) == ("closed", 1)


@pytest.mark.parametrize("action", ["deleted", "transferred"])
def test_an_issue_that_is_gone_there_is_gone_here(action: str) -> None:
    issue = opened()
    enriching.enrich(issue.pk)

    assert "deleted here, too" in issues.from_event(event(action, minute=1)).text
    assert not Issue.objects.exists()
    assert "was not known" in issues.from_event(event(action, minute=1)).text


@pytest.mark.parametrize("known", [True, False])
def test_a_late_event_of_an_issue_that_is_gone_does_not_bring_it_back(known: bool) -> None:
    if known:
        opened()
    issues.from_event(event("deleted", minute=2))

    late = issues.from_event(event("opened"))

    assert late.text == "ignored, because issue 12 was deleted at GitHub, or transferred from there, before"
    assert not Issue.objects.exists()
    assert issues.from_event(event("opened", number=13)).job_id


def test_labels_that_an_issue_is_opened_with_are_a_persons() -> None:
    issues.from_event(event("opened", "docs"))

    assert tags(at_github=True) == {("docs", TagSource.HUMAN, False)}


def test_what_a_person_gives_and_takes_at_github_stands() -> None:
    issue = opened()
    enriching.enrich(issue.pk)
    assert tags() == {("bug", TagSource.RULE, False)}

    issues.from_event(labelled("labeled", "docs", "docs", minute=1))
    issues.from_event(labelled("unlabeled", "bug", "docs", minute=2))
    issues.from_event(event("edited", "docs", title="[Bug] Still", minute=3))
    enriching.enrich(issue.pk)

    assert tags() == {("bug", TagSource.HUMAN, True), ("docs", TagSource.HUMAN, False)}
    assert Issue.objects.get().tags == ["docs"]


def test_what_another_program_gives_is_no_persons_and_what_we_gave_stays_ours() -> None:
    issue = opened()
    enriching.enrich(issue.pk)
    access = GitHubAccess.objects.create(name="app", app_slug="switchyard")
    Repository.objects.update(access=access)

    issues.from_event(labelled("labeled", "docs", "docs", sender=BOT, minute=1))
    ours = {"login": "switchyard[bot]", "type": "Bot"}
    issues.from_event(labelled("labeled", "bug", "bug", "docs", sender=ours, minute=2))

    assert tags(at_github=True) == {("bug", TagSource.RULE, False), ("docs", TagSource.RULE, False)}
    issues.from_event(labelled("labeled", "bug", "bug", "docs", sender=ADA, minute=3))
    assert tags(name="bug") == {("bug", TagSource.HUMAN, False)}


def test_a_personal_tokens_owner_is_a_person_who_gives_and_takes_labels() -> None:
    issue = opened()
    enriching.enrich(issue.pk)
    Repository.objects.update(access=GitHubAccess.objects.create(kind="token", token="x", account_login="ada"))

    issues.from_event(labelled("labeled", "docs", "docs", minute=1))
    assert tags(by="ada") == {("docs", TagSource.HUMAN, False)}
    Repository.objects.update(apply_labels=True)
    issues.from_event(labelled("labeled", "bug", "bug", "docs", minute=2))
    assert tags(at_github=True) == {("bug", TagSource.RULE, False), ("docs", TagSource.HUMAN, False)}

    issues.from_event(labelled("unlabeled", "bug", "docs", minute=3))
    issues.from_event(labelled("unlabeled", "docs", minute=4))
    assert tags(by="ada") == {("bug", TagSource.HUMAN, True), ("docs", TagSource.HUMAN, True)}


@pytest.mark.parametrize("is_noted", [True, False])
def test_what_we_added_by_the_environments_token_does_not_become_a_persons(is_noted: bool) -> None:
    issue = opened()
    enriching.enrich(issue.pk)
    Repository.objects.update(apply_labels=True)
    IssueTag.objects.update(at_github=is_noted)  # GitHub's event may come before its answer to us, or after it

    issues.from_event(labelled("labeled", "bug", "bug", minute=1))

    assert tags(at_github=True) == {("bug", TagSource.RULE, False)}


def test_the_repositorys_list_of_labels_follows_its_events() -> None:
    repository = Repository.objects.create(
        github_id=1234,
        full_name="acme/shop",
        github_labels=[{"name": "bug", "description": ""}],
        labels_fetched_at="2026-11-01T10:00:00Z",
    )
    issue = Issue.objects.create(repository=repository, number=1, title="x")
    IssueTag.objects.create(issue=issue, name="bug", source=TagSource.HUMAN)

    def told(action: str, label: str, **changes: Any) -> str:
        where = {"id": 1234, "full_name": "acme/shop"}
        told = {"name": label, "description": "of code"}
        return issues.from_event({"action": action, "label": told, "repository": where, "changes": changes}).text

    assert "was created" in told("created", "docs")
    told("edited", "defect", name={"from": "bug"})
    told("deleted", "docs")

    repository.refresh_from_db()
    assert repository.github_labels == [{"name": "defect", "description": "of code"}]
    assert issue.tags == ["defect"]


def test_events_of_labels_that_come_at_once_all_count() -> None:
    values = {"github_id": 1234, "full_name": "acme/shop", "labels_fetched_at": "2026-11-01T10:00:00Z"}
    rows = [Repository.objects.create(**values), Repository.objects.get(), Repository.objects.get()]

    for repository, name in zip(rows, ("bug", "docs", "wish"), strict=True):
        where = {"id": 1234, "full_name": "acme/shop"}
        issues.from_event({"action": "created", "label": {"name": name}, "repository": where}, repository)

    assert issue_labels.known_labels(Repository.objects.get()) == ["bug", "docs", "wish"]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"issue": {}},
        {"issue": None, "repository": {"id": 1, "full_name": "a/b"}},
        {"issue": {"number": True}, "repository": {"id": 1, "full_name": "a/b"}},
        {"issue": {"number": 2**40}, "repository": {"id": 1, "full_name": "a/b"}},
        {"issue": {"number": 1, "labels": {}, "user": [], "updated_at": "x"}, "repository": {"id": -1}},
        {"label": {"name": 7}, "repository": {"id": 1, "full_name": "a/b"}},
        {"action": ["x"], "label": {}, "repository": []},
    ],
)
def test_payloads_that_lack_what_is_needed_are_ignored_with_a_reason(payload: Any) -> None:
    assert issues.from_event(payload).text.startswith("ignored, because ")


def test_odd_fields_of_an_issue_are_passed_over() -> None:
    odd = event("opened", labels=[7, {"name": None}, {"name": "bug\0"}], user=None, body=None, updated_at="2026-13-99")
    odd["issue"]["created_at"] = "0001-01-01T00:00:00+23:59"

    assert issues.from_event(odd).job_id
    assert Issue.objects.get().tags == ["bug\ufffd"]
