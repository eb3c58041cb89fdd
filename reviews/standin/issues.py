"""Issues, labels and people's permissions at the stand-in."""

from typing import TYPE_CHECKING, Any

from reviews.standin.rules import SOMEWHERE, WHEN, Answer, Refused, Request, page, route, user

if TYPE_CHECKING:
    from reviews.standin.server import Standin


@route("GET", r"issues")
def list_issues(standin: "Standin", request: Request) -> Answer:
    request.need("issues")
    state = request.query.get("state", "open")
    found = [issue for issue in standin.issues.values() if state in ("all", issue["state"])]
    return 200, page([issue_json(issue) for issue in reversed(found)], request.query)


@route("GET", r"issues/(\d+)")
def get_issue(standin: "Standin", request: Request, number: str) -> Answer:
    standin.need_issue(request, number)
    return 200, issue_json(_issue(standin, number))


@route("GET", r"labels")
def list_labels(standin: "Standin", request: Request) -> Answer:
    request.need("issues")
    return 200, page([label_json(name, text) for name, text in standin.labels.items()], request.query)


@route("GET", r"issues/(\d+)/labels")
def labels_of_issue(standin: "Standin", request: Request, number: str) -> Answer:
    standin.need_issue(request, number)
    return 200, page([label_json(name) for name in _labelled(standin, number)["labels"]], request.query)


@route("POST", r"issues/(\d+)/labels")
def add_labels(standin: "Standin", request: Request, number: str) -> Answer:
    standin.need_issue(request, number, "write")
    labelled = _labelled(standin, number)
    for name in request.body["labels"]:
        if name not in labelled["labels"]:
            labelled["labels"].append(name)
        standin.labels.setdefault(name, "")
    return 200, [label_json(name) for name in labelled["labels"]]


@route("DELETE", r"issues/(\d+)/labels/(.+)")
def remove_label(standin: "Standin", request: Request, number: str, name: str) -> Answer:
    standin.need_issue(request, number, "write")
    labelled = _labelled(standin, number)
    if name not in labelled["labels"]:
        raise Refused(404, "Label does not exist")
    labelled["labels"].remove(name)
    return 200, [label_json(kept) for kept in labelled["labels"]]


@route("GET", r"collaborators/([^/]+)/permission")
def permission(standin: "Standin", request: Request, login: str) -> Answer:
    request.need("metadata")
    role = standin.people.get(login, "read" if not standin.private else "none")
    shown = {"maintain": "write", "triage": "read"}.get(role, role)
    return 200, {"permission": shown, "role_name": role, "user": {**user(login), "role_name": role}}


def _issue(standin: "Standin", number: str) -> dict[str, Any]:
    if int(number) not in standin.issues:
        raise Refused(404, "Not Found")
    return standin.issues[int(number)]


def _labelled(standin: "Standin", number: str) -> dict[str, Any]:
    """An issue or a pull request: both have labels."""
    labelled: dict[str, Any] = standin.pulls.get(int(number)) or _issue(standin, number)
    labelled.setdefault("labels", [])
    return labelled


def label_json(name: str, description: str = "") -> dict[str, Any]:
    return {
        "id": 1, "node_id": "n", "url": SOMEWHERE, "name": name, "description": description,
        "color": "ededed", "default": False,
    }  # fmt: skip


def issue_json(issue: dict[str, Any]) -> dict[str, Any]:
    """An issue as GitHub shows it, in answers and in deliveries."""
    urls = ("url", "html_url", "comments_url", "events_url", "labels_url", "repository_url")
    return {
        "id": 5000 + issue["number"],
        "node_id": "n",
        "number": issue["number"],
        "title": issue["title"],
        "body": issue["body"],
        "state": issue["state"],
        "user": user(issue["author"]),
        "labels": [label_json(name) for name in issue["labels"]],
        "assignee": None,
        "milestone": None,
        "locked": False,
        "comments": 0,
        "closed_at": None,
        "created_at": WHEN,
        "updated_at": WHEN,
        "author_association": "NONE",
        **dict.fromkeys(urls, SOMEWHERE),
    }
