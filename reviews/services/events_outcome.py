"""What comes of an event, and what its handlers are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reviews.models import GitHubAccess, Repository
from reviews.services import event_fields


@dataclass(frozen=True)
class Outcome:
    """text: “job …”, or “ignored, because …”; job_id: of the job that it started."""

    text: str
    job_id: str = ""
    repository: Repository | None = None


@dataclass
class Context:
    """One event. access: by whose secret it was signed; None: by that of the environment."""

    event: str
    action: str
    payload: Mapping[str, Any]
    access: GitHubAccess | None
    repository: Repository | None = None

    @property
    def known_repository(self) -> Repository:
        """That of an event which names one."""
        assert self.repository is not None
        return self.repository

    @property
    def sender(self) -> str:
        return event_fields.short(self.payload, "sender.login", 100)


def ignored(why: str) -> Outcome:
    return Outcome(f"ignored, because {why}")


def noted(what: str) -> Outcome:
    """Something was written down, and there is nothing to run."""
    return ignored(f"there is nothing to run: {what}")


def followed(what: str, job_ids: Sequence[str]) -> Outcome:
    """Something was written down, and these jobs see to the rest; perhaps none."""
    if not job_ids:
        return noted(what)
    more = f" and {len(job_ids) - 1} more" if len(job_ids) > 1 else ""
    return Outcome(f"job {job_ids[0]}{more}: {what}", job_ids[0])
