"""/api/v1/issues/: posted, edited, labelled and enriched again."""

import json
from typing import Any

import pytest
from django.test import Client

from jobs.models import AuditEntry, Job, State
from jobs.tests.api_client import caller, person, post, problem
from reviews.models import Issue, IssueTag, Repository
from reviews.services import enriching

pytestmark = pytest.mark.django_db
V1 = "/api/v1/issues/"
ISSUE = {"repository": "acme/shop", "title": "[Bug] Upload fails", "body": "It fails with an error. Why is that so?"}


def patch(client: Client, path: str, body: Any, verb: str = "patch") -> Any:
    return getattr(client, verb)(path, json.dumps(body), content_type="application/json")


def made(api: Client, **changes: Any) -> dict[str, Any]:
    answer = post(api, V1, {**ISSUE, **changes})
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def repository(**changes: Any) -> Repository:
    return Repository.objects.create(full_name="acme/shop", **{"issue_labels": ["bug", "docs"], **changes})


def enriched(api: Client, issue: int) -> dict[str, Any]:
    enriching.enrich(issue)
    return dict(api.get(f"{V1}{issue}/").json())


def test_an_issue_is_stored_with_the_job_that_enriches_it(api: Client) -> None:
    repository()
    answer = post(api, V1, ISSUE)
    issue = answer.json()

    assert (issue["enrichment_state"], issue["ai_summary"], issue["tags"]) == ("queued", "", [])
    assert answer.headers["Location"].endswith(f"{V1}{issue['id']}/")
    job = Job.objects.get(pk=issue["job"])
    assert (job.task, job.queue, job.kwargs, job.state) == (
        *("enrich_issue", "fast_lane", {"issue_id": issue["id"]}, State.QUEUED),
    )
    after = enriched(api, issue["id"])
    assert (after["enrichment_state"], after["tags"], after["language"]) == ("done", ["bug"], "en")
    assert after["ai_summary"] == "[Bug] Upload fails. It fails with an error."
    (tag,) = after["tag_details"]
    assert (tag["source"], tag["confidence"], "begins with" in tag["reason"]) == ("rule", 0.95, True)


def test_an_issue_may_belong_to_no_repository(api: Client) -> None:
    issue = post(api, V1, {"title": "docs: say how"}).json()

    assert issue["repository"] is None
    assert enriched(api, issue["id"])["tags"] == ["documentation"]


def test_labels_come_from_the_repositorys_own_list_alone(api: Client) -> None:
    assert enriched(api, made(api)["id"])["tags"] == []  # it has none that we know of


def test_the_same_idempotency_key_gives_the_same_issue(api: Client) -> None:
    first = post(api, V1, ISSUE, **{"Idempotency-Key": "a"})
    enriching.enrich(first.json()["id"])
    again = post(api, V1, ISSUE, **{"Idempotency-Key": "a"})

    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Issue.objects.count() == Job.objects.filter(task="enrich_issue").count() == 1
    problem(post(api, V1, {**ISSUE, "title": "other"}, **{"Idempotency-Key": "a"}), 422)


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"title": ""}, "#/title", "blank"),
        ({}, "#/title", "required"),
        ({"title": "x" * 1001}, "#/title", "1 to 1000"),
        ({"title": 7}, "#/title", "string"),
        ({"title": "x", "body": "y" * 200_001}, "#/body", "200,001"),
        ({"title": "x", "repository": "acme"}, "#/repository", "owner/name"),
        ({"title": "x", "colour": "red"}, "#/colour", "unknown field"),
    ],
)
def test_a_bad_issue_is_refused_with_what_is_wrong(api: Client, body: Any, pointer: str, said: str) -> None:
    (error,) = problem(post(api, V1, body), 400)["errors"]

    assert (error["pointer"], said in error["detail"]) == (pointer, True)
    assert not Issue.objects.exists()


def test_an_edit_is_read_anew_and_a_repetition_is_not(api: Client) -> None:
    issue = made(api)
    path = f"{V1}{issue['id']}/"
    enriching.enrich(issue["id"])

    same = patch(api, path, {"title": ISSUE["title"]}).json()
    assert (same["enrichment_state"], same["job"]) == ("done", issue["job"])

    other = patch(api, path, {"title": "Download fails"}, "put").json()
    assert (other["enrichment_state"], other["body"]) == ("queued", "")
    assert enriched(api, issue["id"])["ai_summary"] == "Download fails."


def test_a_late_result_of_an_older_text_is_thrown_away(api: Client) -> None:
    issue = made(api)
    claimed = enriching._claim(issue["id"])
    late = enriching.make(claimed)
    patch(api, f"{V1}{issue['id']}/", {"title": "Download fails", "body": ""})
    enriching.enrich(issue["id"])

    assert not enriching._store(claimed, late)
    enriching._fail(claimed, ValueError("a ghost"))

    row = Issue.objects.get()
    assert (row.ai_summary, row.enrichment_state, row.enrichment_error) == ("Download fails.", "done", "")


def test_a_persons_labels_stand_for_ever(api: Client) -> None:
    repository()
    path = f"{V1}{made(api)['id']}/"
    issue = Issue.objects.get()
    enriching.enrich(issue.pk)

    assert patch(api, path, {"tags": ["DOCS"]}).json()["tags"] == ["docs"]
    post(api, f"{path}enrich/")
    after = enriched(api, issue.pk)

    assert after["tags"] == ["docs"]
    assert {(tag["name"], tag["source"], tag["removed"]) for tag in after["tag_details"]} == {
        ("bug", "human", True),
        ("docs", "human", False),
    }
    detail = AuditEntry.objects.get(action="issue.label").detail
    assert (detail["added"], detail["removed"]) == (["docs"], ["bug"])


def test_a_label_that_the_repository_has_not_is_refused_and_nothing_is_changed(api: Client) -> None:
    repository()
    path = f"{V1}{made(api)['id']}/"

    answer = problem(patch(api, path, {"title": "New", "tags": ["purple"]}), 400)

    assert "choose from: bug, docs" in answer["detail"]
    assert Issue.objects.get().title == ISSUE["title"]


def test_an_issue_is_enriched_again_when_that_is_asked_for(api: Client) -> None:
    repository()
    issue = made(api)
    enriching.enrich(issue["id"])
    assert enriching.enrich(issue["id"]) == {"enriched": False, "note": "its text was read before"}
    Repository.objects.update(issue_labels=["defect"])

    answer = post(api, f"{V1}{issue['id']}/enrich/")

    assert (answer.status_code, answer.json()["enrichment_state"]) == (202, "queued")
    assert enriched(api, issue["id"])["tags"] == ["defect"]
    assert AuditEntry.objects.filter(action="issue.enrich", target=str(issue["id"])).count() == 1


def test_a_failure_is_seen_and_holds_no_secret(api: Client, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GITHUB = {**settings.GITHUB, "TOKEN": "ghp_verysecrettoken"}
    issue = made(api)

    def broken(issue: Issue) -> Any:
        raise OSError("the token ghp_verysecrettoken was refused")

    monkeypatch.setattr(enriching, "make", broken)
    with pytest.raises(OSError, match="refused"):
        enriching.enrich(issue["id"])

    shown = api.get(f"{V1}{issue['id']}/").json()
    assert (shown["enrichment_state"], shown["enrichment_error"]) == ("failed", "OSError: the token ••• was refused")


def test_an_issue_whose_job_was_cancelled_is_shown_as_failed(api: Client) -> None:
    issue = made(api)
    assert post(api, f"/api/v1/jobs/{issue['job']}/cancel/", {}).status_code == 200

    assert enriching.settle_lost() == 1

    shown = api.get(f"{V1}{issue['id']}/").json()
    assert (shown["enrichment_state"], "is cancelled" in shown["enrichment_error"]) == ("failed", True)


def test_switched_off_for_its_repository_an_issue_waits_and_says_why(api: Client) -> None:
    repository(issues_enabled=False)
    issue = made(api)

    shown = enriched(api, issue["id"])

    assert (shown["enrichment_state"], "switched off" in shown["enrichment_error"]) == ("waiting", True)


def test_lists_are_filtered_and_paged(api: Client) -> None:
    repository()
    ids = [made(api, title=title)["id"] for title in ("[Bug] One", "docs: Two", "Three")]
    Issue.objects.filter(pk=ids[2]).update(state="closed", repository=None)
    for issue in ids:
        enriching.enrich(issue)

    def found(query: str) -> list[int]:
        answer = api.get(f"{V1}?{query}")
        assert answer.status_code == 200, answer.content
        return [row["id"] for row in answer.json()["results"]]

    assert found("") == ids[::-1]
    assert found("tag=BUG") == ids[:1]
    assert found("repository=Acme/Shop&state=open") == ids[1::-1]
    assert found("state=closed") == ids[2:]
    assert found("enrichment_state=done&search=two") == ids[1:2]
    assert found(f"search=%23{ids[0]}") == ids[:1]
    first = api.get(f"{V1}?page_size=2").json()
    assert [row["id"] for row in api.get(first["next"]).json()["results"]] == ids[:1]
    assert "choose from: waiting" in problem(api.get(f"{V1}?enrichment_state=odd"), 400)["detail"]
    assert "choose from: open, closed" in problem(api.get(f"{V1}?state=ajar"), 400)["detail"]
    problem(api.get(f"{V1}?cursor=x"), 400)
    problem(api.get(f"{V1}{10**20}/"), 404)


def test_similar_issues_are_of_the_same_repository_and_nothing_is_done_about_them(api: Client) -> None:
    text = {"title": "Upload of large files stops", "body": "The upload stops after 30 seconds."}
    first, other = made(api, **text), made(api, **text, repository="acme/other")
    for number in range(4):
        enriching.enrich(made(api, title=f"Colour {number}", body="It is bright in the evening.")["id"])
    for issue in (first, other):
        enriching.enrich(issue["id"])

    again = made(api, title="Large upload stops", body="The upload stops half way.")
    (found,) = enriched(api, again["id"])["similar"]

    assert (found["issue"], found["title"], found["state"]) == (first["id"], text["title"], "open")
    assert found["reason"].startswith("shares ")
    assert set(Issue.objects.values_list("state", flat=True)) == {"open"}


def test_everybody_needs_the_permission_of_what_they_do(db: None) -> None:
    reader = caller(person("reader", "reviews.view_issue"))
    issue = Issue.objects.create(title="x")
    path = f"{V1}{issue.pk}/"

    assert reader.get(path).status_code == 200
    assert "reviews.add_issue" in problem(post(reader, V1, ISSUE), 403)["detail"]
    assert "reviews.change_issue" in problem(patch(reader, path, {"tags": ["a"]}), 403)["detail"]
    assert "reviews.enrich_issue" in problem(post(reader, f"{path}enrich/"), 403)["detail"]
    assert not IssueTag.objects.exists()
