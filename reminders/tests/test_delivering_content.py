"""What a mail says and how: its headers, times on the recipient's clock, and nothing that a title could smuggle in."""

import re
from datetime import date, time
from email.message import EmailMessage
from typing import Any

import pytest

from reminders.models import Layout, Priority, Project, ReminderDelivery
from reminders.services import scanning, todos
from reminders.services.addresses import version_of
from reminders.services.links import Action, Link, read
from reminders.services.spans import span
from reminders.tests.deliveries import fired, fired_again, tried
from reminders.tests.factories import at, person, todo
from reminders.tests.post_office import PostOffice

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("effects")]


@pytest.fixture(autouse=True)
def _public(settings: Any) -> None:
    settings.PUBLIC_URL = "https://tasks.example"


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_a_mail_tells_what_when_and_offers_what_can_be_done(clock: Any, office: PostOffice) -> None:
    ada = person(time_zone="Asia/Kathmandu")
    delivery = fired(
        clock,
        ada,
        title="Renew the certificate",
        project=Project.objects.create(name="Website"),
        priority=Priority.HIGH,
        notes="Ask Bob\nfor the key",
    )
    clock("2026-03-02 11:05")
    tried(delivery)

    (mail,) = office.mails
    for text in (part(mail, "plain"), part(mail, "html")):
        for said in (
            "Renew the certificate",
            "Due on Monday 2 March 2026 at 14:45 Asia/Kathmandu",
            "Overdue by 2 hours 5 minutes",
            "Project Website",
            "Priority high",
            "Ask Bob",
        ):
            assert said in text
    tokens = re.findall(r"https://tasks\.example/reminders/do/([^/\s]+)/", part(mail, "plain"))
    links = [read(token) for token in tokens]
    row = ada.created_todos.get()
    wanted = (Action.DONE, Action.HOUR, Action.TOMORROW, Action.WEEK, Action.OPEN)
    assert links == [Link(action, ada.pk, row.pk, row.schedule_version) for action in wanted]
    assert set(re.findall(r"/reminders/do/([^/\"]+)/", part(mail, "html"))) == set(tokens)


def test_headers_say_who_sends_why_and_how_to_end_it(clock: Any, office: PostOffice) -> None:
    ada = person()
    first = fired(clock, ada)
    tried(first)
    row = ada.created_todos.get()
    tried(fired_again(clock, row, 1))
    one, two = office.mails

    assert one["Auto-Submitted"] == "auto-generated"
    assert one["List-Id"] == "Reminders of Switchyard <reminders.switchyard.example>"
    assert one["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    match = re.fullmatch(r"<https://tasks\.example/reminders/unsubscribe/([^/]+)/>", one["List-Unsubscribe"])
    assert match is not None
    assert read(match[1]) == Link(Action.UNSUBSCRIBE, ada.pk, first.channel_id, version_of(ada.email))
    # As it is on the way: a mail program reads no encoded words there.
    assert f"List-Unsubscribe: {match[0]}\r\n".encode() in office.accepted[0].content
    # Mails of one task are one thread.
    assert one["References"] == one["In-Reply-To"] == two["References"]
    assert one["Subject"] == two["Subject"] == "Reminder: Water the plants"
    assert one["Message-ID"] != two["Message-ID"]
    assert one["Date"] == "Mon, 02 Mar 2026 09:00:00 +0000"


def test_no_header_and_no_markup_comes_from_a_title(clock: Any, office: PostOffice) -> None:
    evil = "Pay\r\nBcc: all@example.org\n\n<script>alert(1)</script> \u2028 \x1b[31m {{ told }} & <b>"
    tried(fired(clock, person(), title=evil, notes="</p><img src=x>"))

    (mail,) = office.mails
    assert mail["Bcc"] is None
    assert office.accepted[0].rcpt_tos == [mail["To"]]
    assert mail["Subject"] == "Reminder: Pay Bcc: all@example.org <script>alert(1)</script> [31m {{ told }} & <b>"
    html = part(mail, "html")
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>alert(1)</script>" in part(mail, "plain")


def test_a_long_title_in_another_script_arrives(clock: Any, office: PostOffice) -> None:
    tried(fired(clock, person(), title="Überweisung 支払い 🚀 " * 24))

    (mail,) = office.mails
    assert mail["Subject"].startswith("Reminder: Überweisung 支払い 🚀 Überweisung")
    assert len(mail["Subject"]) == 150
    assert max(map(len, office.accepted[0].content.split(b"\r\n"))) < 998


def test_a_day_is_the_same_day_in_every_zone(clock: Any, office: PostOffice) -> None:
    ada = person(time_zone="America/Los_Angeles")
    todo(ada, due_date=date(2026, 3, 1), time_zone="Asia/Tokyo")
    # Her ninth hour, two days later.
    clock("2026-03-02 17:00")
    scanning.send_due_soon()
    tried(ReminderDelivery.objects.latest("id"))

    text = part(office.mails[-1], "plain")
    assert "Due on Sunday 1 March 2026\n" in text
    assert "Overdue by 1 day\n" in text
    assert "Times are those of America/Los_Angeles." in text


def test_what_is_late_says_so_and_how_late(clock: Any, office: PostOffice) -> None:
    ada = person(time_zone="Europe/Berlin")
    for hour in (3, 5):
        todo(ada, title=f"At {hour}", due_date=date(2026, 3, 2), due_time=time(hour), time_zone="UTC")
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    delivery = ReminderDelivery.objects.get()
    assert (delivery.layout, tried(delivery)["state"]) == (Layout.LATE, "sent")

    (mail,) = office.mails
    assert mail["Subject"] == "2 reminders come late"
    text = part(mail, "plain")
    assert "2 reminders come late. They could not be sent in time." in text
    assert "This was to come on Monday 2 March 2026 at 04:00 Europe/Berlin, 6 hours ago" in text
    assert "This was to come on Monday 2 March 2026 at 06:00 Europe/Berlin, 4 hours ago" in text


def test_without_a_public_address_a_mail_has_no_links_and_says_what_to_do(
    clock: Any, office: PostOffice, settings: Any
) -> None:
    settings.PUBLIC_URL = ""
    tried(fired(clock, person()))

    (mail,) = office.mails
    for text in (part(mail, "plain"), part(mail, "html")):
        assert "Log in to Switchyard and open your task list" in text
        assert "href" not in text
        assert "://" not in text
    assert mail["List-Unsubscribe"] is None


def test_a_large_digest_counts_the_rest(clock: Any, office: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    from reminders.services import rendering

    monkeypatch.setattr(rendering, "MOST_ITEMS", 3)
    ada = person()
    for number in range(5):
        todos.create(
            {"title": f"Task {number}", "due_date": date(2026, 3, 2), "due_time": time(9), "time_zone": "UTC"},
            creator=ada,
        )
    clock("2026-03-02 09:00")
    scanning.send_due_soon()
    tried(ReminderDelivery.objects.get())

    (mail,) = office.mails
    assert mail["Subject"] == "5 reminders: Task 0, …"
    assert "… and 2 more." in part(mail, "plain")
    assert "Task 3" not in part(mail, "plain")
    assert mail["References"] is None


@pytest.mark.parametrize(
    ("until", "words"),
    [
        ("2026-03-02 09:00", ""),
        ("2026-03-02 08:00", ""),
        ("2026-03-02 09:01", "1 minute"),
        ("2026-03-02 11:05", "2 hours 5 minutes"),
        ("2026-03-04 20:05", "2 days"),
    ],
)
def test_lengths_of_time_in_words(until: str, words: str) -> None:
    assert span(at(until) - at("2026-03-02 09:00")) == words
