"""An address that waits to be confirmed: what pages, REST, commands and explanations say, and how it is asked again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs.tests.admin_helpers import client_with, page_of, said
from jobs.tests.api_client import caller, post, problem
from jobs.tests.api_client import person as operator
from reminders.models import Channel, ConfirmationMail, Suppression
from reminders.services import channels, confirming
from reminders.services.explaining import explain
from reminders.tests.commanding import data, run
from reminders.tests.deliveries import DUE
from reminders.tests.factories import person, todo
from reminders.tests.test_channels import acting

WAITS = "waits for confirmation"
OTHER = "other@example.net"
ENTERED = {"kind": "mail", "address": OTHER, "label": ""}


@pytest.fixture
def ada(db: None, clock: Any, settings: Any) -> Any:
    settings.PUBLIC_URL, settings.EMAIL_HOST = "https://tasks.example", "mail.example"
    return person("ada")


def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def shown(client: Client) -> str:
    return " ".join(client.get("/preferences/").text.split())


def test_its_page_says_so_and_has_a_button_that_asks_again(ada: Any) -> None:
    page = browser(ada)
    told = page.post("/preferences/channels/", {f"channel-{name}": value for name, value in ENTERED.items()})
    assert told.status_code == 302
    channel = Channel.objects.get()
    text = shown(page)
    assert f"Mail was added. Reminders go there once its address is confirmed. It {WAITS}" in text
    assert f"Nothing is sent by mail: it {WAITS}; the mail that asks for it is on its way." in text
    assert f"mail: {WAITS}" in text, "the warning that nothing reaches one"
    assert "Send a test" not in text

    again = f"/preferences/channels/{channel.pk}/ask/"
    assert again in text
    page.post(again)
    assert "Mail: the mail is sent once more. Follow its link." in shown(page)
    assert ConfirmationMail.objects.count() == 2
    page.post(again)
    page.post(again)
    assert "wait until tomorrow" in shown(page)
    assert ConfirmationMail.objects.count() == confirming.MOST_TO_ADDRESS
    assert browser(person()).post(again).status_code == 404

    page.post(f"/preferences/channels/{channel.pk}/own/")
    text = shown(page)
    assert "Mail goes to your account’s address." in text
    assert "Reminders are sent by mail." in text
    assert "Use the account’s address" not in text


def test_its_page_says_why_no_mail_went(ada: Any, settings: Any) -> None:
    settings.PUBLIC_URL = ""
    page = browser(ada)
    page.post("/preferences/channels/", {f"channel-{name}": value for name, value in ENTERED.items()})
    text = shown(page)
    why = f"{WAITS}; the mail that asks for it was not sent: PUBLIC_URL is not set"
    assert text.count(why) == 2, "in the message, and beside the channel"
    assert shown(page).count(why) == 1


def waiting(user: Any, address: str = OTHER) -> Channel:
    """Switched off while it waited."""
    row = channels.create_channel(acting(user), user.pk, {**ENTERED, "address": address}).channel
    return channels.disable_channel(acting(user), row.pk)


def test_its_page_says_of_one_that_waits_neither_that_it_is_used_nor_that_it_is_suppressed(ada: Any) -> None:
    channel = waiting(ada)
    Suppression.objects.create(address=OTHER, reason="550")
    page = browser(ada)
    page.post(f"/preferences/channels/{channel.pk}/on/")
    text = shown(page)
    assert f"Mail is switched on. Reminders go there once its address is confirmed. It {WAITS}" in text
    assert "is used again" not in text
    assert "Mail it again" not in text
    assert "suppressed" not in text
    lift = f"/preferences/channels/{channel.pk}/lift/"
    told = [page.post(lift, follow=True).text, Suppression.objects.all().delete() and page.post(lift, follow=True).text]
    assert all(f"Mail {WAITS}" in text for text in told), "the same whether it is suppressed or not"


def test_the_admin_says_of_one_that_waits_not_that_it_is_used(ada: Any) -> None:
    channel = waiting(ada)
    boss = client_with(*(f"reminders.{name}_channel" for name in ("view", "change")))
    answer = boss.post(page_of("reminders_channel", "deed", channel.pk, "enable"))
    assert said(answer).startswith(f"It is switched on. Its address {WAITS}")
    Channel.objects.update(waits_since=None, enabled=False)
    answer = boss.post(page_of("reminders_channel", "deed", channel.pk, "enable"))
    assert said(answer).endswith("It is used again.")


def test_a_changed_address_tells_why_no_mail_went(ada: Any, settings: Any, tmp_path: Path) -> None:
    settings.PUBLIC_URL = ""
    why = f"{WAITS}; the mail that asks for it was not sent: PUBLIC_URL is not set"
    channel = Channel.objects.create(user=ada, kind="mail")
    path = f"/api/v1/reminder-channels/{channel.pk}/"
    told = caller(ada).patch(path, {"address": OTHER}, content_type="application/json").json()
    assert told["confirmation"].startswith(why)
    made = post(caller(person("bob")), "/api/v1/reminder-channels/", ENTERED).json()
    assert made["confirmation"].startswith(why)

    boss = client_with(*(f"reminders.{name}_channel" for name in ("view", "change")))
    form = {"label": "", "address": "third@example.net", "secret": "", "enabled": "on"}
    assert f"It is saved. Its address {why}" in said(boss.post(page_of("reminders_channel", "edit", channel.pk), form))

    entered = tmp_path / "address.txt"
    entered.write_text("fourth@example.net")
    changed = data("reminders", "change-channel", str(channel.pk), "--address-file", str(entered))
    assert changed["confirmation"].startswith(why)


def test_lists_of_many_that_wait_take_no_query_each(ada: Any) -> None:
    api = caller(operator("boss", "reminders.view_channel"))

    def listed(count: int) -> int:
        for number in range(count):
            waiting(person(), f"o{number}-of-{count}@example.net")
        with CaptureQueriesContext(connection) as queries:
            rows = api.get("/api/v1/reminder-channels/").json()["results"]
        assert {row["confirmation"] for row in rows} == {f"{WAITS}; the mail that asks for it is on its way"}
        assert len(rows) == Channel.objects.count()
        return len(queries)

    assert listed(2) == listed(10)


def test_rest_says_so_and_asks_again(ada: Any) -> None:
    api, path = caller(ada), "/api/v1/reminder-channels/"
    made = post(api, path, ENTERED)
    assert (made.status_code, made.json()["confirmation"]) == (201, f"{WAITS}; the mail that asks for it is on its way")
    assert made.json()["waits_since"] == "2026-03-01T00:00:00Z"
    ask = f"{path}{made.json()['id']}/ask/"
    assert post(api, ask).json()["confirmation"].startswith(WAITS)
    assert post(api, ask).status_code == 200
    assert "wait until tomorrow" in problem(post(api, ask), 409)["detail"]
    assert WAITS in problem(post(api, f"{path}{made.json()['id']}/test/"), 409)["detail"]
    assert [api.get(f"{path}?usable={word}").json()["results"] == [] for word in ("true", "false")] == [True, False]
    problem(post(caller(person()), ask), 404)
    boss = caller(operator("boss", "reminders.view_channel"))
    problem(post(boss, ask), 403)
    assert boss.get(f"{path}{made.json()['id']}/").json()["confirmation"].startswith(WAITS)
    assert OTHER not in boss.get(path).text


def test_the_command_says_so_and_asks_again(ada: Any) -> None:
    channel = channels.create_channel(acting(ada), ada.pk, ENTERED).channel
    assert WAITS in run("reminders", "channels")
    assert [row["id"] for row in data("reminders", "channels", "--unusable")] == [channel.pk]
    assert data("reminders", "ask-channel", str(channel.pk))["confirmation"].startswith(WAITS)
    run("reminders", "ask-channel", str(channel.pk))
    with pytest.raises(CommandError, match="wait until tomorrow"):
        run("reminders", "ask-channel", str(channel.pk))


def test_an_explanation_says_so(ada: Any) -> None:
    channels.create_channel(acting(ada), ada.pk, ENTERED)
    told = explain(todo(ada, **DUE), ada)
    assert f"reaches nobody as things are: mail: {WAITS}." in told.summary
    assert f"Nothing is sent by mail: it {WAITS}; the mail that asks for it is on its way." in told.notes


def test_the_admin_says_so_asks_again_and_confirms_nothing(ada: Any) -> None:
    boss = client_with(*(f"reminders.{name}_channel" for name in ("view", "add", "change")))
    answer = boss.post(page_of("reminders_channel", "add"), {**ENTERED, "person": "ada", "secret": "", "enabled": "on"})
    assert f"mail to ada is entered. Its address {WAITS}; the mail that asks for it is on its way." in said(answer)
    channel = Channel.objects.get()
    listed = page_of("reminders_channel", "changelist")
    for page in (listed, f"{listed}?state=waits", page_of("reminders_channel", "change", channel.pk)):
        assert WAITS in boss.get(page).text
    assert "mail to ada" not in boss.get(f"{listed}?state=usable").text
    page = boss.get(page_of("reminders_channel", "change", channel.pk)).text
    assert ">Send the link once more<" in page
    assert ">Send a test<" not in page
    for deed in ("ask", "enable"):
        assert boss.get(page_of("reminders_channel", "deed", channel.pk, deed)).status_code == 200
        boss.post(page_of("reminders_channel", "deed", channel.pk, deed))
    assert ConfirmationMail.objects.count() == 2
    channel.refresh_from_db()
    assert channel.waits_since is not None


@pytest.mark.django_db(transaction=True)
def test_many_at_once_send_no_more_than_three_to_an_address(ada: Any) -> None:
    people = [acting(person()) for _ in range(6)]
    begin = threading.Barrier(len(people))

    def enter(actor: Any) -> str:
        try:
            begin.wait()
            return confirming.words(channels.create_channel(actor, actor.user.pk, ENTERED).channel)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(people)) as pool:
        told = list(pool.map(enter, people))
    sent = [words for words in told if words.endswith("on its way")]
    assert len(sent) == ConfirmationMail.objects.exclude(job_id="").count() == confirming.MOST_TO_ADDRESS
