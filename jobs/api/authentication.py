"""Who calls: a program with a bearer token. (A person with the admin's session is DRF's own SessionAuthentication.)"""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request
from rest_framework.throttling import AnonRateThrottle

from jobs.models import ApiToken
from jobs.operators import tokens
from jobs.rates import CountedTogether


class FailedTokenThrottle(CountedTogether, AnonRateThrottle):
    """Counts only tokens that were refused, so that guessing is slow and a good token never waits for a bad one."""

    scope = "failed_token"
    THROTTLE_RATES = {"failed_token": "20/min"}

    def get_cache_key(self, request: Request, view: object) -> str:
        # DRF's asks for the user, which is what is being found out here.
        return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request)}


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer swy_…`"""

    def authenticate(self, request: Request) -> tuple[object, ApiToken] | None:
        """Returns None without such a header. Raises AuthenticationFailed, or Throttled after too many of these."""
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        token = tokens.authenticate(words[1].decode("latin-1")) if len(words) == 2 else None
        if token is not None:
            return token.user, token
        # DRF counts requests only after authentication, so a guess would never be counted there.
        throttle = FailedTokenThrottle()
        if not throttle.allow_request(request, None):  # type: ignore[arg-type]
            raise Throttled(throttle.wait())
        raise AuthenticationFailed("The token is unknown, expired or revoked, or its account is not active.")

    def authenticate_header(self, request: Request) -> str:
        """Makes DRF answer 401 with WWW-Authenticate instead of 403."""
        return 'Bearer realm="Switchyard"'


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "jobs.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "Made by `manage.py create_token`."}
