"""Issues and labels."""

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from reviews.github.errors import GitHubError
from reviews.github.shapes import Issue, Label, login, names, read, text
from reviews.github.transport import Part, repo_path

NOT_FOUND = 404


class Issues(Part):
    def issue(self, full_name: str, number: int) -> Issue:
        return read("an issue", _issue, self._transport.get(repo_path(full_name, f"issues/{number:d}")))

    def issues(self, full_name: str, *, state: str = "all") -> Iterator[Issue]:
        """The newest first, up to 10,000. state: open, closed or all. Pull requests are left out."""
        for entry in self._transport.pages(repo_path(full_name, "issues"), {"state": state}):
            issue = read("a list of issues", _issue, entry)
            if not issue.is_pull_request:
                yield issue

    def labels(self, full_name: str) -> Iterator[Label]:
        """Those that the repository has."""
        for entry in self._transport.pages(repo_path(full_name, "labels")):
            yield read("a list of labels", _label, entry)

    def add_labels(self, full_name: str, number: int, labels: Iterable[str]) -> None:
        """To an issue or a pull request; those that it has stay. GitHub makes a label that the repository lacks."""
        self._transport.post(repo_path(full_name, f"issues/{number:d}/labels"), {"labels": list(labels)})

    def remove_label(self, full_name: str, number: int, label: str) -> None:
        """From an issue or a pull request; one that it does not have is no error."""
        path = repo_path(full_name, f"issues/{number:d}/labels/{quote(label, safe='')}")
        try:
            self._transport.call("DELETE", path)
        except GitHubError as exc:
            if exc.status != NOT_FOUND:
                raise


def _issue(entry: Any) -> Issue:
    return Issue(
        github_id=int(entry["id"]),
        number=int(entry["number"]),
        title=str(entry["title"]),
        body=text(entry.get("body")),
        author=login(entry.get("user")),
        state=str(entry["state"]),
        url=text(entry.get("html_url")),
        labels=names(entry.get("labels")),
        is_pull_request="pull_request" in entry,
        created_at=text(entry.get("created_at")),
        updated_at=text(entry.get("updated_at")),
    )


def _label(entry: Any) -> Label:
    return Label(name=str(entry["name"]), description=text(entry.get("description")))
