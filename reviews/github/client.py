"""Everything that reviews ask GitHub for, of one installation or account."""

from reviews.github.checks import Checks
from reviews.github.comments import Comments
from reviews.github.git_access import GitAccess
from reviews.github.issues import Issues
from reviews.github.people import People
from reviews.github.pull_reviews import Reviews
from reviews.github.pulls import Contents, Pulls
from reviews.github.shapes import Account, Identity, read
from reviews.github.threads import Threads
from reviews.github.transport import Credentials, Transport


class GitHubClient(Pulls, Contents, Reviews, Comments, Threads, Checks, Issues, People, GitAccess):
    """One account's view of GitHub."""

    def __init__(
        self, api_url: str, token: "str | Credentials", *, limit_key: str = "", identity: Identity | None = None
    ) -> None:
        """limit_key: see `Transport`. identity: who we are, where it is known without asking."""
        super().__init__(Transport(api_url, token, limit_key=limit_key))
        self._identity = identity

    def identity(self) -> Identity:
        """Who we are: of a token, GitHub is asked once."""
        if self._identity is None:
            self._identity = Identity(self.account().login)
        return self._identity

    def account(self) -> Account:
        """Of a personal token: whose it is, as GitHub says now."""
        answer = self._transport.request("GET", "/user")
        scopes = answer.headers.get("x-oauth-scopes")
        named = None if scopes is None else tuple(scope.strip() for scope in scopes.split(",") if scope.strip())
        return read("an account", lambda found: Account(str(found["login"]), named), answer.body)
