"""Django's settings: wiring only. Every value that differs between machines comes from the environment."""

from typing import Any

from django.templatetags.static import static

from config import environment as read

BASE_DIR = read.BASE_DIR
PORT = read.text("PORT", "8000")
DATA_DIR = read.data_folder()
SOCKET_DIR = read.socket_folder(DATA_DIR)

DEBUG = read.flag("DEBUG", False)
SECRET_KEY = read.secret_key(DATA_DIR)
ALLOWED_HOSTS = read.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = read.words("CSRF_TRUSTED_ORIGINS")
PUBLIC_URL = read.url("PUBLIC_URL", ("https", "http"))

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "csp",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_celery_results",
    "jobs",
    "embeddings",
    "reminders",
    "reviews",
]

MIDDLEWARE = [
    "jobs.health.HealthMiddleware",
    "jobs.postgres.limits.DatabaseLimits",
    "jobs.watch.scrape.MetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "jobs.api.slashes.SlashMiddleware",  # Django's CommonMiddleware, with another redirect
    "jobs.login_limit.LoginLimit",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "jobs.csp.ContentSecurityPolicyMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Postgres: embedded on a Unix socket unless DATABASE_URL points elsewhere -------------------------------------

DATABASE_URL = read.url("DATABASE_URL", ("postgres", "postgresql", "pgsql"))
EMBEDDED_POSTGRES = not DATABASE_URL
DATABASES: dict[str, dict[str, Any]] = {
    "default": read.env.db_url_config(DATABASE_URL)
    if DATABASE_URL
    else {
        "NAME": "switchyard",
        "USER": "switchyard",
        "HOST": str(SOCKET_DIR / "pg"),
    }
}
# Django's own, with connections that can be limited in how long they wait for an answer.
DATABASES["default"]["ENGINE"] = "jobs.postgres"
# A peer that vanished without a word is noticed after about ten seconds; Unix sockets have no use for these.
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    **DATABASES["default"].get("OPTIONS", {}),
}
DATABASE_ANSWER_SECONDS = read.whole_number("DATABASE_ANSWER_SECONDS", 10, least=1)
DATABASES["default"]["CONN_MAX_AGE"] = read.whole_number("CONN_MAX_AGE", 60)
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis or Valkey: embedded on a Unix socket unless REDIS_URL or BROKER_URL point elsewhere ---------------------

BROKER_URL = read.url("BROKER_URL", ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps")) or read.url(
    "REDIS_URL", ("redis", "rediss", "redis+socket", "sentinel")
)
EMBEDDED_REDIS = not BROKER_URL
CELERY_BROKER_URL = BROKER_URL or f"redis+socket://{SOCKET_DIR / 'valkey' / 'valkey.sock'}"

# --- Celery: jobs.worker.app reads these; lanes, queues and routes come from jobs.lanes ----------------------------

CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_BACKEND = "jobs.ledger.backend:LedgerBackend"
CELERY_RESULT_EXTENDED = True
CELERY_RESULT_EXPIRES = 24 * 3600
CELERY_IMPORTS = read.words("TASK_MODULES")  # further modules with tasks, beside each app's tasks.py
CELERY_TIMEZONE = read.time_zone("TIME_ZONE", "UTC")
CELERY_ENABLE_UTC = True
CELERY_TASK_SOFT_TIME_LIMIT = 180
CELERY_TASK_TIME_LIMIT = 300
CELERY_TASK_SEND_SENT_EVENT = True
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_TASK_TRACK_STARTED = False  # the claim says so, in the same statement
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 60  # of a child at its start; Celery's 4 s is short for a busy machine
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# What Celery puts in the place of stderr logs what is written to it; a log that is set up again, as Django does with
# each loading of tasks, would then write to itself, and nothing would be seen any more.
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = True  # a Redis that is full, or read-only in a failover, is like one that is away
CELERY_BEAT_SCHEDULER = "jobs.schedules.scheduler:LedgerScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
DJANGO_CELERY_BEAT_TZ_AWARE = True
DJANGO_CELERY_RESULTS_TASK_ID_MAX_LENGTH = 255

# --- Security ------------------------------------------------------------------------------------------------------

HTTPS = read.flag("HTTPS", False)
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if read.flag("BEHIND_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
# GitHub sends up to 25 MB; Django's own limit of 2.5 MB would refuse it.
DATA_UPLOAD_MAX_MEMORY_SIZE = 26 * 1024 * 1024

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}
# What unfold's Alpine and its style attributes need, added under /admin/ alone (see jobs.csp).
ADMIN_CONTENT_SECURITY_POLICY = {"script-src": ["'unsafe-eval'"], "style-src": ["'unsafe-inline'"]}

# --- Mail and watching ---------------------------------------------------------------------------------------------

EMAIL_URL = read.url("EMAIL_URL", ("smtp", "smtp+tls", "smtp+ssl"))
_mail = read.mail_server(EMAIL_URL)
EMAIL_HOST, EMAIL_PORT = _mail.host, _mail.port  # no host: no mail is sent
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail.user, _mail.password
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.starttls, _mail.tls
DEFAULT_FROM_EMAIL = SERVER_EMAIL = read.text("MAIL_FROM", "switchyard@localhost")
METRICS_TOKEN = read.token("METRICS_TOKEN")
ALERT_WEBHOOK_HOSTS = read.words("ALERT_WEBHOOK_HOSTS")

# --- Pages and files -----------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = read.time_zone("TIME_ZONE", "UTC")
USE_I18N = False
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Switchyard",
    "SITE_HEADER": "Switchyard",
    "SITE_SUBHEADER": "Background jobs",
    "SITE_SYMBOL": "conversion_path",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("jobs/favicon.svg")},
    ],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "ENVIRONMENT": "jobs.admin.navigation.environment_label",
    "DASHBOARD_CALLBACK": "jobs.admin.control_room.control_room",
    "STYLES": [lambda request: static("jobs/admin.css")],
    "SCRIPTS": [lambda request: static("jobs/admin.js")],
    "SIDEBAR": {"command_search": True, "navigation": "jobs.admin.navigation.sidebar"},
    "COMMAND": {"search_callback": "jobs.admin.navigation.jump"},
    "COLORS": {
        "primary": {
            "50": "#eff6ff",
            "100": "#dbeafe",
            "200": "#bfdbfe",
            "300": "#93c5fd",
            "400": "#60a5fa",
            "500": "#3b82f6",
            "600": "#2563eb",
            "700": "#1d4ed8",
            "800": "#1e40af",
            "900": "#1e3a8a",
            "950": "#172554",
        }
    },
}

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "jobs.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["jobs.api.parsers.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "jobs.api.pagination.NewestFirst",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "jobs.api.problems.problem_details",
    "DEFAULT_THROTTLE_CLASSES": [
        "rest_framework.throttling.AnonRateThrottle",
        "rest_framework.throttling.UserRateThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {
        "anon": read.rate("API_RATE_ANONYMOUS", "60/min"),
        "user": read.rate("API_RATE_USER", "6000/min"),
    },
    # Whose address counts against the anonymous rate: a forwarded one only where a proxy wrote it.
    "NUM_PROXIES": 1 if read.flag("BEHIND_PROXY", False) else 0,
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Switchyard",
    "DESCRIPTION": "Background jobs on a ledger: enqueue, watch, retry, cancel.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "JobState": "jobs.models.job.State.choices",
        "EffectState": "jobs.models.effect.EffectState.choices",
        "AlertKind": "jobs.models.alert.AlertKind.choices",
        "AlertEventKind": "jobs.models.alert.AlertEventKind.choices",
        "AlertState": ["disabled", "ok", "pending", "firing"],
        "DeliveryState": "jobs.models.alert.DeliveryState.choices",
        "WorkerState": ["alive", "silent", "stopped"],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "jobs.api.schema.add_problems",
    ],
}

# --- Logging: one line an event; `manage.py up` colours it ----------------------------------------------------------

LOG_LEVEL = read.one_of("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"brief": {"()": "jobs.log.RefusalsInOneLine"}},
    "formatters": {"line": {"format": "{levelname:<7} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["brief"]}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "celery.app.trace": {"level": "WARNING"},  # the ledger tells what ran; a line a job drowns the rest
        "celery.worker.strategy": {"level": "WARNING"},
        # It warns of every delayed job that quorum queues could not delay; the ledger delays it.
        "celery.app.base": {"level": "ERROR"},
        "django.server": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
    },
}

# --- Switchyard's own ------------------------------------------------------------------------------------------------

JOBS: dict[str, Any] = {
    "RESULT_HOURS": read.whole_number("RESULT_HOURS", 24, least=1),
    "KEEP_SUCCEEDED_DAYS": read.whole_number("KEEP_SUCCEEDED_DAYS", 14, least=1),
    "KEEP_FAILED_DAYS": read.whole_number("KEEP_FAILED_DAYS", 90, least=1),
    "SELFTEST_HOSTS": read.words("SELFTEST_HOSTS"),
    "LEASE_SECONDS": read.whole_number("LEASE_SECONDS", 12, least=2),
    "DRAIN_SECONDS": read.whole_number("DRAIN_SECONDS", 30, least=0),
    "CANCEL_SOFT_SECONDS": read.whole_number("CANCEL_SOFT_SECONDS", 5, least=0),
    "CANCEL_KILL_SECONDS": read.whole_number("CANCEL_KILL_SECONDS", 10, least=0),
}
GITHUB = {
    "WEBHOOK_SECRET": read.text("GITHUB_WEBHOOK_SECRET", ""),
    "TOKEN": read.text("GITHUB_TOKEN", ""),
    "API_URL": read.url("GITHUB_API_URL", ("https", "http"), "https://api.github.com"),
}
