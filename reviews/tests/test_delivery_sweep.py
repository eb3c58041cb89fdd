"""Deliveries that GitHub could not deliver are found and sent again; operators have one handled again."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.test import Client

from jobs.models import AuditEntry, Job
from jobs.operators.actors import Actor
from jobs.tests.api_client import caller, person, post, problem
from reviews.models import Delivery, GitHubAccess, MissedDelivery
from reviews.services import delivery_sweep, throttle
from reviews.services.delivery_sweep import PERMISSION, NotRedelivered
from reviews.standin.apps import StandinApp
from reviews.standin.repositories import Repo
from reviews.standin.server import Fault, Standin, serving
from reviews.tests.payloads import deliver, pull_request_payload, sign

pytestmark = pytest.mark.django_db

OPERATOR = Actor("ada", "command")
SECRET = "of the App"


@pytest.fixture
def standin(repo: Repo, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    monkeypatch.setattr(throttle, "time", SimpleNamespace(sleep=lambda seconds: None))
    with serving(repo) as standin:
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": "", "API_URL": standin.url}
        yield standin


@pytest.fixture
def app(standin: Standin) -> StandinApp:
    return standin.add_app()


@pytest.fixture
def access(standin: Standin, app: StandinApp) -> GitHubAccess:
    access = GitHubAccess.objects.create(
        name="ours", api_url=standin.url, client_id=app.client_id, private_key=app.private_key, webhook_secret=SECRET
    )
    GitHubAccess.objects.update(created_at=datetime.now(UTC) - timedelta(days=30))
    return access


def sent(app: StandinApp, number: int, *, days_ago: float = 0.1, status_code: int = 502, **fields: Any) -> None:
    when = datetime.now(UTC) - timedelta(days=days_ago)
    app.add_delivery(number, f"guid-{number}", delivered_at=when.isoformat(), status_code=status_code, **fields)


def redelivered(app: StandinApp) -> list[str]:
    return sorted(entry["guid"] for entry in app.deliveries if entry["redelivery"])


def arrive(client: Client, guid: str, payload: Any = None) -> Any:
    body = json.dumps(payload or pull_request_payload()).encode()
    return deliver(client, body, guid=guid, headers={"X-Hub-Signature-256": sign(body, SECRET)})


def test_what_did_not_arrive_is_asked_for_once_and_what_arrived_is_not(
    client: Client, app: StandinApp, access: GitHubAccess
) -> None:
    sent(app, 1)
    sent(app, 2, status_code=202)
    sent(app, 3, status_code=0)
    assert arrive(client, "guid-2").status_code == 202

    first = delivery_sweep.sweep()
    second = delivery_sweep.sweep()

    assert redelivered(app) == ["guid-1", "guid-3"]
    assert (first["looked_at"], first["missed"], first["asked"]) == (3, 2, 2)
    assert second["asked"] == 0
    access.refresh_from_db()
    assert access.checked_at


def test_one_that_arrives_is_handled_and_asked_for_no_more(
    client: Client, app: StandinApp, access: GitHubAccess
) -> None:
    sent(app, 1)
    delivery_sweep.sweep()

    answer = arrive(client, "guid-1")
    MissedDelivery.objects.update(ask_at=datetime(2026, 1, 1, tzinfo=UTC))
    delivery_sweep.sweep()

    assert answer.json()["job"]
    assert Delivery.objects.get().access == access
    assert redelivered(app) == ["guid-1"]
    assert not MissedDelivery.objects.exists()


def test_what_does_not_arrive_is_asked_for_less_and_less_often(app: StandinApp, access: GitHubAccess) -> None:
    sent(app, 1)
    waits = []
    for _ in range(delivery_sweep.MAX_ASKED + 1):
        delivery_sweep.sweep()
        missed = MissedDelivery.objects.get()
        waits.append(round((missed.ask_at - datetime.now(UTC)).total_seconds() / 60))
        MissedDelivery.objects.update(ask_at=datetime(2026, 1, 1, tzinfo=UTC))

    assert waits[:4] == [10, 20, 40, 80]
    assert MissedDelivery.objects.get().asked == delivery_sweep.MAX_ASKED


def test_only_what_is_new_is_read_page_after_page(standin: Standin, app: StandinApp, access: GitHubAccess) -> None:
    for number in range(1, 251):
        sent(app, number, status_code=400)
    assert delivery_sweep.sweep()["looked_at"] == 250
    assert len(standin.asked("GET /app/hook/deliveries")) == 3

    sent(app, 251)
    assert delivery_sweep.sweep()["looked_at"] == 1
    assert len(standin.asked("GET /app/hook/deliveries")) == 4
    assert redelivered(app) == ["guid-251"]


def test_a_sweep_that_is_cut_short_begins_anew(standin: Standin, app: StandinApp, access: GitHubAccess) -> None:
    for number in range(1, 151):
        sent(app, number, status_code=400)
    last = Fault("GET /app/hook/deliveries", 502)
    standin.faults += [Fault("GET /app/hook/deliveries", 0), last]

    assert "502" in delivery_sweep.sweep()["refused"]["ours"]
    assert GitHubAccess.objects.get().swept_delivery_id is None
    assert delivery_sweep.sweep()["looked_at"] == 150
    assert last.times == 0


def test_neither_what_is_too_old_nor_what_was_before_us_is_asked_for(app: StandinApp, access: GitHubAccess) -> None:
    sent(app, 1, days_ago=4)
    sent(app, 2, days_ago=2)
    sent(app, 3, days_ago=0.5)
    GitHubAccess.objects.update(created_at=datetime.now(UTC) - timedelta(days=1))

    delivery_sweep.sweep()

    assert redelivered(app) == ["guid-3"]


def test_a_body_that_we_refused_for_good_is_not_asked_for(app: StandinApp, access: GitHubAccess) -> None:
    sent(app, 1, status_code=413)
    sent(app, 2, status_code=401)

    delivery_sweep.sweep()

    assert redelivered(app) == ["guid-2"]


def test_one_app_that_is_refused_does_not_keep_another_waiting(
    standin: Standin, app: StandinApp, access: GitHubAccess
) -> None:
    GitHubAccess.objects.create(name="a wrong one", api_url=standin.url, client_id="Iv1.gone", private_key="x")
    sent(app, 1)

    done = delivery_sweep.sweep()

    assert redelivered(app) == ["guid-1"]
    assert "not an RSA key" in done["refused"]["a wrong one"]
    assert "not an RSA key" in GitHubAccess.objects.get(name="a wrong one").error


def test_a_stored_delivery_is_handled_again_and_the_audit_tells_by_whom(client: Client, access: GitHubAccess) -> None:
    arrive(client, "guid-1")
    delivery = Delivery.objects.get()
    Job.objects.all().delete()

    outcome = delivery_sweep.redeliver(OPERATOR, delivery)

    assert outcome.startswith(("job ", "ignored, because "))
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.target) == ("ada", "delivery.redeliver", str(delivery))


def test_who_may_not_has_nothing_handled_again(client: Client, access: GitHubAccess) -> None:
    arrive(client, "guid-1")

    with pytest.raises(PermissionDenied, match=r"reviews\.redeliver_delivery"):
        delivery_sweep.redeliver(Actor("eve", "api"), Delivery.objects.get())


def large(client: Client) -> Delivery:
    """A delivery of which only the outline is kept."""
    arrive(client, "guid-5", pull_request_payload(body="x" * 300_000))
    return Delivery.objects.get()


def test_one_whose_payload_was_not_kept_is_sent_by_github_and_handled(
    client: Client, app: StandinApp, access: GitHubAccess
) -> None:
    delivery = large(client)
    sent(app, 5, status_code=202)

    assert delivery_sweep.redeliver(OPERATOR, delivery) == "GitHub was asked to send it again"
    assert redelivered(app) == ["guid-5"]

    assert arrive(client, "guid-5").status_code == 202
    assert arrive(client, "guid-5").json()["repeated"]
    delivery.refresh_from_db()
    assert (delivery.repeats, delivery.asked_again_at) == (2, None)


def test_one_that_github_does_not_keep_is_told_of(client: Client, app: StandinApp, access: GitHubAccess) -> None:
    with pytest.raises(NotRedelivered, match="does not keep guid-5 any more"):
        delivery_sweep.redeliver(OPERATOR, large(client))


def test_a_missed_one_is_asked_for_at_once(app: StandinApp, access: GitHubAccess) -> None:
    sent(app, 1)
    delivery_sweep.sweep()

    delivery_sweep.ask_now(OPERATOR, MissedDelivery.objects.get())

    assert redelivered(app) == ["guid-1", "guid-1"]


def test_missed_ones_are_listed_and_asked_for_by_rest_and_by_command(
    app: StandinApp, access: GitHubAccess, capsys: pytest.CaptureFixture[str]
) -> None:
    sent(app, 1)
    delivery_sweep.sweep()
    missed = MissedDelivery.objects.get()
    root = caller(person("root", is_superuser=True))

    (shown,) = root.get("/api/v1/missed-deliveries/?access=ours").json()["results"]
    assert (shown["guid"], shown["asked"]) == ("guid-1", 1)
    assert root.get("/api/v1/missed-deliveries/?access=other").json()["results"] == []
    assert post(root, f"/api/v1/missed-deliveries/{missed.pk}/ask/").json()["asked"] == 2
    call_command("deliveries", "missed", "--ask", str(missed.pk))
    call_command("deliveries", "missed", "--json")

    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])[0]["asked"] == 3
    assert redelivered(app) == ["guid-1"] * 3
    problem(root.get("/api/v1/missed-deliveries/999/"), 404)
    reader = caller(person("reader", "reviews.view_misseddelivery"))
    assert PERMISSION in problem(post(reader, f"/api/v1/missed-deliveries/{missed.pk}/ask/"), 403)["detail"]


def test_missed_ones_are_listed_and_asked_for_in_the_admin(admin_client: Client, app: StandinApp, access: Any) -> None:
    sent(app, 1, event="<b>odd</b>")
    delivery_sweep.sweep()
    page = "/admin/reviews/misseddelivery/"
    assert b"&lt;b&gt;odd" in admin_client.get(page).content

    missed = MissedDelivery.objects.get()
    assert b"Ask GitHub" in admin_client.get(f"{page}{missed.pk}/ask/").content
    admin_client.post(f"{page}{missed.pk}/ask/")

    assert redelivered(app) == ["guid-1", "guid-1"]


@pytest.mark.parametrize("secret", ["of the App", "of another", "of the environment"])
def test_a_delivery_may_be_signed_for_any_access(
    client: Client, access: GitHubAccess, settings: Any, secret: str
) -> None:
    another = GitHubAccess.objects.create(name="another", client_id="2", webhook_secret="of another")
    GitHubAccess.objects.create(name="off", client_id="3", webhook_secret="of one that is off", enabled=False)
    settings.GITHUB = {**settings.GITHUB, "WEBHOOK_SECRET": "of the environment"}
    whose = {"of the App": access, "of another": another, "of the environment": None}

    def signed(by: str) -> Any:
        return deliver(client, b"{}", headers={"X-Hub-Signature-256": sign(b"{}", by)})

    assert signed(secret).status_code == 202
    assert Delivery.objects.get().access == whose[secret]
    assert signed("of one that is off").status_code == 401
    assert signed(hashlib.sha256(b"").hexdigest()).status_code == 401


def test_of_two_apps_with_one_secret_the_one_that_github_names_is_meant(client: Client, access: GitHubAccess) -> None:
    twin = GitHubAccess.objects.create(name="twin", client_id="2", webhook_secret=SECRET, app_id=7)
    headers = {"X-Hub-Signature-256": sign(b"{}", SECRET)}

    deliver(client, b"{}", headers=headers)
    deliver(client, b"{}", headers={**headers, "X-GitHub-Hook-Installation-Target-ID": "7"})

    assert [delivery.access for delivery in Delivery.objects.order_by("pk")] == [access, twin]
