"""Deliveries, stored as the webhook stores them."""

import time
from collections.abc import Callable, Mapping
from itertools import count as counting
from typing import Any
from uuid import uuid4

from django.db import transaction

from jobs.ledger import publisher
from reviews import tasks
from reviews.bench.payloads import pull_request
from reviews.models import Delivery
from reviews.services import deliveries

WARM_UP = 50
DRAIN_SECONDS = 60
_numbers = counting(1)
BODY = "What it does, and why. " * 300


def store(count: int) -> dict[str, list[float]]:
    """Milliseconds each. row_and_message: a delivery's row and a job in one transaction, to its commit.

    Each by itself, as deliveries come in: the messages of the one before are on their way. one_upon_another: without
    waiting for that, so that the thread that sends them takes its share of the processor. all_of_it: an opened pull
    request, with what else is noted of it.
    """
    taken: dict[str, list[float]] = {"row_and_message": [], "one_upon_another": [], "all_of_it": []}
    for name, storing in (("row_and_message", _row_and_message), ("all_of_it", _all_of_it)):
        for _ in range(WARM_UP + count):
            taken[name].append(_timed(storing))
            publisher.drain(DRAIN_SECONDS)
        del taken[name][:WARM_UP]
    taken["one_upon_another"] = [_timed(_row_and_message) for _ in range(count)]
    publisher.drain(DRAIN_SECONDS)
    return taken


def _timed(storing: Callable[[Mapping[str, Any], int], None]) -> float:
    number = next(_numbers)
    payload = pull_request(number, BODY)
    began = time.perf_counter()
    storing(payload, number)
    return (time.perf_counter() - began) * 1000


def _row_and_message(payload: Mapping[str, Any], number: int) -> None:
    with transaction.atomic():
        Delivery.objects.create(guid=str(uuid4()), event="pull_request", action="opened", payload=payload)
        tasks.run_pr_review.apply_async(kwargs={"review_id": number})


def _all_of_it(payload: Mapping[str, Any], number: int) -> None:
    deliveries.receive(str(uuid4()), "pull_request", payload, len(BODY))
