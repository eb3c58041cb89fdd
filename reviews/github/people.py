"""Who may do what in a repository."""

from urllib.parse import quote

from reviews.github.errors import GitHubError
from reviews.github.shapes import read
from reviews.github.transport import Part, repo_path

NOT_FOUND = 404
WRITERS = frozenset({"admin", "write"})


class People(Part):
    def permission_of(self, full_name: str, login: str) -> str:
        """admin, write, read or none. `maintain` counts as write, `triage` as read; who has no account has none."""
        path = repo_path(full_name, f"collaborators/{quote(login, safe='')}/permission")
        try:
            answer = self._transport.get(path)
        except GitHubError as exc:
            if exc.status == NOT_FOUND:
                return "none"
            raise
        return read("a permission", lambda found: str(found["permission"]), answer)

    def may_write(self, full_name: str, login: str) -> bool:
        return self.permission_of(full_name, login) in WRITERS
