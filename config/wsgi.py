import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
# With all pages, before it serves: else its first request would wait for them.
_ = get_resolver().url_patterns
