"""No order of sends, dispatches, claims, ends, operators' actions and deaths leaves a job that no one owes."""

import os

import pytest

from jobs.ledger import states
from jobs.tests import interleavings

pytestmark = pytest.mark.django_db(transaction=True)

#: Set it to play one again.
SEED = int(os.environ.get("INTERLEAVING_SEED", "0"))


def test_three_hundred_interleavings_lose_nothing_and_do_nothing_twice():
    assert interleavings.run(SEED, 300) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_interleavings_lose_nothing_and_do_nothing_twice():
    assert interleavings.run(1000, 10_000) == []


def test_the_judge_sees_a_job_that_nobody_owes(monkeypatch):
    """A rescue that forgets is found within a few interleavings."""
    monkeypatch.setattr(states, "requeue", lambda cursor, runs: [])

    assert interleavings.run(0, 60)


def test_the_judge_sees_a_finish_without_a_fence(monkeypatch):
    """So is a success that does not look at the claim."""
    monkeypatch.setattr(states, "succeed", lambda cursor, rows: {row["id"] for row in rows if cursor is not None})

    assert interleavings.run(0, 60)
