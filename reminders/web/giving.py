"""How contents go out: to be saved, never to be shown or run in our pages' name."""

from typing import Any

from django.http import FileResponse

from reminders.files import thumbnails
from reminders.models import Attachment

_POLICY = "sandbox; default-src 'none'"


def given_out(attachment: Attachment, file: Any) -> FileResponse:
    """A content as a download under its name (RFC 6266)."""
    content_type = attachment.blob.content_type
    response = FileResponse(file, as_attachment=True, filename=attachment.name, content_type=content_type)
    response["Content-Length"] = str(attachment.blob.size)
    return _hardened(response)


def shown_thumbnail(attachment: Attachment, file: Any) -> FileResponse:
    """A thumbnail, which may be shown in our own pages: it was encoded here."""
    response = FileResponse(file, content_type=thumbnails.CONTENT_TYPE)
    response["Content-Disposition"] = f'inline; filename="thumbnail-{attachment.pk}.webp"'
    return _hardened(response)


def _hardened(response: FileResponse) -> FileResponse:
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = _POLICY
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    response["Cache-Control"] = "no-store, private"
    response["X-Frame-Options"] = "DENY"
    return response
