"""Threads of review comments: only GraphQL can mark one as resolved.

Source: https://docs.github.com/graphql/reference/mutations#resolvereviewthread.
"""

from typing import Any

from reviews.github.errors import GitHubError, GitHubRefused
from reviews.github.refusals import SECONDARY_LIMIT_SECONDS
from reviews.github.shapes import read
from reviews.github.transport import Part, repo_path
from reviews.services.throttle import Throttled

MAX_PAGES = 20
_LIMITED = ("RATE_LIMITED", "RATE_LIMIT")
_LASTING = ("FORBIDDEN", "INSUFFICIENT_SCOPES", "NOT_FOUND", "UNPROCESSABLE")

_THREADS = """
query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) { pullRequest(number: $number) {
    reviewThreads(first: 100, after: $after) {
      pageInfo { hasNextPage endCursor }
      nodes { id isResolved comments(first: 1) { nodes { databaseId } } }
    }
  } }
}
"""
_RESOLVE = "mutation($thread: ID!) { resolveReviewThread(input: {threadId: $thread}) { thread { id isResolved } } }"


class Threads(Part):
    def resolve_threads(self, full_name: str, number: int, first_comments: set[int]) -> int:
        """Mark the threads that begin with these comments as resolved; how many were open. Raises GitHubError."""
        open_ones = [thread for first, thread in self._open_threads(full_name, number) if first in first_comments]
        for thread in open_ones:
            self._graphql(_RESOLVE, {"thread": thread})
        return len(open_ones)

    def _open_threads(self, full_name: str, number: int) -> list[tuple[int, str]]:
        """(first comment, thread's id in GraphQL) of the threads that nobody has resolved."""
        repo_path(full_name)
        owner, name = full_name.split("/")
        after, found = None, []
        for _ in range(MAX_PAGES):
            variables = {"owner": owner, "name": name, "number": number, "after": after}
            page = read("review threads", _page, self._graphql(_THREADS, variables))
            found += read("review threads", _open, page)
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        return found

    def _graphql(self, query: str, variables: dict[str, Any]) -> Any:
        answer = self._transport.post(self._transport.graphql_url, {"query": query, "variables": variables})
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if errors:
            raise read("GraphQL", _error, errors)
        return read("GraphQL", lambda found: found["data"], answer)


def _error(errors: Any) -> Exception:
    """GraphQL says with 200 and a word what REST says by its status."""
    said, kind = f"GraphQL: GitHub answered: {str(errors[0]['message'])[:200]}", errors[0].get("type")
    if kind in _LIMITED:
        return Throttled(SECONDARY_LIMIT_SECONDS, said)
    return GitHubRefused(said) if kind in _LASTING else GitHubError(said)


def _page(data: Any) -> Any:
    return data["repository"]["pullRequest"]["reviewThreads"]


def _open(page: Any) -> list[tuple[int, str]]:
    nodes = [node for node in page["nodes"] if not node["isResolved"] and node["comments"]["nodes"]]
    return [(int(node["comments"]["nodes"][0]["databaseId"]), str(node["id"])) for node in nodes]
