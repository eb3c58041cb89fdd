"""Django's settings: wiring only. Every value that differs between machines comes from the environment."""

from typing import Any

from django.templatetags.static import static

from config import environment as read
from config import openapi

BASE_DIR = read.BASE_DIR
PORT = read.text("PORT", "8000")
DATA_DIR = read.data_folder()
SOCKET_DIR = read.socket_folder(DATA_DIR)

DEBUG = read.flag("DEBUG", False)
SECRET_KEY = read.secret_key(DATA_DIR)
# Former keys, separated by commas: what was signed or encrypted with one of them stays readable.
SECRET_KEY_FALLBACKS = [key for key in read.text("SECRET_KEY_FALLBACKS", "").split(",") if key]
ALLOWED_HOSTS = read.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = read.words("CSRF_TRUSTED_ORIGINS")
PUBLIC_URL = read.url("PUBLIC_URL", ("https", "http"))

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin.apps.SimpleAdminConfig",
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

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # What is limited by its rate: counted in the broker if it is a Redis, else in each process by itself.
    "rates": {
        "BACKEND": "jobs.rates.RateCache",
        "LOCATION": CELERY_BROKER_URL,
        "KEY_PREFIX": "switchyard:rates",
    },
}

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

# --- Reminders -----------------------------------------------------------------------------------------------------

REMINDERS = {
    # How long what was sent of closed tasks, or for former dates, is kept.
    "KEEP_DAYS": read.whole_number("KEEP_REMINDERS_DAYS", 400, least=2),
}
REMINDER_WEBHOOK_HOSTS = read.words("REMINDER_WEBHOOK_HOSTS")
APPRISE_SCHEMES = read.words(
    "APPRISE_SCHEMES",
    "discord,flock,gchat,ifttt,line,ntfy,ntfys,opsgenie,pagerduty,pbul,pover,prowl,pushy,signl4,simplepush,slack,spush,tgram,"
    "twilio,webex,wxteams",
)
VIRTUAL_CLOCK = read.text("VIRTUAL_CLOCK", "")  # a file with the time, for simulations alone
ATTACHMENTS: dict[str, Any] = {
    "MAX_BYTES": read.whole_number("ATTACHMENT_MAX_BYTES", 26_214_400, least=1),
    # Names of reminders.files.kinds, as they are found in a file's content; empty: all of them.
    "TYPES": read.words("ATTACHMENT_TYPES"),
    # Where uploads lie until they are looked through; on the disk of this host.
    "QUARANTINE_DIR": DATA_DIR / "attachments" / "quarantine",
    # clamd: tcp://HOST:3310 or unix:///PATH. Empty: nothing is scanned.
    "CLAMAV": read.url("CLAMAV", ("tcp", "unix")),
    # Whether files are served that no scanner has seen, as there is none.
    "SERVE_UNSCANNED": read.flag("SERVE_UNSCANNED", False),
}

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
    # Index versions, for every host to fetch: a folder, or by INDEX_STORAGE a bucket.
    "indexes": read.storage("INDEX_STORAGE", DATA_DIR / "indexes" / "published"),
    # Attached files by their SHA-256; what is written again is the same.
    "attachments": read.storage(
        "ATTACHMENT_STORAGE", DATA_DIR / "attachments" / "stored", allow_overwrite=True, file_permissions_mode=0o600
    ),
}
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
# Where passwords may be guessed at: see jobs.login_limit.
LOGIN_PAGES = ["admin:login", "pages:login"]

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
        "jobs.rates.AnonymousThrottle",
        "jobs.rates.UserThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {
        "anon": read.rate("API_RATE_ANONYMOUS", "60/min"),
        "user": read.rate("API_RATE_USER", "6000/min"),
    },
    # Whose address counts against the anonymous rate: a forwarded one only where a proxy wrote it.
    "NUM_PROXIES": 1 if read.flag("BEHIND_PROXY", False) else 0,
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = openapi.DOCUMENT

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
        "httpx2": {"level": "WARNING"},  # a line a request
        "anthropic": {"level": "WARNING"},  # at DEBUG they write whole requests
        "openai": {"level": "WARNING"},
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
EMBEDDINGS: dict[str, Any] = {
    # auto: minilm where its weights are installed, else ngram, which needs none.
    "ENCODER": read.text("EMBEDDING_ENCODER", "auto"),
    # A folder with model.safetensors, config.json and tokenizer.json; empty: the installed package of weights.
    "WEIGHTS": read.text("EMBEDDING_WEIGHTS", ""),
    # Encoders as built and static tables as fitted, by digest.
    "ENCODERS_DIR": read.folder("ENCODERS_DIR", DATA_DIR / "encoders"),
    # This host's copies of index versions, and where builds work.
    "INDEXES_DIR": DATA_DIR / "indexes",
    "BATCH_CHUNKS": read.whole_number("EMBEDDING_BATCH_CHUNKS", 256, least=1),
    # A thread in each web process that follows what it searches; without it, searches look by themselves.
    "LISTENER": read.flag("SEARCH_LISTENER", True),
    "OPENAI_API_KEY": read.text("OPENAI_API_KEY", ""),
    "OPENAI_BASE_URL": read.url("OPENAI_BASE_URL", ("https", "http"), "https://api.openai.com/v1"),
    # Unless it is told, OpenAI's text-embedding-3-small; another endpoint is taken to cost nothing.
    "DOLLARS_PER_MILLION_TOKENS": read.amount(
        "EMBEDDING_DOLLARS_PER_MILLION_TOKENS", 0.0 if read.text("OPENAI_BASE_URL", "") else 0.02
    ),
}
GITHUB = {
    "WEBHOOK_SECRET": read.text("GITHUB_WEBHOOK_SECRET", ""),
    "TOKEN": read.text("GITHUB_TOKEN", ""),
    "API_URL": read.url("GITHUB_API_URL", ("https", "http"), "https://api.github.com"),
}
REVIEWS: dict[str, Any] = {
    # Bare clones of the repositories that are reviewed.
    "MIRRORS_DIR": DATA_DIR / "mirrors",
    # One that would be larger is made without its past; one that is larger even so is not made.
    "MIRROR_MAX_BYTES": read.whole_number("MIRROR_MAX_MB", 4096, least=1) << 20,
    # For language models whose row in the admin has no key of its own.
    "ANTHROPIC_API_KEY": read.text("ANTHROPIC_API_KEY", ""),
    "OPENAI_API_KEY": read.text("OPENAI_API_KEY", ""),
    # With such a key, the model of a provider `anthropic` or `openai` that is made when it is first asked for.
    "ANTHROPIC_MODEL": read.text("ANTHROPIC_MODEL", ""),
    "OPENAI_MODEL": read.text("OPENAI_MODEL", ""),
    "KEEP_DELIVERIES_DAYS": read.whole_number("KEEP_DELIVERIES_DAYS", 30, least=1),
    # Pull requests that are closed, counted from their last event, with their reviews, findings and replies.
    "KEEP_CLOSED_DAYS": read.whole_number("KEEP_CLOSED_DAYS", 180, least=1),
    # An issue that is edited at GitHub is enriched when nobody has edited it for so long.
    "ISSUE_GRACE_SECONDS": read.whole_number("ISSUE_GRACE_SECONDS", 120, least=0),
    # Git repositories whose histories `manage.py bench reviews` reviews, beside those that are given to it.
    "BENCH_REPOSITORIES": read.words("BENCH_REPOSITORIES"),
}
