"""Check runs: the line at a commit that says whether it was reviewed. Apps alone may write them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reviews.github.shapes import CheckRun, app_id, new_id, read, text
from reviews.github.transport import Part, repo_path


@dataclass(frozen=True)
class CheckOutput:
    """What is shown with a check run: Markdown, at most 65,535 characters each. annotations: at most 50 a request."""

    title: str
    summary: str
    text: str = ""
    annotations: tuple[dict[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"title": self.title, "summary": self.summary}
        if self.text:
            shown["text"] = self.text
        if self.annotations:
            shown["annotations"] = list(self.annotations)
        return shown


class Checks(Part):
    def create_check_run(
        self,
        full_name: str,
        *,
        name: str,
        head_sha: str,
        external_id: str = "",
        details_url: str = "",
        conclusion: str = "",
        output: CheckOutput | None = None,
    ) -> int:
        """Begin a check run, or tell of one that is over where there is a conclusion; its id."""
        run: dict[str, Any] = {"name": name, "head_sha": head_sha, **_progress(conclusion, output)}
        run.update(_links(external_id, details_url))
        return read("a check run", new_id, self._transport.post(repo_path(full_name, "check-runs"), run))

    def update_check_run(
        self, full_name: str, check_run_id: int, *, conclusion: str = "", output: CheckOutput | None = None
    ) -> None:
        """conclusion: neutral, success, failure, cancelled, skipped …; empty while it is in progress."""
        path = repo_path(full_name, f"check-runs/{check_run_id:d}")
        self._transport.call("PATCH", path, body=_progress(conclusion, output))

    def check_runs(self, full_name: str, sha: str, name: str) -> Iterator[CheckRun]:
        """Of a commit, by their name."""
        path = repo_path(full_name, f"commits/{sha}/check-runs")
        for entry in self._transport.pages(path, {"check_name": name}, within="check_runs"):
            yield read("a list of check runs", _check_run, entry)


def _progress(conclusion: str, output: CheckOutput | None) -> dict[str, Any]:
    run: dict[str, Any] = {"status": "completed", "conclusion": conclusion} if conclusion else {"status": "in_progress"}
    if output is not None:
        run["output"] = output.as_json()
    return run


def _links(external_id: str, details_url: str) -> dict[str, str]:
    return {key: value for key, value in (("external_id", external_id), ("details_url", details_url)) if value}


def _check_run(entry: Any) -> CheckRun:
    return CheckRun(
        id=int(entry["id"]),
        name=str(entry["name"]),
        head_sha=str(entry["head_sha"]),
        status=str(entry["status"]),
        conclusion=text(entry.get("conclusion")),
        external_id=text(entry.get("external_id")),
        app_id=app_id(entry),
    )
