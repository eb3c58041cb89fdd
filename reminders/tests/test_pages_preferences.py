"""The page of preferences: clock, hours, pause, default rules, ways, calendar, and the preview."""

from datetime import date, time
from typing import Any

import pytest
from django.test import Client

from jobs.models import AuditEntry
from reminders.models import CalendarFeed, Channel, Preferences, ReminderRule, Suppression
from reminders.tests.factories import person, todo
from reminders.tests.test_pages_account import logged_in

pytestmark = pytest.mark.django_db
HOURS = {
    "time_zone": "Asia/Tokyo",
    "anchor_time": "08:30",
    "quiet_from": "22:00",
    "quiet_until": "07:00",
    "digest_from": "0",
}


@pytest.fixture
def anna(clock: Any) -> Any:
    return person("anna")


@pytest.fixture
def client(anna: Any) -> Client:
    return logged_in(anna)


def kept(user: Any) -> Preferences:
    return Preferences.objects.get(user=user)


def test_clock_and_hours_are_saved_and_shown(anna, client):
    assert client.post("/preferences/", HOURS)["Location"] == "/preferences/"

    row = kept(anna)
    assert (row.time_zone, row.anchor_time, row.digest_from) == ("Asia/Tokyo", time(8, 30), 0)
    assert (row.quiet_from, row.quiet_until, row.urgent_bypasses_quiet) == (time(22), time(7), False)
    html = client.get("/preferences/").content.decode()
    assert '<option value="Asia/Tokyo" selected>Tokyo (UTC+09:00)</option>' in html
    assert "Times are in Asia/Tokyo" in html


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"time_zone": "Mars/Base"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"anchor_time": ""}, "anchor_time"),
        ({"anchor_time": "9 o'clock"}, "anchor_time"),
        ({"quiet_from": ""}, "quiet_from"),
        ({"quiet_from": "07:00"}, "quiet_until"),
        ({"digest_from": "1"}, "digest_from"),
        ({"digest_from": "99999999999"}, "digest_from"),
    ],
)
def test_what_cannot_be_is_told_beside_its_field_and_nothing_is_saved(anna, client, wrong, field):
    response = client.post("/preferences/", HOURS | wrong)

    assert response.status_code == 422
    assert response.context["form"].errors[field]
    assert not Preferences.objects.filter(time_zone="Asia/Tokyo").exists()


def test_what_was_set_elsewhere_stays_as_it_is(anna, client):
    Preferences.objects.create(user=anna, time_zone="UTC", digest_from=7)
    form = client.get("/preferences/").context["form"]

    client.post("/preferences/", {**{name: form[name].value() or "" for name in form.fields}, "anchor_time": "06:00"})

    assert (kept(anna).digest_from, kept(anna).anchor_time) == (7, time(6))


def test_a_pause_begins_and_ends_by_a_button_or_on_a_day(anna, client, clock):
    client.post("/preferences/pause/", {"for": "week"})
    assert str(kept(anna).paused_until) == "2026-03-08 00:00:00+00:00"
    assert "Paused until" in client.get("/preferences/").content.decode()

    client.post("/preferences/pause/", {"pause-day": "2026-03-03", "pause-clock": "12:00"})
    assert str(kept(anna).paused_until) == "2026-03-03 12:00:00+00:00"

    client.post("/preferences/pause/", {"for": "resume"})
    assert kept(anna).paused_until is None
    for wrong in ({}, {"pause-day": "2020-01-01"}, {"for": "ever"}):
        response = client.post("/preferences/pause/", wrong)
        assert (response.status_code, [*response.context["pause"].errors]) == (422, ["day"])


def test_default_rules_are_added_and_taken_away(anna, client):
    for _ in range(2):
        last = client.post("/preferences/rules/", {"rule-when": "due -P1D"})
    client.post("/preferences/rules/", {"rule-when": "own", "rule-days": "3", "rule-side": "-"})

    rules = {rule.offset: rule.pk for rule in ReminderRule.objects.filter(person=anna, todo=None)}
    assert set(rules) == {"-P1D", "-P3D"}
    assert "there is a default rule" in last.content.decode().lower()
    assert "3 days before it is due" in client.get("/preferences/").content.decode().lower()
    client.post(f"/preferences/rules/{rules['-P1D']}/delete/")
    assert list(ReminderRule.objects.values_list("offset", flat=True)) == ["-P3D"]


def test_default_rules_of_others_are_out_of_reach(client):
    rule = ReminderRule.objects.create(person=person("ben"), offset="-PT1H")

    client.post(f"/preferences/rules/{rule.pk}/delete/")

    assert ReminderRule.objects.filter(pk=rule.pk).exists()


def test_the_preview_tells_what_comes_when_and_what_would_hold_it(anna, client):
    Preferences.objects.create(user=anna, quiet_from=time(22), quiet_until=time(7), time_zone="Europe/Berlin")
    todo(anna, title="At night", due_date=date(2026, 3, 2), due_time=time(23), time_zone="Europe/Berlin")
    todo(anna, title="By day", due_date=date(2026, 3, 2), due_time=time(12), time_zone="Europe/Berlin")

    response = client.get("/preferences/")
    html = response.content.decode()

    assert [one.planned.todo.title for one in response.context["upcoming"]][:2] == ["By day", "At night"]
    assert "Mon 2 Mar, 23:00" in html
    assert html.count("Held until") == 2
    assert "Tue 3 Mar, 07:00" in html


def test_whoever_is_reached_by_nothing_is_told(client, anna):
    anna.email = ""
    anna.save()

    assert "Nothing reaches you as things are" in client.get("/preferences/").content.decode()


def test_mail_is_switched_off_and_on_before_anything_was_sent(anna, client):
    client.post("/preferences/channels/0/off/")

    mail = Channel.objects.get(user=anna)
    assert not mail.enabled
    assert "switched off" in client.get("/preferences/").content.decode()
    client.post(f"/preferences/channels/{mail.pk}/on/")
    assert Channel.objects.get(user=anna).enabled
    assert "disable it" in client.post(f"/preferences/channels/{mail.pk}/delete/", follow=True).content.decode()


def test_a_webhooks_secret_is_shown_once_and_its_address_never(anna, client, settings):
    given = {"channel-kind": "webhook", "channel-label": "pager", "channel-address": "https://hooks.example/t0ken"}

    html = client.post("/preferences/channels/", given).content.decode()

    channel = Channel.objects.get(user=anna)
    assert channel.secret.reveal() in html
    again = client.get("/preferences/").content.decode()
    assert "Webhook (pager)" in again
    assert "t0ken" not in again
    assert channel.secret.reveal() not in again
    renewed = client.post(f"/preferences/channels/{channel.pk}/secret/").content.decode()
    channel.refresh_from_db()
    assert channel.secret.reveal() in renewed
    client.post(f"/preferences/channels/{channel.pk}/delete/")
    assert not Channel.objects.filter(pk=channel.pk).exists()
    assert "t0ken" not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize("address", ["", "ftp://x", "http://127.0.0.1/", "https://[", "https://a b", "\x00"])
def test_an_address_that_cannot_be_is_told_beside_it(client, address):
    given = {"channel-kind": "webhook", "channel-address": address}

    response = client.post("/preferences/channels/", given)

    assert (response.status_code, [*response.context["channel_form"].errors]) == (422, ["address"])
    assert not Channel.objects.exists()


def test_a_test_message_tells_what_came_of_it(anna, client, settings):
    settings.EMAIL_HOST = ""

    html = client.post("/preferences/channels/0/test/", follow=True).content.decode()

    assert "Not done:" in html
    assert "Mail:" in html


def test_a_missing_mail_server_is_told_where_mail_is_the_only_way(anna, client, settings):
    todo(anna, due_date=date(2026, 3, 2))
    assert "By Mail." in client.get("/preferences/").content.decode()
    settings.EMAIL_HOST = ""

    html = client.get("/preferences/").content.decode()

    assert "Nothing reaches you as things are:</strong> no mail server is configured" in html
    assert "Nothing is sent by mail: no mail server is configured" in html
    assert "By Mail." not in html


def test_ways_of_others_are_not_there(client):
    channel = Channel.objects.create(user=person("ben"), kind="webhook", address="https://x.example/", secret="whsec_x")

    for deed in ("on", "off", "test", "delete", "secret", "lift"):
        assert client.post(f"/preferences/channels/{channel.pk}/{deed}/").status_code == 404, deed
    assert client.post("/preferences/channels/0/explode/").status_code == 404
    assert client.post("/preferences/channels/99999999999999999999/off/").status_code == 404


def test_an_address_that_refused_mail_is_mailed_again_on_request(anna, client):
    Suppression.objects.create(address=anna.email, reason="550 no such user")

    assert "550 no such user" in client.get("/preferences/").content.decode()
    client.post("/preferences/channels/0/lift/")

    assert not Suppression.objects.exists()


def test_the_calendars_address_is_shown_once_renewed_and_ended(anna, client):
    first = client.post("/preferences/calendar/").content.decode()
    second = client.post("/preferences/calendar/").content.decode()

    addresses = [html.partition('class="secret">')[2].partition("</code>")[0] for html in (first, second)]
    assert addresses[0] != addresses[1]
    assert all("/calendar/" in address and address.endswith(".ics") for address in addresses)
    assert addresses[1] not in client.get("/preferences/").content.decode()
    paths = ["/calendar/" + address.partition("/calendar/")[2] for address in addresses]
    assert [Client().get(path).status_code for path in paths] == [404, 200]
    client.post("/preferences/calendar/end/")
    assert not CalendarFeed.objects.exists()


@pytest.mark.parametrize(("base", "begins"), [("", "http://testserver/"), ("https://x.example", "https://x.example/")])
def test_the_calendars_address_is_whole_so_that_it_can_be_entered_elsewhere(client, settings, base, begins):
    settings.PUBLIC_URL = base

    assert f"{begins}calendar/" in client.post("/preferences/calendar/").content.decode()


@pytest.mark.parametrize(
    "given",
    [
        {"channel-kind": "webhook", "channel-label": "phone", "channel-address": "https://x.example/"},
        {"channel-kind": "apprise", "channel-label": "", "channel-address": " ntfy://topic"},
        {"channel-kind": "mail", "channel-address": ""},
    ],
)
def test_a_way_whose_form_is_sent_twice_is_one_and_another_is_another(anna, client, given):
    answers = [client.post("/preferences/channels/", given) for _ in range(2)]

    assert [answer.status_code < 400 for answer in answers] == [True, True]
    assert Channel.objects.filter(user=anna).count() == 1
    if given["channel-kind"] == "webhook":
        assert Channel.objects.get().secret.reveal() in answers[1].content.decode()
        client.post("/preferences/channels/", {**given, "channel-label": "other"})
        assert Channel.objects.count() == 2
