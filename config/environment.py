"""Reads the environment, and refuses a wrong value instead of guessing."""

import hashlib
import math
import os
import re
import tempfile
import zoneinfo
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

#: Characters of a secret that callers send.
LEAST_TOKEN = 24

env = environ.Env()
# An empty SWITCHYARD_ENV_FILE means none; what the environment sets wins over the file.
_env_file = os.environ.get("SWITCHYARD_ENV_FILE", str(BASE_DIR / ".env"))
if _env_file and Path(_env_file).is_file():
    environ.Env.read_env(_env_file)
elif os.environ.get("SWITCHYARD_ENV_FILE"):
    raise ImproperlyConfigured(f"SWITCHYARD_ENV_FILE={_env_file} is not a file; leave it empty to read none")


def text(name: str, default: str) -> str:
    """Read a value as it stands, a leading $ included; an empty one counts as not set."""
    return os.environ.get(name, "").strip() or default


def flag(name: str, default: bool) -> bool:
    value = text(name, "true" if default else "false").lower()
    if value in {"true", "yes", "on", "1"}:
        return True
    if value in {"false", "no", "off", "0"}:
        return False
    raise ImproperlyConfigured(f"{name}={value!r} is neither true nor false; set it to true or false")


def whole_number(name: str, default: int, *, least: int = 0) -> int:
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name}={value!r} is not a whole number; the default is {default}") from None
    if number < least:
        raise ImproperlyConfigured(f"{name}={number} is less than {least}; the default is {default}")
    return number


def amount(name: str, default: float) -> float:
    """Read a number that may have a fraction, and is not negative."""
    value = text(name, str(default))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ImproperlyConfigured(f"{name}={value!r} is not a number of 0 or more; the default is {default:g}")
    return number


def words(name: str, default: str = "") -> list[str]:
    """Read a comma-separated list; empty items are dropped."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def one_of(name: str, default: str, choices: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name}={value!r} is not known; choose from: {', '.join(choices)}")
    return value


def url(name: str, schemes: tuple[str, ...], default: str = "") -> str:
    """Read a URL, or several with semicolons between, as Kombu takes them.

    Raises ImproperlyConfigured, without the URL's password, when a scheme is not one of `schemes` or it is malformed.
    """
    value = text(name, default)
    for part in value.split(";") if value else []:
        scheme, separator, _ = part.partition("://")
        if not separator or scheme not in schemes:
            found = f"{name} starts with {scheme!r}" if separator else f"{name} is not a URL"
            raise ImproperlyConfigured(f"{found}; it must start with one of: {', '.join(schemes)}")
        try:
            urlsplit(part).port  # noqa: B018  (raises)
        except ValueError:
            raise ImproperlyConfigured(
                f"{name} is not a well-formed URL; percent-encode special characters in its user and password"
            ) from None
    return value


def folder(name: str, default: Path) -> Path:
    value = text(name, "")
    if not value:
        return default
    found = Path(value).expanduser()
    if not found.is_absolute():
        raise ImproperlyConfigured(f"{name}={value!r} is not an absolute path")
    return found


def storage(name: str, default: Path, **of_folder: Any) -> dict[str, Any]:
    """Read where files are kept that all hosts share, as an entry of Django's STORAGES.

    A path, or s3://BUCKET/PREFIX with django-storages' options as its query (s3://b/p?endpoint_url=http://minio:9000).
    of_folder: further options of a path's storage.
    """
    value = text(name, "")
    if not value.startswith("s3://"):
        location = str(folder(name, default))
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": location, **of_folder},
        }
    parts = urlsplit(value)
    if not parts.netloc:
        raise ImproperlyConfigured(f"{name} names no bucket; write s3://BUCKET/PREFIX")
    options = {"bucket_name": parts.netloc, "location": parts.path.strip("/"), **dict(parse_qsl(parts.query))}
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}


class MailServer(NamedTuple):
    """starttls: encrypted after a first word; tls: from the first byte."""

    host: str = ""
    port: int = 25
    user: str = ""
    password: str = ""
    starttls: bool = False
    tls: bool = False


def mail_server(address: str) -> MailServer:
    """What a URL says of it (smtp://, smtp+tls:// for STARTTLS, smtp+ssl://); nothing of an empty one."""
    if not address:
        return MailServer()
    found = env.email_url_config(address)
    starttls, tls = bool(found.get("EMAIL_USE_TLS")), bool(found.get("EMAIL_USE_SSL"))
    return MailServer(
        host=found["EMAIL_HOST"] or "localhost",
        port=found["EMAIL_PORT"] or (465 if tls else 587 if starttls else 25),
        user=found["EMAIL_HOST_USER"] or "",
        password=found["EMAIL_HOST_PASSWORD"] or "",
        starttls=starttls,
        tls=tls,
    )


def token(name: str) -> str:
    """Read a secret that callers send. Raises ImproperlyConfigured, without it, when it is easily guessed."""
    value = text(name, "")
    if value and len(value) < LEAST_TOKEN:
        raise ImproperlyConfigured(
            f"{name} has {len(value)} characters; make one of at least {LEAST_TOKEN}: openssl rand -hex 24"
        )
    return value


def time_zone(name: str, default: str) -> str:
    value = text(name, default)
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ImproperlyConfigured(f"{name}={value!r} is not a time zone; set one like Europe/Berlin or UTC") from None
    return value


def rate(name: str, default: str) -> str:
    """Read a number of requests and the time that they are counted over: 60/min."""
    value = text(name, default)
    if not re.fullmatch(r"[1-9]\d*/(s|sec|second|m|min|minute|h|hour|d|day)", value):
        raise ImproperlyConfigured(f"{name}={value!r} is not a rate; set one like {default}")
    return value


def data_folder() -> Path:
    """Where the embedded servers, the secret key and other state live (`DATA`)."""
    folder = Path(text("DATA", str(BASE_DIR / ".data"))).expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise ImproperlyConfigured(f"DATA={folder} is not a folder; name one that is, or that can be made")
    return folder


def socket_folder(data: Path) -> Path:
    """A short folder for Unix sockets, one for each data folder and account.

    A socket's path holds 107 bytes, and a checkout's path can be longer.
    """
    digest = hashlib.sha256(str(data).encode()).hexdigest()[:10]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # As root, Postgres runs as another account, which may not enter root's own runtime folder.
    if runtime and os.geteuid() != 0 and len(runtime) < 60 and os.access(runtime, os.W_OK):
        return Path(runtime) / f"switchyard-{digest}"
    base = "/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()  # noqa: S108  (0700, owner checked on use)
    return Path(base) / f"switchyard-{os.geteuid()}-{digest}"


def secret_key(data: Path) -> str:
    """The configured key, or the one that `manage.py up` keeps in the data folder.

    Raises ImproperlyConfigured when neither exists and no embedded system is meant.
    """
    configured = text("SECRET_KEY", "")
    if configured:
        if len(configured) < 50 and not flag("DEBUG", False):
            raise ImproperlyConfigured(
                "SECRET_KEY has fewer than 50 characters; make one with: python -c "
                '"import secrets; print(secrets.token_urlsafe(64))"'
            )
        return configured
    kept = data / "secret_key"
    try:
        return kept.read_text().strip()
    except FileNotFoundError:
        pass
    if text("DATABASE_URL", ""):
        raise ImproperlyConfigured("SECRET_KEY is not set; set it to at least 50 random characters")
    return create_secret_key(kept)


def create_secret_key(path: Path) -> str:
    import secrets

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    key = secrets.token_urlsafe(64)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was first
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(key)
    return key
