"""How the API reads a request's body."""

from collections.abc import Mapping
from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from jobs import strict_json

MAX_BODY_BYTES = 1_000_000


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."
    default_code = "body-too-large"


class StrictJSONParser(BaseParser):
    """JSON of at most 1 MB; see `jobs.strict_json` for what is refused, and what `mend` does."""

    media_type = "application/json"
    max_bytes = MAX_BODY_BYTES
    advice = "send ids instead of data"
    mend = True

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        body = stream.read(self.max_bytes + 1)
        if len(body) > self.max_bytes:
            raise BodyTooLarge(f"The body is larger than {self.max_bytes:,} bytes; {self.advice}.")
        try:
            return strict_json.loads(body, mend=self.mend)
        except strict_json.NotJson as exc:
            raise ParseError(f"The body is not JSON: {exc}.") from None
