"""Reviews that are run in processes to be killed, and what is at the stand-in GitHub afterwards."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from reviews.models import FindingState, PullRequestReview, Repository, ReviewStatus
from reviews.standin import compare  # noqa: F401  (registers its operation)
from reviews.standin.killed import KILLED
from reviews.standin.repositories import Repo
from reviews.standin.server import TOKEN, Standin, serving

MOST_RUNS = 3


@dataclass(frozen=True)
class Posted:
    """Of one review and the one comment on a line that it should have: how many are missing, and how many too many."""

    lost: int
    doubled: int


class Victims:
    """environment: of the processes beside this one's."""

    def __init__(self, standin: Standin, base: str, head: str, environment: Mapping[str, str]) -> None:
        self.standin, self.base, self.head = standin, base, head
        self.repository = Repository.objects.create(github_id=1, full_name=standin.full_name)
        told = {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": standin.url}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reviews.standin.killed"],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, **environment, **told},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, review: PullRequestReview, kill_at: int = 0) -> tuple[int, int]:
        """(exit code, steps) of an attempt that is killed at a step; 0: never."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"review": review.pk, "kill_at": kill_at}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["code"], answer["steps"]

    def review(self, number: int) -> PullRequestReview:
        self.standin.open_pull(number, self.base, self.head)
        return PullRequestReview.objects.create(
            repository=self.repository, number=number, base_sha=self.base, head_sha=self.head
        )

    def kill_and_finish(self, review: PullRequestReview, *kills: int) -> int:
        """Kill at these steps, one process after the other, then let it finish. How many were killed."""
        killed = 0
        for kill_at in kills:
            code, _ = self.run(review, kill_at)
            killed += code == KILLED
            let_deadlines_pass()
        for _ in range(MOST_RUNS):  # an attempt may find out only that it does not know yet
            if self.run(review)[0] == 0:
                break
            let_deadlines_pass()
        review.refresh_from_db()
        return killed

    def posted(self, review: PullRequestReview) -> Posted:
        """One that is still pending is lost: nobody sees it."""
        reviews = len(self.standin.posted(review.number))
        comments = sum(found["number"] == review.number for found in self.standin.comments)
        lost = (reviews == 0) + (comments == 0) + (review.status != ReviewStatus.DONE)
        known = review.findings.filter(state=FindingState.POSTED).count()
        return Posted(lost + (known == 0), max(0, reviews - 1) + max(0, comments - 1))

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@contextmanager
def victims(repo: Repo, environment: Mapping[str, str]) -> Iterator[Victims]:
    """A change of one line at the stand-in, which takes as many writes as come."""
    before = "".join(f"V{number} = {number}\n" for number in range(60))
    with serving(repo) as standin:
        standin.limits.writes_a_minute = standin.limits.writes_an_hour = standin.limits.points_a_minute = None
        base = repo.commit({"a.py": before})
        head = repo.commit({"a.py": before.replace("V2 = 2\n", "V2 = 22\n")})
        found = Victims(standin, base, head, environment)
        try:
            yield found
        finally:
            found.end()


def let_deadlines_pass() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_effect SET deadline_at = clock_timestamp() - interval '1 ms' WHERE state = 'tried'")
