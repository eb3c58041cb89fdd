"""Threads at the stand-in, by GraphQL: listed, and marked as resolved."""

from typing import TYPE_CHECKING, Any

from reviews.standin.rules import Answer, Refused, Request, route

if TYPE_CHECKING:
    from reviews.standin.server import Standin


@route("POST", r"/graphql")
def graphql(standin: "Standin", request: Request) -> Answer:
    """The two operations that are used. Errors are answered with 200, as GitHub does."""
    query, variables = str(request.body["query"]), request.body["variables"]
    resolved: list[int] = standin.state.setdefault("resolved", [])
    if "resolveReviewThread" in query:
        request.need("pull_requests", "write")
        number = int(str(variables["thread"]).removeprefix("PRRT_"))
        if all(comment["id"] != number for comment in standin.comments):
            return 200, {"data": None, "errors": [{"type": "NOT_FOUND", "message": "Could not resolve to a node"}]}
        resolved.append(number)
        return 200, {"data": {"resolveReviewThread": {"thread": {"id": variables["thread"], "isResolved": True}}}}
    if "reviewThreads" not in query:
        raise Refused(400, "Unknown query")
    if f"{variables['owner']}/{variables['name']}" != standin.full_name:
        return 200, {"data": {"repository": None}, "errors": [{"type": "NOT_FOUND", "message": "No such repository"}]}
    threads = {"pageInfo": {"hasNextPage": False, "endCursor": None}, "nodes": _threads(standin, variables, resolved)}
    return 200, {"data": {"repository": {"pullRequest": {"reviewThreads": threads}}}}


def _threads(standin: "Standin", variables: dict[str, Any], resolved: list[int]) -> list[dict[str, Any]]:
    first = [
        comment
        for comment in standin.comments
        if comment["number"] == variables["number"] and comment["in_reply_to_id"] is None
    ]
    return [
        {
            "id": f"PRRT_{comment['id']}",
            "isResolved": comment["id"] in resolved,
            "comments": {"nodes": [{"databaseId": comment["id"]}]},
        }
        for comment in first
    ]
