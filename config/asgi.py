import os

from django.core.asgi import get_asgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_asgi_application()
# With all pages, before it serves: else its first request would wait for them.
_ = get_resolver().url_patterns
