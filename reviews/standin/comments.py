"""Comments at the stand-in: on lines, with replies to the first of a thread alone, and on issues and pull requests."""

from typing import TYPE_CHECKING, Any

from reviews.standin.reviews import refuse_second_pending
from reviews.standin.rules import SOMEWHERE, WHEN, Answer, Refused, Request, check_text, page, route, user

if TYPE_CHECKING:
    from reviews.standin.server import Standin


@route("GET", r"pulls/(\d+)/comments")
def list_comments(standin: "Standin", request: Request, number: str) -> Answer:
    request.need("pull_requests")
    found = [comment for comment in standin.comments if comment["number"] == int(number) and is_public(comment)]
    return 200, page([comment_json(comment) for comment in found], request.query)


@route("GET", r"pulls/(\d+)/reviews/(\d+)/comments")
def comments_of_review(standin: "Standin", request: Request, number: str, review_id: str) -> Answer:
    request.need("pull_requests")
    found = [comment for comment in standin.comments if comment["review"]["id"] == int(review_id)]
    if any(not is_public(comment) and comment["login"] != request.caller.login for comment in found):
        raise Refused(404, "Not Found")
    return 200, page([comment_json(comment) for comment in found], request.query)


@route("GET", r"pulls/comments/(\d+)")
def get_comment(standin: "Standin", request: Request, comment_id: str) -> Answer:
    request.need("pull_requests")
    return 200, comment_json(_comment(standin, comment_id))


@route("POST", r"pulls/(\d+)/comments/(\d+)/replies")
def create_reply(standin: "Standin", request: Request, number: str, comment_id: str) -> Answer:
    request.need("pull_requests", "write")
    standin.pull(number)
    refuse_second_pending(standin, request, number)
    first = _comment(standin, comment_id)
    if first["in_reply_to_id"] is not None:
        raise Refused(422, "Validation Failed", "in_reply_to must be the first comment of a thread")
    body = check_text(request.body.get("body"))
    return 201, comment_json(add_reply(standin, first, request.caller.login, body, request.caller.app))


def add_reply(
    standin: "Standin", first: dict[str, Any], login: str, body: str, app: int | None = None
) -> dict[str, Any]:
    review = {"id": standin.new_id(), "state": "COMMENTED"}
    added = {**first, "id": standin.new_id(), "review": review, "body": body, "login": login, "app": app}
    added["in_reply_to_id"] = first["id"]
    standin.comments.append(added)
    return added


@route("GET", r"issues/(\d+)/comments")
def list_issue_comments(standin: "Standin", request: Request, number: str) -> Answer:
    standin.need_issue(request, number)
    found = [comment for comment in standin.issue_comments if comment["number"] == int(number)]
    return 200, page([issue_comment_json(comment) for comment in found], request.query)


@route("POST", r"issues/(\d+)/comments")
def create_issue_comment(standin: "Standin", request: Request, number: str) -> Answer:
    standin.need_issue(request, number, "write")
    body = check_text(request.body.get("body"))
    added = standin.add_issue_comment(int(number), request.caller.login, body, request.caller.app)
    return 201, issue_comment_json(added)


@route("GET", r"issues/comments/(\d+)")
def get_issue_comment(standin: "Standin", request: Request, comment_id: str) -> Answer:
    request.need("issues")
    return 200, issue_comment_json(_issue_comment(standin, comment_id))


@route("PATCH", r"issues/comments/(\d+)")
def update_issue_comment(standin: "Standin", request: Request, comment_id: str) -> Answer:
    comment = _issue_comment(standin, comment_id)
    standin.need_issue(request, str(comment["number"]), "write")
    if comment["login"] != request.caller.login:
        raise Refused(403, "Resource not accessible by integration")
    comment["body"] = check_text(request.body.get("body"))
    return 200, issue_comment_json(comment)


def is_public(comment: dict[str, Any]) -> bool:
    return bool(comment["review"]["state"] != "PENDING")


def _comment(standin: "Standin", comment_id: str) -> dict[str, Any]:
    for comment in standin.comments:
        if comment["id"] == int(comment_id) and is_public(comment):
            return comment
    raise Refused(404, "Not Found")


def _issue_comment(standin: "Standin", comment_id: str) -> dict[str, Any]:
    for comment in standin.issue_comments:
        if comment["id"] == int(comment_id):
            return comment
    raise Refused(404, "Not Found")


def comment_json(comment: dict[str, Any]) -> dict[str, Any]:
    """A comment on a line as GitHub shows it, in answers and in deliveries."""
    link = {"href": SOMEWHERE}
    shown = {
        "id": comment["id"],
        "node_id": "n",
        "pull_request_review_id": comment["review"]["id"],
        "diff_hunk": comment["hunk"],
        "path": comment["path"],
        "line": comment["line"],
        "original_line": comment["line"],
        "side": comment["side"],
        "position": 1,
        "original_position": 1,
        "commit_id": comment["review"].get("commit_id", "0" * 40),
        "original_commit_id": comment["review"].get("commit_id", "0" * 40),
        "user": user(comment["login"], bot=comment["app"] is not None),
        "body": comment["body"],
        "author_association": "CONTRIBUTOR",
        "_links": {"self": link, "html": link, "pull_request": link},
        **dict.fromkeys(("created_at", "updated_at"), WHEN),
        **dict.fromkeys(("url", "html_url", "pull_request_url"), SOMEWHERE),
    }
    if comment["in_reply_to_id"] is not None:
        shown["in_reply_to_id"] = comment["in_reply_to_id"]
    return shown


def issue_comment_json(comment: dict[str, Any]) -> dict[str, Any]:
    """A comment on an issue or a whole pull request as GitHub shows it, in answers and in deliveries."""
    return {
        "id": comment["id"],
        "node_id": "n",
        "body": comment["body"],
        "user": user(comment["login"], bot=comment["app"] is not None),
        "author_association": "CONTRIBUTOR",
        **dict.fromkeys(("created_at", "updated_at"), WHEN),
        **dict.fromkeys(("url", "html_url", "issue_url"), SOMEWHERE),
    }
