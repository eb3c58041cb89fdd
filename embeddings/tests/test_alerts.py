"""The alerts that are there from the start."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps

from embeddings import tasks
from jobs.models import Alert, Job

pytestmark = pytest.mark.django_db
SEEDED = {"name": "Index builds", "kind": "failed", "task": "build_faiss_index", "threshold": 1}


def migrated(**given: Any) -> dict[str, tuple[str, str, int]]:
    """Name → queue, task and threshold of all alerts, where an alert is there already."""
    Alert.objects.all().delete()
    Alert.objects.create(**{**SEEDED, **given})
    import_module("embeddings.migrations.0009_alerts_of_queues").widen(apps, None)
    return {alert.name: (alert.queue, alert.task, alert.threshold) for alert in Alert.objects.all()}


def test_failed_builds_swaps_and_embedding_are_watched() -> None:
    assert migrated() == {"Index builds": ("indexing", "", 1), "Embedding": ("embedding", "", 1)}
    for task, args in ((tasks.build_faiss_index, ()), (tasks.hot_swap_index, ()), (tasks.embed_batch, (1, 1, 2))):
        task.delay(*args)
    queues = dict(Job.objects.values_list("task", "queue"))
    assert queues == {
        "build_faiss_index": "indexing",
        "hot_swap_index": "indexing",
        "embeddings.embed_batch": "embedding",
    }


@pytest.mark.parametrize("edit", [{"task": "hot_swap_index"}, {"queue": "embedding"}, {"kind": "oldest"}])
def test_what_an_operator_pointed_elsewhere_stays(edit: dict[str, str]) -> None:
    kept = {**SEEDED, "queue": "", **edit}
    assert migrated(**edit)["Index builds"] == (kept["queue"], kept["task"], 1)


def test_whom_an_alert_tells_stays() -> None:
    migrated(mail_to=["ann@example.org"], threshold=3)
    found = Alert.objects.get(name="Index builds")
    assert (found.mail_to, found.threshold, found.queue) == (["ann@example.org"], 3, "indexing")
