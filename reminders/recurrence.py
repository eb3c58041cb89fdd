"""Repetition: the subset of RFC 5545's rules that is proven, and the next date of a task that repeats.

Dates alone are expanded; a time of day and its zone are put to them afterwards, so no clock change moves a task. The
subset is where dateutil agrees, date for date, with a model that walks through the days (tests/test_recurrence.py).
"""

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice

from dateutil import rrule as expansion
from dateutil.relativedelta import relativedelta

from reminders import clocks

#: A task of a rule without a date in so many years is never due again.
HORIZON_YEARS = 40
#: And no more periods than this are looked at, so that no rule takes long.
MOST_PERIODS = 4000
MOST_INTERVAL = 1000
MOST_COUNT = 100_000
LONGEST = 500
#: The place of a task in its series is looked up among so many dates.
MOST_PLACES = 1000

FREQUENCIES = {"DAILY": expansion.DAILY, "WEEKLY": expansion.WEEKLY, "MONTHLY": expansion.MONTHLY}
FREQUENCIES["YEARLY"] = expansion.YEARLY
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
PARTS = ("FREQ", "INTERVAL", "UNTIL", "COUNT", "BYMONTH", "BYMONTHDAY", "BYDAY", "BYSETPOS", "WKST")
_DAY = re.compile(r"([+-]?[1-5])?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,6}", re.ASCII)
_UNTIL = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?", re.ASCII)


class RuleRefused(ValueError):
    """A rule outside of the subset; the message names the part, and what is taken."""


@dataclass(frozen=True)
class Rule:
    """The parts of a rule. days: (ordinal in its month or 0, weekday from Monday 0). until: the last day, or None."""

    freq: str
    interval: int = 1
    until: date | None = None
    count: int | None = None
    months: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    days: tuple[tuple[int, int], ...] = ()
    positions: tuple[int, ...] = ()
    week_start: int = 0

    def __str__(self) -> str:
        numbers = {"BYMONTH": self.months, "BYMONTHDAY": self.month_days, "BYSETPOS": self.positions}
        parts = {name: ",".join(map(str, values)) for name, values in numbers.items()}
        parts |= {"FREQ": self.freq, "INTERVAL": str(self.interval) if self.interval > 1 else ""}
        parts["UNTIL"] = f"{self.until:%Y%m%d}" if self.until else ""
        parts["COUNT"] = str(self.count) if self.count else ""
        parts["BYDAY"] = ",".join(f"{ordinal or ''}{DAYS[day]}" for ordinal, day in self.days)
        parts["WKST"] = DAYS[self.week_start] if self.week_start else ""
        return ";".join(f"{name}={parts[name]}" for name in PARTS if parts[name])

    @property
    def is_plain(self) -> bool:
        """Whether it has an interval alone, and no days of its own."""
        return not (self.months or self.month_days or self.days or self.positions)


def check(rrule: str, first: date, *, at: time | None = None, zone: str = "UTC", from_completion: bool = False) -> str:
    """The rule in its normal form. Raises RuleRefused.

    at, zone: the time of day at which the task is due, if at any: an UNTIL with a time becomes the last day that it
    takes in. from_completion: whether it is counted from the day on which the task is done.
    """
    rule = parse(rrule, at, zone)
    if from_completion and not rule.is_plain:
        raise RuleRefused(
            f"{rrule[:80]!r} names days, and the task repeats from its completion; that takes FREQ, INTERVAL, COUNT "
            "and UNTIL alone, or let it repeat from its due date"
        )
    if rule.until and rule.until < first:
        raise RuleRefused(f"UNTIL={rule.until:%Y%m%d} is before the first due date, {first}; write a later one")
    ends = rule.until or rule.count == 1 or from_completion
    if not ends and next(dates(replace(rule, count=None), first, first), None) is None:
        raise RuleRefused(f"{rule} has no date after {first} for as far as one looks; write days that come")
    return str(rule)


def next_date(rrule: str, *, first: date, due: date, occurrence: int, done_on: date | None) -> date | None:
    """The due date after `due`; None when the rule ends.

    first: the first due date of the series, which belongs to it whether or not it fits the rule. occurrence: how many
    went before. done_on: of a task that repeats from its completion, the local day on which it was done; the rule's
    interval is then counted from it. A task that was put before its day does not come again on that day. Raises
    RuleRefused.
    """
    if done_on is None:
        return next_to_come(rrule, first=first, due=due, occurrence=occurrence, has_passed=lambda day: False)[0]
    rule = parse(rrule)
    found = None if rule.count and occurrence + 1 >= rule.count else _moved(rule, done_on)
    return None if found is None or (rule.until and found > rule.until) else found


def next_to_come(
    rrule: str, *, first: date, due: date, occurrence: int, has_passed: Callable[[date], bool]
) -> tuple[date | None, int]:
    """The first due date after `due` that has not passed, as of `next_date`, and how many before it have.

    COUNT takes those in. None when the rule ends before. has_passed: of a day only if of all before it.
    """
    rule = parse(rrule)
    skipped = 0
    for day in _all_dates(rule, first, max(due, _place(rule, first, occurrence))):
        if (rule.count and occurrence + 1 + skipped >= rule.count) or (rule.until and day > rule.until):
            break
        if not has_passed(day):
            return day, skipped
        skipped += 1
    return None, skipped


def parse(rrule: str, at: time | None = None, zone: str = "UTC") -> Rule:
    """A rule of the subset, in upper or lower case, with or without "RRULE:". Raises RuleRefused."""
    text = rrule.strip().upper().removeprefix("RRULE:").rstrip(";")
    if len(text) > LONGEST:
        raise RuleRefused(f"the rule has {len(text):,} characters; it takes up to {LONGEST}")
    parts: dict[str, str] = {}
    for piece in text.split(";"):
        name, equals, value = piece.partition("=")
        if not equals or not value:
            raise RuleRefused(f"{piece[:40]!r} is no part of a rule; write one such as FREQ=WEEKLY;BYDAY=MO")
        if name not in PARTS:
            raise RuleRefused(f"{name[:40]} is not taken; a rule takes {', '.join(PARTS)}")
        if name in parts:
            raise RuleRefused(f"{name} comes twice; write it once")
        parts[name] = value
    if parts.get("FREQ") not in FREQUENCIES:
        given = f"is {parts['FREQ'][:20]}" if "FREQ" in parts else "is missing"
        raise RuleRefused(f"FREQ {given}; it takes {', '.join(FREQUENCIES)}")
    rule = Rule(
        freq=parts["FREQ"],
        interval=_positive(parts, "INTERVAL", MOST_INTERVAL) or 1,
        until=_until(parts["UNTIL"], at, zone) if "UNTIL" in parts else None,
        count=_positive(parts, "COUNT", MOST_COUNT),
        months=_numbers(parts, "BYMONTH", 1, 12, signed=False),
        month_days=_numbers(parts, "BYMONTHDAY", 1, 31),
        days=_days(parts.get("BYDAY", "")),
        positions=_numbers(parts, "BYSETPOS", 1, 366),
        week_start=_week_start(parts.get("WKST", "MO")),
    )
    _check_together(rule)
    return rule


def dates(rule: Rule, first: date, after: date) -> Iterator[date]:
    """Those of its dates that come after a day, and after the first one; COUNT and UNTIL are the caller's.

    They end at the horizon, so that a rule that fits no day ends, too.
    """
    whole = _explicit(rule, first)
    after = max(first, after)
    begin = _begin_of_period(whole, first, after)
    span = min(HORIZON_YEARS * 366, MOST_PERIODS * rule.interval * _LENGTH[rule.freq])
    if after.toordinal() + span > date.max.toordinal():
        span = date.max.toordinal() - after.toordinal()
    end = after + timedelta(days=span)
    found = expansion.rrule(
        FREQUENCIES[rule.freq],
        dtstart=datetime.combine(begin, time()),
        interval=rule.interval,
        until=datetime.combine(end, time()),
        bymonth=whole.months or None,
        bymonthday=whole.month_days or None,
        byweekday=[expansion.weekday(day, ordinal or None) for ordinal, day in whole.days] or None,
        bysetpos=whole.positions or None,
        wkst=whole.week_start,
    )
    return (moment.date() for moment in found if moment.date() > after)


_LENGTH = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": 31, "YEARLY": 366}
_UNIT = {"DAILY": "days", "WEEKLY": "weeks", "MONTHLY": "months", "YEARLY": "years"}


def _all_dates(rule: Rule, first: date, after: date) -> Iterator[date]:
    """As `dates`, and on from each horizon."""
    last, before = after, None
    while last != before:
        before = last
        for last in dates(rule, first, before):
            yield last


def is_shiftable(rule: Rule) -> bool:
    """Whether its dates, all moved by the same days, are those of the same rule from a first day moved so."""
    return rule.is_plain and rule.freq in {"DAILY", "WEEKLY"}


def without_implied(rule: Rule, first: date) -> Rule:
    """Without the days that a rule has from its first date anyway: BYDAY=MO of a weekly one that begins on a Monday."""
    for freq, bare in (
        ("WEEKLY", Rule("WEEKLY", days=((0, first.weekday()),))),
        ("MONTHLY", Rule("MONTHLY", month_days=(first.day,))),
        ("YEARLY", Rule("YEARLY", months=(first.month,), month_days=(first.day,))),
    ):
        same = (bare.months, bare.month_days, bare.days) == (rule.months, rule.month_days, rule.days)
        if rule.freq == freq and same and not rule.positions:
            return replace(rule, months=(), month_days=(), days=())
    return rule


def remaining(rrule: str, *, first: date, due: date, occurrence: int) -> Rule:
    """The rule as it stands for a task further on in its series: what COUNT leaves, from its own due date."""
    rule = parse(rrule)
    if rule.count is not None:
        rule = replace(rule, count=max(rule.count - occurrence, 1))
    moved = _explicit(rule, first)
    return rule if moved == _explicit(rule, due) else moved


def _explicit(rule: Rule, first: date) -> Rule:
    """With the days that RFC 5545 takes from the first date where the rule names none."""
    if rule.days or rule.month_days or rule.freq == "DAILY":
        return rule
    if rule.freq == "WEEKLY":
        return replace(rule, days=((0, first.weekday()),))
    months = rule.months or ((first.month,) if rule.freq == "YEARLY" else ())
    return replace(rule, months=months, month_days=(first.day,))


def _begin_of_period(rule: Rule, first: date, after: date) -> date:
    """A day from which the same dates follow, near to the one that is looked from: an old series takes no longer."""
    if rule.freq in {"DAILY", "WEEKLY"}:
        step = rule.interval * _LENGTH[rule.freq]
        return first + timedelta(days=(after - first).days // step * step)
    months = (after.year - first.year) * 12 + after.month - first.month
    step = rule.interval * (12 if rule.freq == "YEARLY" else 1)
    moved = first.year * 12 + first.month - 1 + months // step * step
    month = moved % 12 + 1 if rule.freq == "MONTHLY" else 1
    return date(moved // 12, month, 1)


def _place(rule: Rule, first: date, occurrence: int) -> date:
    """The date that the rule gives to a task of the series."""
    if occurrence < 1:
        return first
    if is_shiftable(rule):
        days = min(occurrence * rule.interval * _LENGTH[rule.freq], date.max.toordinal() - first.toordinal())
        return first + timedelta(days=days)
    return next(islice(dates(rule, first, first), min(occurrence, MOST_PLACES) - 1, None), first)


def _moved(rule: Rule, day: date) -> date | None:
    """An interval after a day; what is no day of a shorter month becomes its last."""
    try:
        return day + relativedelta(**{_UNIT[rule.freq]: rule.interval})
    except (ValueError, OverflowError):
        return None


# --- Parts ------------------------------------------------------------------------------------------------------------


def _positive(parts: dict[str, str], name: str, most: int) -> int | None:
    text = parts.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= most):
        raise RuleRefused(f"{name}={text[:20]} is not taken; it takes 1 to {most:,}")
    return int(text)


def _numbers(parts: dict[str, str], name: str, least: int, most: int, *, signed: bool = True) -> tuple[int, ...]:
    found = set()
    for piece in parts[name].split(",") if name in parts else ():
        number = int(piece) if _NUMBER.fullmatch(piece) else 0
        if not least <= abs(number) <= most or (number < 0 and not signed):
            negative = f" or -{most} to -{least}" if signed else ""
            raise RuleRefused(f"{name}={piece[:20]} is not taken; it takes {least} to {most}{negative}")
        found.add(number)
    return tuple(sorted(found))


def _days(text: str) -> tuple[tuple[int, int], ...]:
    found = set()
    for piece in text.split(",") if text else ():
        match = _DAY.fullmatch(piece)
        if match is None:
            raise RuleRefused(f"BYDAY={piece[:20]} is not taken; it takes {', '.join(DAYS)}, by month also 1MO to -5SU")
        found.add((int(match[1] or 0), DAYS.index(match[2])))
    return tuple(sorted(found, key=lambda day: (day[0], day[1])))


def _week_start(text: str) -> int:
    if text not in DAYS:
        raise RuleRefused(f"WKST={text[:20]} is not taken; it takes {', '.join(DAYS)}")
    return DAYS.index(text)


def _until(text: str, at: time | None, zone: str) -> date:
    """The last day that it takes in, of a task that is due at a time of a zone, or, without one, on whole days."""
    match = _UNTIL.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        last = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC if match[7] else None)
        if match[7]:
            # Of whole days the day counts as it is written: programs end it at midnight of UTC.
            last = clocks.local(last, zone) if at is not None else last.replace(tzinfo=None)
        if match[4] is None or at is None or at <= last.time():
            return last.date()
        return last.date() - timedelta(days=1)
    except (ValueError, OverflowError):
        raise RuleRefused(f"UNTIL={text[:20]} is no date; write one such as UNTIL=20271231") from None


def _check_together(rule: Rule) -> None:
    """What parts do not go together. Raises RuleRefused."""
    by_month = rule.freq == "MONTHLY" or (rule.freq == "YEARLY" and rule.months)
    ordinals = {bool(ordinal) for ordinal, _ in rule.days}
    for wrong, what in (
        (rule.count and rule.until, "COUNT and UNTIL exclude each other; write one of them"),
        (True in ordinals and not by_month, "BYDAY with a number goes with FREQ=MONTHLY, or with YEARLY and BYMONTH"),
        (len(ordinals) == 2, "BYDAY has days with a number and days without; write one kind"),
        (rule.freq == "WEEKLY" and rule.month_days, "BYMONTHDAY does not go with FREQ=WEEKLY; use MONTHLY"),
        (
            rule.freq == "YEARLY" and not rule.months and (rule.month_days or rule.days),
            "FREQ=YEARLY with days needs BYMONTH, such as FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=15",
        ),
        (rule.positions and not by_month, "BYSETPOS goes with FREQ=MONTHLY, or with YEARLY and BYMONTH"),
        (
            rule.positions and not (rule.days or rule.month_days),
            "BYSETPOS needs BYDAY or BYMONTHDAY, of which it chooses",
        ),
        (
            rule.month_days and rule.months and not _comes(rule.months, rule.month_days),
            "no month of BYMONTH has a day of BYMONTHDAY; write days that come",
        ),
        (max(map(abs, rule.positions), default=0) > 31 and rule.freq == "MONTHLY", "BYSETPOS takes up to 31 by month"),
    ):
        if wrong:
            raise RuleRefused(what)


def _comes(months: tuple[int, ...], month_days: tuple[int, ...]) -> bool:
    return min(map(abs, month_days)) <= max(monthrange(2024, month)[1] for month in months)
