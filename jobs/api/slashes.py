"""Paths end with a slash; a request without one is sent there as it is."""

from http import HTTPStatus

from django.http import HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware


class PermanentRedirectAsItIs(HttpResponsePermanentRedirect):
    """308: a client repeats a POST as a POST. With Django's 301 it would send a GET, and be told 200."""

    status_code = HTTPStatus.PERMANENT_REDIRECT


class SlashMiddleware(CommonMiddleware):
    response_redirect_class = PermanentRedirectAsItIs
