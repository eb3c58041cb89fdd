"""Rules of the subset give the dates that RFC 5545 says; the rest is refused by name."""

import random
from datetime import date, time, timedelta
from itertools import islice, takewhile

import pytest

from reminders import recurrence
from reminders.models import ReminderRule, Todo
from reminders.recurrence import RuleRefused, check, next_date
from reminders.services import todos
from reminders.services.todos import TodoRefused
from reminders.tests.factories import at, person, todo
from reminders.tests.recurrence_model import WEEKDAYS, model_dates

YEARS = 9


def series(rrule: str, first: date, last: date, most: int = 5000) -> list[date]:
    """The due dates of a task that is done each time, from its first to a last day."""
    found: list[date] = []
    due: date | None = first
    while due is not None and due <= last and len(found) < most:
        found.append(due)
        due = next_date(rrule, first=first, due=due, occurrence=len(found) - 1, done_on=None)
    return found


def in_step(rrule: str, first: date) -> date | None:
    """The first day from there on that fits the rule."""
    bare = ";".join(part for part in rrule.split(";") if not part.startswith(("COUNT", "UNTIL", "INTERVAL")))
    return next(iter(model_dates(bare, first, first + timedelta(days=366 * 9))), None)


def made_up_rule(chance: random.Random) -> str:
    """Any rule that the subset takes, and some that it refuses."""
    freq = chance.choice(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"])
    parts = {"FREQ": freq, "INTERVAL": str(chance.choice([1, 1, 1, 2, 3, 4, 5, 7, 12, 13]))}
    if chance.random() < (0.9 if freq == "YEARLY" else 0.3):
        parts["BYMONTH"] = ",".join(map(str, sorted(chance.sample(range(1, 13), chance.randint(1, 4)))))
    if chance.random() < 0.5:
        days = [chance.choice([*range(1, 32), *range(-31, 0)]) for _ in range(chance.randint(1, 5))]
        parts["BYMONTHDAY"] = ",".join(map(str, dict.fromkeys(days)))
    if chance.random() < 0.6:
        numbers = [1, 2, 3, 4, 5, -1, -2, -3, -4, -5] if chance.random() < 0.5 else [""]
        names = [f"{chance.choice(numbers)}{chance.choice(WEEKDAYS)}" for _ in range(chance.randint(1, 4))]
        parts["BYDAY"] = ",".join(dict.fromkeys(names))
    if chance.random() < 0.3:
        parts["BYSETPOS"] = ",".join({str(chance.choice([1, 2, 3, 7, -1, -2, -4])) for _ in range(2)})
    if chance.random() < 0.4:
        parts["WKST"] = chance.choice(WEEKDAYS)
    if chance.random() < 0.2:
        parts["COUNT"] = str(chance.randint(1, 40))
    elif chance.random() < 0.2:
        parts["UNTIL"] = f"{date(2020, 1, 1) + timedelta(days=chance.randint(0, 4000)):%Y%m%d}"
    return ";".join(f"{name}={value}" for name, value in parts.items())


def compare(seed: int, rules: int) -> dict[str, int]:
    """Made-up rules against the model, day by day. Returns how many were compared, by frequency."""
    chance = random.Random(seed)
    compared: dict[str, int] = {}
    while sum(compared.values()) < rules:
        rrule = made_up_rule(chance)
        first = in_step(rrule, date(2019, 1, 1) + timedelta(days=chance.randint(0, 1500)))
        last = date(first.year + YEARS, 12, 31) if first else date.max
        if first is None:
            continue
        try:
            normal = check(rrule, first)
        except RuleRefused:
            continue
        assert check(normal, first) == normal
        expected = model_dates(rrule, first, last)
        rule = recurrence.parse(normal)
        found = [first, *takewhile(lambda day: day <= last, recurrence.dates(rule, first, first))]  # noqa: B023
        found = [day for day in found if rule.until is None or day <= rule.until][: rule.count]
        assert found == expected, (rrule, first)
        for place in {0, len(expected) - 1, chance.randrange(len(expected))}:
            after = next_date(normal, first=first, due=expected[place], occurrence=place, done_on=None)
            if place + 1 < len(expected):
                assert after == expected[place + 1], (rrule, first, place)
            else:
                assert after is None or after > last, (rrule, first, place)
        compared[rrule[5:11]] = compared.get(rrule[5:11], 0) + 1
    return compared


def test_rules_agree_with_a_model_that_walks_through_the_days():
    assert len(compare(seed=5545, rules=40)) == 4


@pytest.mark.long
@pytest.mark.timeout(900)
def test_thousands_of_rules_agree_with_the_model():
    compared = compare(seed=7529, rules=1500)
    assert min(compared.values()) > 100, compared


# --- The examples of RFC 5545, 3.8.5.3, that are within the subset; all begin on 1997-09-02 unless they say so -------

TUESDAY = date(1997, 9, 2)
EXAMPLES = [
    ("FREQ=DAILY;COUNT=10", TUESDAY, "0902 0903 0904 0905 0906 0907 0908 0909 0910 0911"),
    ("FREQ=DAILY;INTERVAL=2", TUESDAY, "0902 0904 0906 0908"),
    ("FREQ=DAILY;INTERVAL=10;COUNT=5", TUESDAY, "0902 0912 0922 1002 1012"),
    ("FREQ=WEEKLY;COUNT=10", TUESDAY, "0902 0909 0916 0923 0930 1007 1014 1021 1028 1104"),
    ("FREQ=WEEKLY;UNTIL=19971224T000000Z", TUESDAY, "0902 0909 0916 0923 0930 1007 1014 1021 1028 1104 1111"),
    ("FREQ=WEEKLY;INTERVAL=2;WKST=SU", TUESDAY, "0902 0916 0930 1014 1028 1111 1125 1209 1223"),
    ("FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", TUESDAY, "0902 0904 0909 0911 0916 0918 0923 0925 0930 1002"),
    (
        "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
        date(1997, 9, 1),
        "0901 0903 0905 0915 0917 0919 0929 1001 1003 1013",
    ),
    ("FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH", TUESDAY, "0902 0904 0916 0918 0930 1002 1014 1016"),
    ("FREQ=MONTHLY;COUNT=10;BYDAY=1FR", date(1997, 9, 5), "0905 1003 1107 1205"),
    ("FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU", date(1997, 9, 7), "0907 0928 1102 1130"),
    ("FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", date(1997, 9, 22), "0922 1020 1117 1222"),
    ("FREQ=MONTHLY;BYMONTHDAY=-3", date(1997, 9, 28), "0928 1029 1128 1229"),
    ("FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15", TUESDAY, "0902 0915 1002 1015 1102 1115 1202 1215"),
    ("FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1", date(1997, 9, 30), "0930 1001 1031 1101 1130 1201 1231"),
    ("FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12", date(1997, 9, 10), "0910 0911 0912"),
    ("FREQ=MONTHLY;INTERVAL=2;BYDAY=TU", TUESDAY, "0902 0909 0916 0923 0930 1104 1111 1118 1125"),
    ("FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13", date(1997, 9, 13), "0913 1011 1108 1213"),
    ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", date(1997, 9, 4), "0904 1007 1106"),
    ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", date(1997, 9, 29), "0929 1030 1127 1230"),
]


@pytest.mark.parametrize(("rrule", "first", "expected"), EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_examples_of_the_standard(rrule, first, expected):
    days = expected.split()
    found = series(check(rrule, first), first, date(1997, 12, 31))
    assert [f"{day:%m%d}" for day in found[: len(days)]] == days


FURTHER = [
    (
        "FREQ=YEARLY;COUNT=10;BYMONTH=6,7",
        date(1997, 6, 10),
        [date(year, month, 10) for year in range(1997, 2002) for month in (6, 7)],
    ),
    (
        "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
        date(1997, 3, 10),
        [
            date(1997, 3, 10),
            *(date(year, month, 10) for year in (1999, 2001, 2003) for month in (1, 2, 3)),
        ],
    ),
    ("FREQ=YEARLY;BYDAY=TH;BYMONTH=3", date(1997, 3, 13), [date(1997, 3, 13), date(1997, 3, 20), date(1997, 3, 27)]),
    ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", date(1998, 2, 13), [date(1998, 2, 13), date(1998, 3, 13)]),
    (
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        date(1996, 11, 5),
        [date(1996, 11, 5), date(2000, 11, 7), date(2004, 11, 2)],
    ),
    # A date that a year or month has not is passed over.
    ("FREQ=YEARLY", date(2024, 2, 29), [date(2024, 2, 29), date(2028, 2, 29)]),
    ("FREQ=MONTHLY", date(2026, 1, 31), [date(2026, 1, 31), date(2026, 3, 31), date(2026, 5, 31)]),
    # The standard's two on where a week begins.
    (
        "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
        date(1997, 8, 5),
        [date(1997, 8, 5), date(1997, 8, 10), date(1997, 8, 19), date(1997, 8, 24)],
    ),
    (
        "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
        date(1997, 8, 5),
        [date(1997, 8, 5), date(1997, 8, 17), date(1997, 8, 19), date(1997, 8, 31)],
    ),
]


@pytest.mark.parametrize(("rrule", "first", "expected"), FURTHER, ids=[example[0] for example in FURTHER])
def test_further_examples(rrule, first, expected):
    assert series(check(rrule, first), first, date(2030, 1, 1))[: len(expected)] == expected


# --- Ends, moves, completion ------------------------------------------------------------------------------------------


def test_a_series_ends_after_its_count_and_with_its_last_day():
    assert series("FREQ=DAILY;COUNT=3", TUESDAY, date.max) == [TUESDAY + timedelta(days=n) for n in range(3)]
    assert series("FREQ=DAILY;UNTIL=19970904", TUESDAY, date.max)[-1] == date(1997, 9, 4)


def test_the_first_date_belongs_to_the_series_even_if_it_does_not_fit():
    wednesday = date(2026, 3, 4)
    assert series("FREQ=WEEKLY;BYDAY=MO;COUNT=3", wednesday, date.max) == [
        wednesday,
        date(2026, 3, 9),
        date(2026, 3, 16),
    ]


def test_a_task_that_was_put_before_its_day_does_not_come_again_on_it():
    monday = date(2026, 3, 2)
    again = next_date("FREQ=WEEKLY", first=monday, due=date(2026, 3, 14), occurrence=2, done_on=None)
    assert again == date(2026, 3, 23)


def test_a_task_that_was_put_off_goes_on_after_its_new_day():
    assert next_date("FREQ=DAILY", first=TUESDAY, due=date(1997, 9, 20), occurrence=1, done_on=None) == date(
        1997, 9, 21
    )


@pytest.mark.parametrize(
    ("rrule", "done_on", "expected"),
    [
        ("FREQ=DAILY;INTERVAL=10", date(2026, 3, 5), date(2026, 3, 15)),
        ("FREQ=WEEKLY", date(2026, 3, 5), date(2026, 3, 12)),
        ("FREQ=MONTHLY", date(2026, 1, 31), date(2026, 2, 28)),
        ("FREQ=YEARLY", date(2024, 2, 29), date(2025, 2, 28)),
        ("FREQ=MONTHLY;UNTIL=20260227", date(2026, 1, 31), None),
        ("FREQ=YEARLY", date(9999, 1, 1), None),
    ],
)
def test_from_completion_the_interval_is_counted_from_the_day_of_completion(rrule, done_on, expected):
    assert next_date(rrule, first=TUESDAY, due=date(2026, 1, 1), occurrence=4, done_on=done_on) == expected


def test_from_completion_takes_no_days():
    assert check("FREQ=WEEKLY;INTERVAL=2;COUNT=3", TUESDAY, from_completion=True)
    with pytest.raises(RuleRefused, match="names days"):
        check("FREQ=WEEKLY;BYDAY=MO", TUESDAY, from_completion=True)


@pytest.mark.parametrize(
    ("until", "at", "zone", "last"),
    [
        ("20260331T065959Z", time(9), "Europe/Berlin", "20260330"),
        ("20260331T070000Z", time(9), "Europe/Berlin", "20260331"),
        ("20260331T230000Z", time(0, 30), "Europe/Berlin", "20260401"),
        ("20260331T235959Z", None, "America/New_York", "20260331"),
        ("20260331T080000", time(9), "Europe/Berlin", "20260330"),
    ],
)
def test_an_end_with_a_time_becomes_the_last_day_that_it_takes_in(until, at, zone, last):
    assert check(f"FREQ=DAILY;UNTIL={until}", TUESDAY, at=at, zone=zone) == f"FREQ=DAILY;UNTIL={last}"


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rrule", "named"),
    [
        ("", "no part"),
        ("WEEKLY", "no part"),
        ("FREQ=", "no part"),
        ("INTERVAL=2", "FREQ is missing"),
        ("FREQ=SECONDLY", "FREQ is SECONDLY"),
        ("FREQ=HOURLY;COUNT=3", "FREQ is HOURLY"),
        ("RSCALE=GREGORIAN;FREQ=YEARLY", "RSCALE"),
        ("FREQ=YEARLY;BYWEEKNO=20", "BYWEEKNO"),
        ("FREQ=YEARLY;BYYEARDAY=100", "BYYEARDAY"),
        ("FREQ=DAILY;BYHOUR=9", "BYHOUR"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ comes twice"),
        ("FREQ=DAILY;COUNT=0", "COUNT=0"),
        ("FREQ=DAILY;COUNT=99999999999999999999", "COUNT=99999"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL=-1"),
        ("FREQ=DAILY;INTERVAL=²", "INTERVAL=²"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20300101", "exclude each other"),
        ("FREQ=DAILY;UNTIL=20260230", "UNTIL=20260230"),
        ("FREQ=DAILY;UNTIL=19700101", "before the first"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY with a number"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY does not go"),
        ("FREQ=WEEKLY;BYDAY=MO,TU;BYSETPOS=1", "BYSETPOS goes with"),
        ("FREQ=MONTHLY;BYDAY=MO,2TU", "one kind"),
        ("FREQ=MONTHLY;BYDAY=6MO", "BYDAY=6MO"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY=32"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS needs"),
        ("FREQ=YEARLY;BYDAY=20MO", "BYDAY=20MO"),
        ("FREQ=YEARLY;BYMONTHDAY=3", "needs BYMONTH"),
        ("FREQ=YEARLY;BYMONTH=0", "BYMONTH=0"),
        ("FREQ=YEARLY;BYMONTH=5L", "BYMONTH=5L"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "no month of"),
        ("FREQ=MONTHLY;BYMONTH=2,4;BYMONTHDAY=31,-31", "no month of"),
        ("FREQ=DAILY;WKST=XX", "WKST=XX"),
        ("FREQ=DAILY\x00", "FREQ is DAILY"),
        ("FREQ=DAILY;BYMONTH=" + "1," * 400 + "1", "characters"),
    ],
)
def test_what_is_outside_of_the_subset_is_refused_by_name(rrule, named):
    with pytest.raises(RuleRefused, match=named):
        check(rrule, TUESDAY)


@pytest.mark.parametrize(
    "rrule",
    [
        "FREQ=MONTHLY;INTERVAL=12;BYMONTH=10",
        "FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=20",
        "FREQ=YEARLY;INTERVAL=1000",
    ],
)
def test_a_rule_that_fits_no_day_is_refused_and_not_searched_for_ever(rrule):
    with pytest.raises(RuleRefused, match="no date after"):
        check(rrule, TUESDAY)


def test_an_old_series_goes_on_near_the_present():
    looked_at = islice(
        recurrence.dates(recurrence.parse("FREQ=DAILY;INTERVAL=3"), date(1, 1, 1), date(9999, 12, 20)), 9
    )
    assert list(looked_at) == [date(9999, 12, 23), date(9999, 12, 26), date(9999, 12, 29)]


@pytest.mark.parametrize(
    ("rrule", "first", "due", "occurrence", "expected"),
    [
        ("FREQ=DAILY;COUNT=5", TUESDAY, date(1997, 9, 4), 2, "FREQ=DAILY;COUNT=3"),
        ("FREQ=WEEKLY", date(2026, 3, 2), date(2026, 3, 11), 1, "FREQ=WEEKLY;BYDAY=MO"),
        ("FREQ=WEEKLY", date(2026, 3, 2), date(2026, 3, 9), 1, "FREQ=WEEKLY"),
    ],
)
def test_what_is_left_of_a_series_stands_for_itself(rrule, first, due, occurrence, expected):
    assert str(recurrence.remaining(rrule, first=first, due=due, occurrence=occurrence)) == expected


# --- Tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_task_refuses_a_bad_rule_when_it_is_made_and_when_it_is_changed():
    ada = person()
    with pytest.raises(TodoRefused, match="rrule: BYHOUR is not taken"):
        todo(ada, due_date=TUESDAY, rrule="FREQ=DAILY;BYHOUR=9")
    row = todo(ada, due_date=TUESDAY, rrule="freq=weekly;interval=1")
    assert row.rrule == "FREQ=WEEKLY"
    with pytest.raises(TodoRefused, match="rrule: FREQ is HOURLY"):
        todos.change(row.pk, {"rrule": "FREQ=HOURLY"})
    todos.change(row.pk, {"rrule": "FREQ=WEEKLY;BYDAY=MO"})
    with pytest.raises(TodoRefused, match="names days"):
        todos.change(row.pk, {"repeat_from": "completion"})
    row.refresh_from_db()
    assert row.rrule == "FREQ=WEEKLY;BYDAY=MO"


@pytest.mark.django_db
@pytest.mark.parametrize("day", [date(1, 1, 1), date(9999, 12, 31)])
def test_a_date_that_no_clock_reaches_is_refused(day):
    with pytest.raises(TodoRefused, match="due_date"):
        todo(person(), due_date=day, time_zone="Asia/Tokyo")


@pytest.mark.django_db
def test_a_series_of_three_has_three_tasks(clock):
    clock("1997-08-01 09:00")
    row: Todo | None = todo(person(), due_date=TUESDAY, start_date=date(1997, 9, 1), rrule="FREQ=WEEKLY;COUNT=3")
    due = []
    while row is not None:
        due.append((row.start_date, row.due_date))
        row = todos.complete(row.pk, None).successor
    assert due == [(date(1997, 9, 1) + timedelta(weeks=n), TUESDAY + timedelta(weeks=n)) for n in range(3)]


def following(row: Todo) -> Todo:
    successor = todos.complete(row.pk, None).successor
    assert successor
    return successor


@pytest.mark.django_db
def test_another_rule_is_counted_from_the_present_date(clock):
    row = todo(person(), due_date=date(2026, 3, 2), rrule="FREQ=WEEKLY")
    for _ in range(3):
        row = following(row)
    row = following(todos.change(row.pk, {"rrule": "FREQ=WEEKLY;INTERVAL=2;COUNT=2"}))
    assert row.due_date == date(2026, 4, 6)
    assert todos.complete(row.pk, None).successor is None


@pytest.mark.django_db
@pytest.mark.parametrize("when", ["2026-03-01 00:00", "2026-04-01 00:00"])
def test_a_task_that_is_done_twice_has_one_successor(when, clock):
    row = todo(person(), due_date=date(2026, 3, 2), rrule="FREQ=WEEKLY")
    clock(when)
    assert todos.complete(row.pk, None).successor
    todos.reopen(row.pk)
    assert todos.complete(row.pk, None).successor is None
    assert Todo.objects.count() == 2


@pytest.mark.django_db
def test_a_task_that_repeated_from_its_completion_begins_a_series_at_its_due_date(clock):
    row = todo(person(), due_date=date(2026, 1, 5), rrule="FREQ=MONTHLY;COUNT=5", repeat_from="completion")
    for moment in ("2026-01-10 09:00", "2026-02-12 09:00"):
        clock(moment)
        row = following(row)
    assert row.due_date == date(2026, 3, 12)
    row = todos.change(row.pk, {"repeat_from": "due"})
    due = []
    while successor := todos.complete(row.pk, None).successor:
        row = successor
        due.append(row.due_date)
    assert due == [date(2026, 4, 12), date(2026, 5, 12)]


@pytest.mark.django_db
def test_a_rule_that_was_set_aside_is_tried_again_for_the_next_task(clock):
    row = todo(person(), ReminderRule(offset="-PT1H"), due_date=date(2026, 3, 2), due_time=time(9), rrule="FREQ=DAILY")
    ReminderRule.objects.update(failures=3, set_aside_at=at("2026-03-01 00:00"), set_aside_because="it failed")
    rule = following(row).rules.get()
    assert (rule.failures, rule.set_aside_at, rule.set_aside_because) == (0, None, "")
