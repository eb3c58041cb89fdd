"""Where Apps are installed, as GitHub's deliveries tell it."""

from typing import Any

import pytest

from jobs.models import Job
from reviews.models import AccessKind, CodeIndex, GitHubAccess, Installation, Repository
from reviews.operators import deliveries as operators
from reviews.services import deliveries, events
from reviews.standin.apps import StandinApp, installation_json

pytestmark = pytest.mark.django_db

APP = StandinApp(42, "Iv1.first", "switchyard", "")


@pytest.fixture
def access() -> GitHubAccess:
    return GitHubAccess.objects.create(name="ours", client_id="Iv1.first", app_id=42)


def payload(action: str, **fields: Any) -> dict[str, Any]:
    shown = installation_json(APP, APP.installations.get(77) or APP.install(77))
    return {"action": action, "installation": {**shown, **fields.pop("installation", {})}, **fields}


def told(number: int, name: str = "") -> dict[str, Any]:
    return {"id": number, "full_name": name or f"acme/r{number}", "private": True}


def happens(event: str, body: dict[str, Any], access: GitHubAccess | None) -> str:
    return events.start(event, str(body["action"]), body, access).text


def started(event: str, body: dict[str, Any], access: GitHubAccess | None) -> tuple[str, list[str]]:
    """The outcome of a delivery, and the jobs that were sent for it, the first one first."""
    before = set(Job.objects.values_list("pk", flat=True))
    outcome = events.start(event, str(body["action"]), body, access)
    jobs = [str(pk) for pk in Job.objects.exclude(pk__in=before).values_list("pk", flat=True)]
    assert outcome.job_id in [*jobs, ""]
    return outcome.text.replace(outcome.job_id or "no job", "ID"), jobs


def install(access: GitHubAccess, *numbers: int) -> Installation:
    happens("installation", payload("created", repositories=[told(number) for number in numbers]), access)
    return Installation.objects.get()


def names(**of: Any) -> set[str]:
    return set(Repository.objects.filter(**of).values_list("full_name", flat=True))


def test_an_installation_brings_its_repositories(access: GitHubAccess) -> None:
    by_name_alone = Repository.objects.create(full_name="acme/r1")

    installation = install(access, 1, 2)

    assert (installation.github_id, installation.account_login) == (77, "acme")
    assert installation.permissions["contents"] == "read"
    assert names(installation=installation, access=access, private=True) == {"acme/r1", "acme/r2"}
    by_name_alone.refresh_from_db()
    assert by_name_alone.github_id == 1


def test_repositories_come_and_go(access: GitHubAccess) -> None:
    installation = install(access, 1, 2)
    body = payload("added", repositories_added=[told(3)], repositories_removed=[])
    happens("installation_repositories", body, access)
    body = payload("removed", repositories_added=[], repositories_removed=[told(1), told(99)])
    said = happens("installation_repositories", body, access)

    assert names(removed_at=None, installation=installation) == {"acme/r2", "acme/r3"}
    assert "0 repositories more and 1 less" in said
    (job,) = Job.objects.filter(task="reviews.forget_repository")
    assert (job.task, job.kwargs) == (
        "reviews.forget_repository",
        {"repository_id": Repository.objects.get(full_name="acme/r1").pk, "if_gone": True},
    )

    happens("installation_repositories", payload("added", repositories_added=[told(1)]), access)
    assert names(removed_at=None) == {"acme/r1", "acme/r2", "acme/r3"}


def test_an_app_that_is_uninstalled_forgets_all_of_it(access: GitHubAccess) -> None:
    install(access, 1, 2)
    Installation.objects.update(token="ghs_now", token_expires_at="2030-01-01T00:00:00Z")

    happens("installation", payload("deleted"), access)

    installation = Installation.objects.get()
    assert installation.removed_at
    assert not installation.token
    assert names(removed_at=None) == set()
    assert Job.objects.filter(task="reviews.forget_repository").count() == 2


def test_an_installation_is_suspended_and_comes_back(access: GitHubAccess) -> None:
    install(access, 1)
    stopped = {"suspended_at": "2026-01-01T00:00:00Z"}
    happens("installation", payload("suspend", installation=stopped), access)
    assert Installation.objects.get().suspended_at

    happens("installation", payload("unsuspend"), access)
    assert Installation.objects.get().suspended_at is None
    assert names(removed_at=None) == {"acme/r1"}


def test_new_permissions_ask_for_a_new_token(access: GitHubAccess) -> None:
    install(access)
    Installation.objects.update(token="ghs_now")

    body = payload("new_permissions_accepted", installation={"permissions": {"checks": "write"}})
    happens("installation", body, access)

    installation = Installation.objects.get()
    assert installation.permissions == {"checks": "write"}
    assert not installation.token


def test_an_account_is_renamed(access: GitHubAccess) -> None:
    install(access)

    happens("installation_target", payload("renamed", account={"login": "apex"}), access)

    assert Installation.objects.get().account_login == "apex"


def test_an_app_that_shares_the_environments_secret_is_known_by_its_ids(access: GitHubAccess) -> None:
    token = GitHubAccess.objects.create(name="bot", kind=AccessKind.TOKEN)
    for signed_by in (None, token):
        happens("installation", payload("created"), signed_by)

    assert Installation.objects.get().access == access


def test_an_app_that_is_not_entered_is_no_error(access: GitHubAccess) -> None:
    body = payload("created", installation={"client_id": "Iv1.other", "app_id": 43}, repositories=[told(1)])

    assert "not entered here as an access" in happens("installation", body, None)
    assert not Repository.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"installation": {"id": None}},
        {"installation": {"id": "77"}},
        {"installation": {"permissions": "all"}},
        {"installation": {"account": ["acme"]}},
        {"installation": {"account": {"login": "a\0c"}, "permissions": {"\0": "\ud800"}}},
        {"repositories": [None, 5, {"id": "x"}, {"id": 3, "full_name": 9}]},
        {"repositories": {"id": 1}},
    ],
)
@pytest.mark.parametrize("event", ["installation", "installation_repositories", "installation_target"])
def test_odd_fields_are_no_error_of_ours(access: GitHubAccess, event: str, changes: dict[str, Any]) -> None:
    repositories = changes.get("repositories", [])
    body = payload("created", **changes, repositories_added=repositories, repositories_removed=repositories)

    assert happens(event, body, access).startswith("ignored, because ")
    assert not Repository.objects.exists()


# --- What is told of it -----------------------------------------------------------------------------------------------


def test_an_installation_tells_the_jobs_that_index_its_code(access: GitHubAccess) -> None:
    Repository.objects.create(full_name="acme/r1", github_id=1, index_enabled=False)
    body = payload("created", repositories=[told(number) for number in (1, 2, 3)])

    said, jobs = started("installation", body, access)

    assert len(jobs) == 2
    assert said == "job ID and 1 more: ours was installed on acme, with 3 repositories; the code of 2 is indexed"
    assert set(Job.objects.values_list("task", flat=True)) == {"index_repository"}

    said, jobs = started("installation", body, access)
    assert jobs == []
    assert said == "ignored, because there is nothing to run: ours was installed on acme, with 3 repositories"


def test_an_installation_has_code_indexed_that_could_not_be_read_before(access: GitHubAccess) -> None:
    rows = [Repository.objects.create(full_name=f"acme/r{number}", github_id=number) for number in (1, 2)]
    for row, state in zip(rows, ("failed", "ready"), strict=True):
        CodeIndex.objects.create(repository=row, state=state)

    said, jobs = started("installation", payload("created", repositories=[told(1), told(2)]), access)

    assert said.endswith("the code of 1 is indexed")
    assert [job.kwargs for job in Job.objects.all()] == [{"repository_id": rows[0].pk}]
    assert len(jobs) == 1


def test_repositories_that_come_and_go_tell_their_jobs(access: GitHubAccess) -> None:
    install(access, 1, 2)

    body = payload("added", repositories_added=[told(3)], repositories_removed=[])
    said, jobs = started("installation_repositories", body, access)
    assert (said.startswith("job ID: "), len(jobs)) == (True, 1)
    assert said.endswith(" has 1 repository more and 0 less; the code of 1 is indexed")

    body = payload("removed", repositories_added=[], repositories_removed=[told(1)])
    said, jobs = started("installation_repositories", body, access)
    assert (said.startswith("job ID: "), len(jobs)) == (True, 1)
    assert said.endswith(" has 0 repositories more and 1 less; the index of 1 is removed")

    said, jobs = started("installation", payload("deleted"), access)
    assert len(jobs) == 2
    assert said == "job ID and 1 more: ours was uninstalled from acme; 2 repositories are forgotten"


def test_the_list_of_deliveries_shows_the_job_of_an_installation(access: GitHubAccess) -> None:
    body = payload("created", repositories=[told(1)])
    received = deliveries.receive("guid-1", "installation", body, 1000, access).delivery

    assert list(operators.deliveries(outcome="job")) == [received]
    assert list(operators.deliveries(outcome="ignored")) == []
    assert Job.objects.get().pk == received.job_id
