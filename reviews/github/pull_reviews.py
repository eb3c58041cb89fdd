"""Reviews: made pending, which only their author sees, then submitted."""

from collections.abc import Iterator
from typing import Any

from reviews.github.comments import review_comment
from reviews.github.shapes import PostedReview, ReviewComment, login, new_id, read, text
from reviews.github.transport import Part, repo_path


class Reviews(Part):
    def reviews(self, full_name: str, number: int) -> Iterator[PostedReview]:
        """All reviews, oldest first; of pending ones, ours alone."""
        for entry in self._transport.pages(repo_path(full_name, f"pulls/{number:d}/reviews")):
            yield read("a list of reviews", _review, entry)

    def create_review(
        self, full_name: str, number: int, *, head_sha: str, body: str, comments: list[dict[str, Any]]
    ) -> int:
        """Post a review that neither approves nor blocks; its id."""
        review = {"commit_id": head_sha, "body": body, "event": "COMMENT", "comments": comments}
        return self._new_review(full_name, number, review)

    def create_pending_review(
        self, full_name: str, number: int, *, head_sha: str, body: str, comments: list[dict[str, Any]]
    ) -> int:
        """A review that nobody else sees before it is submitted; its id.

        Each account has one at most on a pull request: GitHubError with status 422 where there is one already.
        """
        return self._new_review(full_name, number, {"commit_id": head_sha, "body": body, "comments": comments})

    def _new_review(self, full_name: str, number: int, review: dict[str, Any]) -> int:
        answer = self._transport.post(repo_path(full_name, f"pulls/{number:d}/reviews"), review)
        return read("a review", new_id, answer)

    def submit_review(self, full_name: str, number: int, review_id: int) -> int:
        """Publish a review that is still pending; its id."""
        path = repo_path(full_name, f"pulls/{number:d}/reviews/{review_id:d}/events")
        return read("a review", new_id, self._transport.post(path, {"event": "COMMENT"}))

    def update_review(self, full_name: str, number: int, review_id: int, body: str) -> None:
        """Replace the text of a submitted review."""
        path = repo_path(full_name, f"pulls/{number:d}/reviews/{review_id:d}")
        self._transport.call("PUT", path, body={"body": body})

    def delete_pending_review(self, full_name: str, number: int, review_id: int) -> None:
        """Throw away a review that is still pending; a submitted one is refused with 422."""
        self._transport.call("DELETE", repo_path(full_name, f"pulls/{number:d}/reviews/{review_id:d}"))

    def comments_of_review(self, full_name: str, number: int, review_id: int) -> Iterator[ReviewComment]:
        path = repo_path(full_name, f"pulls/{number:d}/reviews/{review_id:d}/comments")
        for entry in self._transport.pages(path):
            yield read("a list of review comments", review_comment, entry)


def _review(entry: Any) -> PostedReview:
    return PostedReview(
        id=int(entry["id"]),
        state=str(entry["state"]),
        body=text(entry.get("body")),
        author=login(entry.get("user")),
        commit_sha=text(entry.get("commit_id")),
    )
