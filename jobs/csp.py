"""The content security policy: strict everywhere, with one exception for the admin."""

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """django-csp's, which adds ADMIN_CONTENT_SECURITY_POLICY under /admin/.

    Unfold's bundled Alpine evaluates the expressions in its own templates and writes style attributes, so its pages
    need 'unsafe-eval' for scripts and 'unsafe-inline' for styles. Inline scripts and other hosts stay forbidden.
    """

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and parts.update is None and request.path.startswith(reverse("admin:index")):
            parts.update = settings.ADMIN_CONTENT_SECURITY_POLICY
        return parts
