"""As whom we speak to GitHub: Apps and their installations, personal tokens, the environment."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection

from jobs.operators.actors import Actor
from jobs.secrets import encrypt
from reviews.github import access as accesses
from reviews.github import apps
from reviews.github.client import GitHubClient
from reviews.github.errors import (
    AccessMissing,
    AppUnknown,
    ClockWrong,
    GitHubError,
    GitHubRefused,
    InstallationRemoved,
    InstallationSuspended,
    KeyRefused,
)
from reviews.models import AccessKind, GitHubAccess, Installation, OutsideLimit, Repository
from reviews.services import access_checks
from reviews.services.throttle import Throttled
from reviews.standin.apps import StandinApp, private_key
from reviews.standin.repositories import Repo
from reviews.standin.server import LOGIN, TOKEN, Fault, Standin, serving

pytestmark = pytest.mark.django_db

NAME = "acme/shop"
OPERATOR = Actor("ada", "command")
RSA = "RSA PRIVATE KEY"
EC_KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    .decode()
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Two commits, which no test adds to."""
    repo = Repo(tmp_path_factory.mktemp("shop"))
    for text in ("A = 1\n", "A = 2\n"):
        repo.commit({"a.py": text})
    return repo


@pytest.fixture
def standin(shop: Repo, settings: Any) -> Iterator[Standin]:
    with serving(shop) as standin:
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": "", "API_URL": standin.url}
        standin.open_pull(7, "HEAD~1", "HEAD")
        yield standin


@pytest.fixture
def app(standin: Standin) -> StandinApp:
    """An App that is installed on the repository."""
    app = standin.add_app()
    app.install(77, NAME)
    return app


@pytest.fixture
def access(standin: Standin, app: StandinApp) -> GitHubAccess:
    return GitHubAccess.objects.create(
        name="ours", api_url=standin.url, client_id=app.client_id, private_key=app.private_key, webhook_secret="s"
    )


@pytest.fixture
def repository(access: GitHubAccess) -> Repository:
    installation = Installation.objects.create(access=access, github_id=77, account_login="acme")
    return Repository.objects.create(full_name=NAME, github_id=1234, access=access, installation=installation)


def tokens_asked(standin: Standin) -> int:
    return len(standin.asked("POST /app/installations/"))


def test_an_installation_reads_and_writes_by_one_token(standin: Standin, repository: Repository) -> None:
    for _ in range(2):
        client = accesses.client_for(Repository.objects.get())
        assert client.pull(NAME, 7).title == "A change"
    client.create_issue_comment(NAME, 7, "Hello")

    assert tokens_asked(standin) == 1
    assert standin.issue_comments[0]["login"] == "switchyard[bot]"
    assert client.identity().login == "switchyard[bot]"
    assert client.identity().app_id == 42


def test_a_token_is_kept_encrypted_and_may_be_longer_than_40_characters(repository: Repository) -> None:
    accesses.client_for(repository).pull(NAME, 7)

    kept = Installation.objects.get()
    token = kept.token.reveal()
    assert len(token) > 40
    assert str(kept.token) == "••••"
    with connection.cursor() as cursor:
        cursor.execute("SELECT token FROM reviews_installation")
        assert token not in cursor.fetchone()[0]


def test_a_token_is_asked_for_anew_before_it_ends(standin: Standin, repository: Repository) -> None:
    accesses.client_for(repository).pull(NAME, 7)
    first = Installation.objects.get().token
    with connection.cursor() as cursor:
        cursor.execute("UPDATE reviews_installation SET token_expires_at = clock_timestamp() + interval '4 minutes'")

    accesses.client_for(repository).pull(NAME, 7)

    assert tokens_asked(standin) == 2
    assert Installation.objects.get().token != first


def test_a_token_that_was_withdrawn_is_asked_for_anew(
    standin: Standin, app: StandinApp, repository: Repository
) -> None:
    client = accesses.client_for(repository)
    client.pull(NAME, 7)
    app.installations[77].tokens.clear()

    assert client.pull(NAME, 7).number == 7
    assert tokens_asked(standin) == 2


def test_how_long_a_token_lasts_is_taken_by_githubs_own_clock(standin: Standin, repository: Repository) -> None:
    standin.clock_ahead = 300
    accesses.client_for(repository).pull(NAME, 7)
    standin.clock_ahead = 0

    _, left = apps.installation_token(repository.installation_id or 0)
    assert 3400 < left <= 3600  # by our clock, 3900


@pytest.mark.django_db(transaction=True)
def test_workers_that_need_a_token_at_once_ask_for_one(standin: Standin, repository: Repository) -> None:
    def token(_: int) -> str:
        try:
            return apps.installation_token(repository.installation_id or 0)[0]
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(token, range(6)))) == 1
    assert tokens_asked(standin) == 1


def test_a_token_that_a_lost_key_encrypted_is_asked_for_anew(
    standin: Standin, repository: Repository, settings: Any
) -> None:
    accesses.client_for(repository).pull(NAME, 7)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE reviews_installation SET token = %s", [encrypt("x")[:-8] + "AAAAAAA="])

    accesses.client_for(Repository.objects.get()).pull(NAME, 7)
    assert tokens_asked(standin) == 2


def test_each_installation_has_its_own_token_and_reach(
    standin: Standin, app: StandinApp, access: GitHubAccess, repository: Repository
) -> None:
    app.install(78, "other/place", account="other")
    other = Installation.objects.create(access=access, github_id=78, account_login="other")

    accesses.client_for(repository).pull(NAME, 7)
    with pytest.raises(GitHubRefused, match="not found, or the App 'ours' on other may not see it"):
        accesses.installation_client(other).pull(NAME, 7)

    assert tokens_asked(standin) == 2
    assert OutsideLimit.objects.filter(key__contains=":points").count() == 3  # each installation, and the App itself


def test_an_installation_that_was_not_told_of_is_found(standin: Standin, access: GitHubAccess) -> None:
    repository = Repository.objects.create(full_name=NAME, access=access)

    assert accesses.client_for(repository).pull(NAME, 7).number == 7

    repository.refresh_from_db()
    assert repository.installation is not None
    assert (repository.installation.github_id, repository.installation.account_login) == (77, "acme")


def test_an_app_that_is_not_installed_there_is_told_of(standin: Standin, app: StandinApp, access: GitHubAccess) -> None:
    app.installations.clear()

    with pytest.raises(InstallationRemoved, match="not installed on acme/shop; install it there"):
        accesses.client_for(Repository.objects.create(full_name=NAME, access=access))


@pytest.mark.parametrize(
    "key", ["no key", EC_KEY, "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----"]
)
def test_a_key_that_is_none_is_told_of(access: GitHubAccess, repository: Repository, key: str) -> None:
    access.private_key = key
    access.save()

    with pytest.raises(KeyRefused, match="enter the whole file") as raised:
        accesses.client_for(Repository.objects.get())
    assert "AAAA" not in str(raised.value)


def test_the_key_of_another_app_is_told_of(access: GitHubAccess, repository: Repository) -> None:
    access.private_key = private_key("another")
    access.save()

    with pytest.raises(KeyRefused, match="make a new private key"):
        accesses.client_for(Repository.objects.get())


def test_a_key_on_one_line_is_taken_too(access: GitHubAccess, repository: Repository) -> None:
    access.private_key = private_key(access.client_id).replace("\n", "\\n")
    access.save()

    assert accesses.client_for(Repository.objects.get()).pull(NAME, 7)


def test_a_client_id_that_github_does_not_know_is_told_of(access: GitHubAccess, repository: Repository) -> None:
    access.client_id = "Iv1.wrong"
    access.save()

    with pytest.raises(AppUnknown, match=r"client id that its page at GitHub shows; now it is 'Iv1\.wrong'"):
        accesses.client_for(Repository.objects.get())


@pytest.mark.parametrize(("ahead", "told"), [(900, "s behind GitHub's"), (-300, "s ahead of GitHub's")])
def test_a_wrong_clock_is_told_of(standin: Standin, repository: Repository, ahead: int, told: str) -> None:
    standin.clock_ahead = ahead

    with pytest.raises(ClockWrong, match=f"clock is .* {told}; set it right"):
        accesses.client_for(repository)


def test_clocks_a_little_apart_do_no_harm(standin: Standin, repository: Repository) -> None:
    for ahead in (-50, 50, 300):
        standin.clock_ahead = ahead
        assert apps.app_client(GitHubAccess.objects.get()).app().app_id == 42


def test_a_suspended_installation_is_told_of(standin: Standin, app: StandinApp, repository: Repository) -> None:
    app.installations[77].suspended = True

    with pytest.raises(InstallationSuspended, match="acme has to unsuspend it"):
        accesses.client_for(repository).pull(NAME, 7)


def test_a_removed_installation_is_told_of(standin: Standin, app: StandinApp, repository: Repository) -> None:
    app.installations.clear()

    with pytest.raises(InstallationRemoved, match="install it there again"):
        accesses.client_for(repository).pull(NAME, 7)


def test_what_is_known_to_be_gone_is_not_asked_for(standin: Standin, repository: Repository) -> None:
    Installation.objects.update(suspended_at="2026-01-01T00:00:00Z")

    with pytest.raises(InstallationSuspended):
        accesses.client_for(Repository.objects.get())
    assert standin.requests == []


def test_a_personal_token_is_used_where_one_is_entered(standin: Standin) -> None:
    access = GitHubAccess.objects.create(name="bot", kind=AccessKind.TOKEN, api_url=standin.url, token=TOKEN)
    repository = Repository.objects.create(full_name=NAME, access=access)

    client = accesses.client_for(repository)
    assert (client.pull(NAME, 7).number, client.identity().login) == (7, LOGIN)
    assert accesses.ours(LOGIN)

    access.token = "ghp_wrong"
    access.save()
    with pytest.raises(GitHubRefused, match="set the token of the access 'bot' to one that is valid") as raised:
        accesses.client_for(Repository.objects.get()).pull(NAME, 7)
    assert "ghp_wrong" not in str(raised.value)


def test_the_environments_token_is_used_where_no_access_is_named(standin: Standin, settings: Any) -> None:
    repository = Repository.objects.create(full_name=NAME)
    with pytest.raises(AccessMissing, match="set GITHUB_TOKEN, or enter an access"):
        accesses.client_for(repository)

    settings.GITHUB = {**settings.GITHUB, "TOKEN": TOKEN}
    assert accesses.client_for(repository).identity().login == LOGIN


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"enabled": False}, "is switched off; switch it on"),
        ({"token": ""}, "has no token; enter one"),
    ],
)
def test_an_access_that_lacks_something_is_told_of(fields: dict[str, Any], told: str) -> None:
    access = GitHubAccess.objects.create(**{"name": "bot", "kind": AccessKind.TOKEN, "token": "x", **fields})

    with pytest.raises(AccessMissing, match=told):
        accesses.client_for(Repository(full_name=NAME, access=access))


def test_github_enterprise_is_spoken_to_below_its_path(standin: Standin) -> None:
    with pytest.raises(GitHubError):
        GitHubClient(f"{standin.url}/api/v3/", TOKEN).repository(NAME)

    assert standin.requests == ["GET /api/v3/repos/acme/shop"]
    standin.violations.clear()
    assert GitHubClient("https://ghe.example/api/v3", TOKEN).git_remote(NAME).url == "https://ghe.example/acme/shop.git"


def test_git_gets_the_token_by_its_environment_alone() -> None:
    remote = GitHubClient("https://api.github.com", TOKEN).git_remote(NAME)

    assert remote.url == "https://github.com/acme/shop.git"
    assert TOKEN not in remote.url
    assert remote.environment["GIT_CONFIG_KEY_0"] == "http.https://github.com/.extraHeader"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("pulls", 403, {"Retry-After": "90"}, "You have exceeded a secondary rate limit"),
        Fault("pulls", 429, {"Retry-After": "90"}),
        Fault(
            "pulls", 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 86400)}, "limit"
        ),
    ],
)
def test_a_limit_of_github_holds_for_all_workers(standin: Standin, repository: Repository, fault: Fault) -> None:
    standin.faults.append(replace(fault))
    with pytest.raises(Throttled) as raised:
        accesses.client_for(repository).pull(NAME, 7)
    asked = len(standin.requests)

    assert raised.value.seconds in (90, 3600)
    with pytest.raises(Throttled, match="again in"):
        accesses.client_for(Repository.objects.get()).pull(NAME, 7)
    assert len(standin.requests) == asked


def test_a_limit_that_is_met_when_a_token_is_asked_for_holds_too(standin: Standin, repository: Repository) -> None:
    accesses.client_for(repository)
    standin.faults.append(Fault("access_tokens", 403, {"Retry-After": "3000"}, "secondary rate limit"))

    for _ in range(2):
        with pytest.raises(Throttled, match=r"again in (3000|2\d{3}) s"):
            accesses.client_for(repository).pull(NAME, 7)
    assert tokens_asked(standin) == 1


def test_who_is_ours_is_known_by_name_and_by_app(access: GitHubAccess, repository: Repository) -> None:
    accesses.client_for(repository)

    assert accesses.ours("switchyard[bot]")
    assert accesses.ours("Switchyard[bot]")
    assert accesses.ours("somebody", app_id=42)
    for login, app_id in (("ada", None), ("", None), ("switchyard", None), ("ada", 43)):
        assert not accesses.ours(login, app_id)


def test_a_check_of_an_app_that_is_well_says_so(standin: Standin, access: GitHubAccess) -> None:
    checked = access_checks.check(OPERATOR, access)

    assert checked.is_well, checked.problems
    assert (checked.login, checked.installations) == ("switchyard[bot]", 1)
    access.refresh_from_db()
    assert (access.app_id, access.app_slug, access.error) == (42, "switchyard", "")
    assert access.checked_at
    assert Installation.objects.get().account_login == "acme"


def test_a_check_tells_what_is_missing(standin: Standin, app: StandinApp, access: GitHubAccess, settings: Any) -> None:
    settings.PUBLIC_URL = "https://jobs.example"
    gone = Installation.objects.create(access=access, github_id=5, account_login="gone")
    app.permissions["checks"] = "read"
    app.events.remove("push")
    app.hook["content_type"] = "form"
    del app.hook["secret"]
    del app.installations[77].permissions["issues"]

    told = " | ".join(access_checks.check(OPERATOR, access).problems)

    for part in (
        "checks: write is missing",
        "does not send push",
        "the webhook has no secret",
        "content type is form",
        "ours is https://jobs.example/webhooks/github/",
        "acme has not granted issues",
    ):
        assert part in told
    gone.refresh_from_db()
    assert gone.removed_at
    assert GitHubAccess.objects.get().error


def test_a_check_that_github_refuses_is_an_answer(access: GitHubAccess) -> None:
    access.private_key = private_key("another")
    access.save()

    (problem,) = access_checks.check(OPERATOR, access).problems
    assert "make a new private key" in problem


def test_a_check_of_a_token_tells_its_scopes(standin: Standin, settings: Any) -> None:
    settings.GITHUB = {**settings.GITHUB, "TOKEN": TOKEN}
    assert access_checks.check(OPERATOR, None).is_well

    standin.scopes = "gist, read:org"
    (problem,) = access_checks.check(OPERATOR, None).problems
    assert "gist, read:org; give it `repo`" in problem
