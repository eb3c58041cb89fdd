"""`manage.py review --pr` with a real worker."""

import io
import json
from typing import Any

import pytest
from django.core.management import call_command

from jobs.tests.live import LiveWorkers
from reviews.models import Repository
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, serving

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True)]


def test_the_command_waits_until_the_review_is_posted(repo: Repo, settings: Any, live_worker: LiveWorkers) -> None:
    base, head = repo.commit({"a.py": "A = 1\n"}), repo.commit({"a.py": "A = 1\neval(input())\n"})
    Repository.objects.create(full_name="acme/shop", index_enabled=False)
    with serving(repo) as standin:
        standin.open_pull(7, base, head)
        settings.GITHUB = {"WEBHOOK_SECRET": "", "TOKEN": TOKEN, "API_URL": standin.url}
        live_worker("fast_lane", GITHUB_TOKEN=TOKEN, GITHUB_API_URL=standin.url)

        def run(*arguments: str) -> str:
            out = io.StringIO()
            call_command("review", "--pr", "acme/shop#7", *arguments, stdout=out, stderr=io.StringIO())
            return out.getvalue()

        preview = json.loads(run("--dry-run", "--json"))
        said = run("--wait", "--timeout", "110")
        again = json.loads(run("--full", "--wait", "--timeout", "110", "--json"))

        posted = standin.posted(7)
    assert f"is done: 1 finding, review {posted[0]['id']} at GitHub" in said
    assert (again["round"], again["status"], again["full"]) == (2, "done", True)
    # What was promised is what was posted.
    lines = [[comment["line"] for comment in told["comments"]] for told in (preview, posted[0])]
    assert lines == [[2], [2]]
    assert posted[0]["body"].startswith(preview["body"])
