"""The operators' forms of channels: entered, edited, deleted; secrets are shown once, and never come back."""

from typing import Any

import pytest

from jobs.models import AuditEntry
from jobs.tests.admin_helpers import client_with, page_of, said
from reminders.models import Channel, ReminderDelivery
from reminders.tests.factories import at, person

pytestmark = pytest.mark.django_db

ALL = ("reminders.view_channel", "reminders.add_channel", "reminders.change_channel")
URL = "https://hooks.example.org/secret-path"
FORM = {"person": "ada", "kind": "webhook", "address": URL, "label": "on call", "secret": "", "enabled": "on"}


def url(page: str = "changelist", *args: Any) -> str:
    return page_of("reminders_channel", page, *args)


def text(response: Any) -> str:
    assert response.status_code == 200, response
    return str(response.content.decode())


def test_a_webhook_is_entered_and_its_secret_shown_in_that_answer_alone() -> None:
    person("ada")
    boss = client_with(*ALL)
    answer = boss.post(url("add"), FORM)

    row = Channel.objects.get()
    secret = row.secret.reveal()
    assert (row.user.get_username(), row.kind, row.label, row.address.reveal()) == ("ada", "webhook", "on call", URL)
    assert secret.startswith("whsec_")
    assert f'value="{secret}"' in text(answer)
    assert "no-store" in answer["Cache-Control"]
    pages = "".join(text(boss.get(page)) for page in (url(), url("change", row.pk), url("edit", row.pk)))
    kept = str(list(AuditEntry.objects.values("detail")))
    for private in (secret, "secret-path"):
        assert private not in pages + kept
    entry = AuditEntry.objects.get(action="channel.create")
    assert (entry.via, entry.detail["person"]) == ("admin", "ada")


def test_a_mail_channel_of_the_accounts_own_address_needs_nothing_else() -> None:
    person("ada")
    boss = client_with(*ALL)
    answer = boss.post(url("add"), {**FORM, "kind": "mail", "address": "", "label": ""})

    row = Channel.objects.get()
    assert answer["Location"] == url("change", row.pk)
    assert not row.secret
    page = text(boss.get(url("change", row.pk)))
    assert "the account" in page
    assert ">Delete<" not in page
    assert ">New secret<" not in page


def test_what_cannot_be_is_said_beside_its_field_and_secrets_are_not_sent_back() -> None:
    person("ada")
    boss = client_with(*ALL)
    for change, words in (
        ({"person": "nobody"}, "There is no open account &#x27;nobody&#x27;"),
        ({"person": ""}, "This field is required"),
        ({"kind": ""}, "This field is required"),
        ({"kind": "pigeon"}, "Select a valid choice"),
        ({"address": "ftp://x/secret-path"}, "must begin with"),
        ({"kind": "mail", "address": "secret-path"}, "not well-formed"),
        ({"kind": "mail", "address": "", "secret": "whsec_abc"}, "Only a webhook has one"),
        ({"secret": "abc-secret-path"}, "whsec_"),
        ({"label": "x" * 101}, "at most 100 characters"),
    ):
        page = text(boss.post(url("add"), {**FORM, **change}))
        assert words in page, change
        assert "secret-path" not in page
    assert not Channel.objects.exists()


def test_a_channel_is_edited_and_empty_secrets_stay() -> None:
    row = Channel.objects.create(user=person("ada"), kind="webhook", address=URL, secret="whsec_" + "A" * 32)
    boss, form = client_with(*ALL), {"address": "", "secret": "", "label": "", "enabled": "on"}
    assert "_take_away" not in text(boss.get(url("edit", row.pk)))
    assert "Nothing was changed" in said(boss.post(url("edit", row.pk), form))
    Channel.objects.update(set_aside_at=at("2026-03-01 00:00"), set_aside_because="410 gone")

    boss.post(url("edit", row.pk), {**form, "label": "nights", "address": URL + "/new"})

    row.refresh_from_db()
    assert (row.label, row.address.reveal(), row.set_aside_at) == ("nights", URL + "/new", None)
    assert row.secret.reveal() == "whsec_" + "A" * 32
    page = text(boss.post(url("edit", row.pk), {**form, "label": "nights", "address": "http://10.0.0.1/secret-path"}))
    assert "Must begin with https://" in page
    assert "secret-path" not in page
    assert boss.get(url("edit", 999999)).status_code == 302


def test_a_mail_address_can_be_taken_away_again() -> None:
    row = Channel.objects.create(user=person("ada"), kind="mail", address="other@example.org")
    boss = client_with(*ALL)
    assert "address_take_away" in text(boss.get(url("edit", row.pk)))
    boss.post(url("edit", row.pk), {"address": "", "label": "", "enabled": "on", "address_take_away": "on"})
    row.refresh_from_db()
    assert not row.address


def test_a_new_secret_and_deleting_are_asked_first() -> None:
    ada = person("ada")
    row = Channel.objects.create(user=ada, kind="webhook", address=URL, secret="whsec_" + "A" * 32)
    ReminderDelivery.objects.create(channel=row, recipient=ada, created_at=at("2026-03-01 00:00"))
    boss = client_with(*ALL)
    assert "does not count any more" in text(boss.get(url("deed", row.pk, "secret")))
    row.refresh_from_db()
    assert row.secret.reveal() == "whsec_" + "A" * 32
    answer = boss.post(url("deed", row.pk, "secret"))
    row.refresh_from_db()
    assert row.secret.reveal() != "whsec_" + "A" * 32
    assert row.secret.reveal() in text(answer)
    assert "no-store" in answer["Cache-Control"]

    boss.get(url("deed", row.pk, "delete"))
    assert Channel.objects.exists()
    assert "It is deleted" in said(boss.post(url("deed", row.pk, "delete")))
    assert not Channel.objects.exists()
    mail = Channel.objects.create(user=ada, kind="mail")
    assert "disable it to get none" in said(boss.post(url("deed", mail.pk, "delete")))
    assert "only a webhook signs" in said(boss.post(url("deed", mail.pk, "secret")))
    assert Channel.objects.get() == mail


def test_the_list_is_searched_by_the_beginning_of_a_name() -> None:
    for name in ("ada", "bob"):
        Channel.objects.create(user=person(name), kind="mail")
    boss = client_with(*ALL)
    page = text(boss.get(f"{url()}?q=ad"))
    assert "mail to ada" in page
    assert "mail to bob" not in page
    assert "mail to" not in text(boss.get(f"{url()}?q=ad&kind=webhook"))


def test_forms_are_closed_without_their_permission() -> None:
    row = Channel.objects.create(user=person("ada"), kind="webhook", address=URL, secret="whsec_" + "A" * 32)
    viewer = client_with("reminders.view_channel", name="viewer")
    page = text(viewer.get(url("change", row.pk)))
    assert "Edit</a>" not in page
    changer = client_with("reminders.change_channel", name="changer")
    for client, page in (
        *((viewer, url("add")), (changer, url("add")), (viewer, url("edit", row.pk))),
        *((viewer, url("deed", row.pk, "secret")), (viewer, url("deed", row.pk, "delete"))),
    ):
        assert client.get(page).status_code == client.post(page, FORM).status_code == 403, page
    assert Channel.objects.count() == 1
