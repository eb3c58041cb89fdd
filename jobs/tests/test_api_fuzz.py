"""Requests made up from the OpenAPI document: none is an error of ours, and every answer is as described."""

from typing import Any

import pytest
import schemathesis
from django.test import override_settings
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from config.wsgi import application
from jobs.models import State
from jobs.tests.api_client import root
from jobs.tests.test_api_jobs import make

# Each operation takes seconds, and each app brings more of them.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def token() -> str:
    return str(root().defaults["HTTP_AUTHORIZATION"])


@pytest.fixture
def api_schema(token: str) -> Any:
    row = IntervalSchedule.objects.create(every=1, period="hours")
    PeriodicTask.objects.create(name="0", task="selftest.echo", args="[1]", interval=row)
    for job_id, state in (("0", State.FAILED), ("00", State.QUEUED), ("000", State.RUNNING), ("A", State.SUCCEEDED)):
        make(job_id, state)
    return schemathesis.openapi.from_wsgi("/api/v1/schema/", application, headers={"Authorization": token})


@override_settings(ALLOWED_HOSTS=["*"])
def test_no_made_up_request_is_an_error_of_ours(api_schema: Any, token: str) -> None:
    operations = [operation.ok() for operation in api_schema.get_all_operations()]

    for operation in operations:
        for mode in GenerationMode:

            @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                case.call_and_validate(
                    headers={"Authorization": token}, checks=(not_a_server_error, response_schema_conformance)
                )

            try:
                check()
            except Unsatisfiable:  # an operation without parameters has no wrong ones
                assert mode == GenerationMode.NEGATIVE

    assert len(operations) >= 14
