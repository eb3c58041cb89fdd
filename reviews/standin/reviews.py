"""Reviews at the stand-in: one that is pending for each account, comments on lines of the diff alone."""

from typing import TYPE_CHECKING, Any

from reviews.standin.anchors import is_anchored
from reviews.standin.rules import (
    MAX_BODY_CHARACTERS,
    SOMEWHERE,
    WHEN,
    Answer,
    Refused,
    Request,
    check_text,
    page,
    route,
    user,
)

if TYPE_CHECKING:
    from reviews.standin.server import Standin

ONE_PENDING = "User can only have one pending review per pull request"


@route("GET", r"pulls/(\d+)/reviews")
def list_reviews(standin: "Standin", request: Request, number: str) -> Answer:
    request.need("pull_requests")
    found = [review for review in _reviews(standin, number) if _visible(review, request)]
    return 200, page([_shown(review) for review in found], request.query)


@route("POST", r"pulls/(\d+)/reviews")
def create_review(standin: "Standin", request: Request, number: str) -> Answer:
    request.need("pull_requests", "write")
    pull, body = standin.pull(number), request.body
    refuse_second_pending(standin, request, number)
    commit, comments = body.get("commit_id", pull["head"]), body.get("comments", [])
    if not standin.has_commit(pull, commit):
        raise Refused(422, "Unprocessable Entity", "commit_id is not part of the pull request")
    if len(body.get("body") or "") > MAX_BODY_CHARACTERS:
        check_text(body["body"])
    if not body.get("body") and body.get("event") == "COMMENT" and not comments:
        raise Refused(422, "Unprocessable Entity", "Body can't be blank")
    patches = {entry["filename"]: entry.get("patch", "") for entry in standin.files(pull, commit)} if comments else {}
    for comment in comments:
        check_text(comment.get("body"))
        check_anchor(comment, patches.get(comment["path"], ""))
    review = {
        "id": standin.new_id(),
        "number": int(number),
        "state": "COMMENTED" if body.get("event") else "PENDING",
        "body": body.get("body") or "",
        "commit_id": commit,
        "comments": comments,
        "login": request.caller.login,
        "app": request.caller.app,
    }
    standin.reviews.append(review)
    for comment in comments:
        add_comment(standin, review, comment, _around(patches[comment["path"]]))
    return 200, _shown(review)


@route("POST", r"pulls/(\d+)/reviews/(\d+)/events")
def submit_review(standin: "Standin", request: Request, number: str, review_id: str) -> Answer:
    request.need("pull_requests", "write")
    review = _own(standin, request, number, review_id)
    if review["state"] != "PENDING":
        raise Refused(422, "Unprocessable Entity", "Could not submit: the review is not pending")
    review["body"] = request.body.get("body") or review["body"]
    if not review["body"] and not review["comments"]:
        raise Refused(422, "Unprocessable Entity", "Could not submit: the review has no content")
    review["state"] = "COMMENTED"
    return 200, _shown(review)


@route("PUT", r"pulls/(\d+)/reviews/(\d+)")
def update_review(standin: "Standin", request: Request, number: str, review_id: str) -> Answer:
    request.need("pull_requests", "write")
    review = _own(standin, request, number, review_id)
    review["body"] = check_text(request.body.get("body"))
    return 200, _shown(review)


@route("DELETE", r"pulls/(\d+)/reviews/(\d+)")
def delete_review(standin: "Standin", request: Request, number: str, review_id: str) -> Answer:
    request.need("pull_requests", "write")
    review = _own(standin, request, number, review_id)
    if review["state"] != "PENDING":
        raise Refused(422, "Can not delete a non-pending pull request review")
    standin.reviews.remove(review)
    standin.comments[:] = [found for found in standin.comments if found["review"] is not review]
    return 200, _shown(review)


def refuse_second_pending(standin: "Standin", request: Request, number: str) -> None:
    login = request.caller.login
    if any(found["state"] == "PENDING" and found["login"] == login for found in _reviews(standin, number)):
        raise Refused(422, "Unprocessable Entity", ONE_PENDING)


def add_comment(standin: "Standin", review: dict[str, Any], comment: dict[str, Any], hunk: str) -> dict[str, Any]:
    added = {
        "id": standin.new_id(),
        "number": review["number"],
        "review": review,
        "path": comment["path"],
        "line": comment["line"],
        "side": comment.get("side", "RIGHT"),
        "body": comment["body"],
        "login": review["login"],
        "app": review["app"],
        "in_reply_to_id": None,
        "hunk": hunk,
    }
    standin.comments.append(added)
    return added


def check_anchor(comment: dict[str, Any], patch: str) -> None:
    """Raises Refused, without naming the comment, just as GitHub does."""
    if not is_anchored(comment, patch):
        raise Refused(422, "Unprocessable Entity", "Pull request review thread line must be part of the diff")


def _around(patch: str) -> str:
    return "\n".join(patch.split("\n")[:12])


def _reviews(standin: "Standin", number: str) -> list[dict[str, Any]]:
    return [review for review in standin.reviews if review["number"] == int(number)]


def _visible(review: dict[str, Any], request: Request) -> bool:
    return bool(review["state"] != "PENDING" or review["login"] == request.caller.login)


def _own(standin: "Standin", request: Request, number: str, review_id: str) -> dict[str, Any]:
    for review in _reviews(standin, number):
        if review["id"] == int(review_id) and _visible(review, request):
            return review
    raise Refused(404, "Not Found")


def _shown(review: dict[str, Any]) -> dict[str, Any]:
    link = {"href": SOMEWHERE}
    shown = {
        "id": review["id"],
        "node_id": "n",
        "user": user(review["login"], bot=review["app"] is not None),
        "body": review["body"],
        "state": review["state"],
        "html_url": SOMEWHERE,
        "pull_request_url": SOMEWHERE,
        "_links": {"html": link, "pull_request": link},
        "commit_id": review["commit_id"],
        "author_association": "NONE",
    }
    return shown if review["state"] == "PENDING" else {**shown, "submitted_at": WHEN}
