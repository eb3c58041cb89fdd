"""Comments: on lines of a pull request, and on issues and pull requests as a whole."""

from collections.abc import Iterator
from typing import Any

from reviews.github.shapes import IssueComment, ReviewComment, app_id, is_bot, login, new_id, read, text
from reviews.github.transport import Part, repo_path


class Comments(Part):
    def review_comments(self, full_name: str, number: int) -> Iterator[ReviewComment]:
        """All comments on lines of a pull request, oldest first; of a thread, see `ReviewComment.thread_id`."""
        for entry in self._transport.pages(repo_path(full_name, f"pulls/{number:d}/comments")):
            yield read("a list of review comments", review_comment, entry)

    def review_comment(self, full_name: str, comment_id: int) -> ReviewComment:
        path = repo_path(full_name, f"pulls/comments/{comment_id:d}")
        return read("a review comment", review_comment, self._transport.get(path))

    def thread(self, full_name: str, number: int, thread_id: int) -> list[ReviewComment]:
        """The comments of the thread that begins with a comment, oldest first."""
        return [found for found in self.review_comments(full_name, number) if found.thread_id == thread_id]

    def reply(self, full_name: str, number: int, thread_id: int, body: str) -> int:
        """Answer in a thread; the answer's id. thread_id: its first comment, GitHub takes no other."""
        path = repo_path(full_name, f"pulls/{number:d}/comments/{thread_id:d}/replies")
        return read("a reply", new_id, self._transport.post(path, {"body": body}))

    def issue_comments(self, full_name: str, number: int) -> Iterator[IssueComment]:
        """Comments on an issue, or on a pull request as a whole, oldest first."""
        for entry in self._transport.pages(repo_path(full_name, f"issues/{number:d}/comments")):
            yield read("a list of comments", _issue_comment, entry)

    def issue_comment(self, full_name: str, comment_id: int) -> IssueComment:
        path = repo_path(full_name, f"issues/comments/{comment_id:d}")
        return read("a comment", _issue_comment, self._transport.get(path))

    def create_issue_comment(self, full_name: str, number: int, body: str) -> int:
        """Comment on an issue, or on a pull request as a whole; the comment's id."""
        path = repo_path(full_name, f"issues/{number:d}/comments")
        return read("a comment", new_id, self._transport.post(path, {"body": body}))

    def update_issue_comment(self, full_name: str, comment_id: int, body: str) -> None:
        self._transport.call("PATCH", repo_path(full_name, f"issues/comments/{comment_id:d}"), body={"body": body})


def review_comment(entry: Any) -> ReviewComment:
    own, review = int(entry["id"]), entry.get("pull_request_review_id")
    line = entry.get("line")
    return ReviewComment(
        id=own,
        thread_id=int(entry.get("in_reply_to_id") or own),
        review_id=None if review is None else int(review),
        path=str(entry["path"]),
        line=None if line is None else int(line),
        hunk=text(entry.get("diff_hunk")),
        author=login(entry.get("user")),
        author_is_bot=is_bot(entry.get("user")),
        association=text(entry.get("author_association")),
        body=text(entry.get("body")),
        commit_sha=text(entry.get("commit_id")),
        app_id=app_id(entry),
        created_at=text(entry.get("created_at")),
    )


def _issue_comment(entry: Any) -> IssueComment:
    return IssueComment(
        id=int(entry["id"]),
        author=login(entry.get("user")),
        author_is_bot=is_bot(entry.get("user")),
        association=text(entry.get("author_association")),
        body=text(entry.get("body")),
        app_id=app_id(entry),
        created_at=text(entry.get("created_at")),
    )
