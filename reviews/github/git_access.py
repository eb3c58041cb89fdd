"""Where git fetches from, and the credentials for it: in git's environment, never among its arguments."""

import base64
from urllib.parse import urlsplit

from reviews.github.shapes import GitRemote
from reviews.github.transport import Part, repo_path

PUBLIC_HOST = "api.github.com"


class GitAccess(Part):
    def git_remote(self, full_name: str) -> GitRemote:
        """Over HTTPS, with the token of the moment. Raises GitHubError.

        The environment sets what `git -c http.URL.extraHeader=…` would, for this address alone: a redirect to another
        host does not get it. Source: git-config(1), GIT_CONFIG_COUNT.
        """
        repo_path(full_name)
        server = web_url(self._transport.api_url)
        pair = base64.b64encode(f"x-access-token:{self._transport.current_token()}".encode()).decode("ascii")
        settings = {
            f"http.{server}/.extraHeader": f"Authorization: Basic {pair}",
            "http.followRedirects": "initial",
            "credential.helper": "",
        }
        environment = {"GIT_CONFIG_COUNT": str(len(settings))}
        for number, (name, value) in enumerate(settings.items()):
            environment[f"GIT_CONFIG_KEY_{number}"] = name
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        return GitRemote(f"{server}/{full_name}.git", environment)


def web_url(api_url: str) -> str:
    """The address of pages and of git: https://github.com, or https://HOST of GitHub Enterprise."""
    parts = urlsplit(api_url)
    host = "github.com" if parts.netloc == PUBLIC_HOST else parts.netloc.removeprefix("api.")
    return f"{parts.scheme}://{host}"
