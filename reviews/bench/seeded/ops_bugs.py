"""Bugs in shell scripts, Dockerfiles and workflows: (rules that tell it, code with a § on the line that is told)."""

SHELL_BUGS = (
    ("SC2115", 'rm -rf "$FOLDER/$NAME/"*\nrm -rf "$FOLDER/"§\n'.replace('rm -rf "$FOLDER/$NAME/"*\n', "")),
    ("SC1072", 'if [ -n "$HOME" ]; then§\n  echo home\n'),
    ("SC2050|SC2\\d+", 'if [ "HOME" = "x" ]; then§\n  echo x\nfi\n'),
    ("SC2071|SC2\\d+", 'if [ "$#" > 3 ]; then§\n  echo many\nfi\n'),
    ("SC2045|SC2\\d+", 'for file in $(ls /var); do§\n  echo "$file"\ndone\n'),
    ("SC2068|SC2\\d+", "printf '%s\\n' $@§\n"),
    ("SC2069", "make 2>&1 > build.log§\n"),
    ("SC2091|SC2\\d+", "if $(true); then§\n  echo yes\nfi\n"),
    ("SC2144|SC2\\d+", "if [ -e /var/log/*.log ]; then§\n  echo logs\nfi\n"),
    ("SC2157", "if [ -n \"text\" ]; then§\n  echo always\nfi\n"),
    ("SC2188|SC2\\d+", "> out.txt§\n"),
    ("SC2242|SC2\\d+", "exit five§\n"),
    ("SC1083|SC2\\d+|SC1\\d+", "echo {a}}§\n"),
    ("SC2320|SC2\\d+", 'echo start\nif [ $? -ne 0 ]; then§\n  exit 1\nfi\n'),
)  # fmt: skip
SHELL_CLEAN = (
    'rm -rf "${FOLDER:?}/"\n',
    'if [ -n "$HOME" ]; then\n  echo home\nfi\n',
    'for file in /var/*; do\n  echo "$file"\ndone\n',
    "printf '%s\\n' \"$@\"\n",
    "make > build.log 2>&1\n",
    'while IFS= read -r line; do\n  echo "$line"\ndone < /etc/hostname\n',
    "# only a note\n",
    'case "$HOME" in\n  /root) echo root ;;\n  *) echo other ;;\nesac\n',
    "exit 5\n",
    'usage() {\n  echo "usage: $0 TARGET" >&2\n}\n',
)

DOCKER_BUGS = (
    ("DL3004", "RUN sudo make install§\n"),
    ("DL3014", "RUN apt-get update && apt-get install --no-install-recommends curl=8.*§\n"),
    ("DL3020", "ADD app.py /app/app.py§\n"),
    ("DL3000", "WORKDIR build§\n"),
    ("DL3011", "EXPOSE 80000§\n"),
    ("DL3021", "COPY a.txt b.txt /srv§\n"),
    ("DL4003", 'CMD ["true"]\nCMD ["false"]§\n'),
    ("DL1000", "RUNN make§\n"),
    ("DL3007", "FROM node:latest AS web§\n"),
    ("DL3006", "FROM debian AS build§\n"),
    ("DL3024", "FROM node:22 AS web\nFROM node:23 AS web§\n"),
    ("DL3012", "HEALTHCHECK CMD curl -f http://localhost/\nHEALTHCHECK CMD true§\n"),
    ("DL3044", 'ENV HOME_A=/srv HOME_B="$HOME_A/b"§\n'),
    ("DL4004", 'ENTRYPOINT ["a"]\nENTRYPOINT ["b"]§\n'),
)
DOCKER_CLEAN = (
    "RUN make install\n",
    "RUN apt-get update && apt-get install -y --no-install-recommends curl=8.* && rm -rf /var/lib/apt/lists/*\n",
    "COPY app.py /app/app.py\n",
    "WORKDIR /build\n",
    "EXPOSE 8000\n",
    "COPY a.txt b.txt /srv/\n",
    "# only a note\n",
    "ENV SHOP_MODE=live\n",
    "HEALTHCHECK CMD curl -f http://localhost/\n",
    "LABEL org.opencontainers.image.title=shop\n",
)

WORKFLOW_BUGS = (
    ("zizmor/template-injection", '      - run: echo "${{ github.event.pull_request.title }}"§\n'),
    ("zizmor/template-injection", '      - run: make ${{ github.head_ref }}§\n'),
    ("zizmor/template-injection", '      - run: git log "${{ github.event.pull_request.body }}"§\n'),
    ("zizmor/overprovisioned-secrets", '      - run: deploy\n        env:\n          ALL: ${{ toJSON(secrets) }}§\n'),
)  # fmt: skip
WORKFLOW_CLEAN = (
    '      - run: echo "$TITLE"\n        env:\n          TITLE: ${{ github.event.pull_request.title }}\n',
    "      - run: make lint\n",
    "      - run: make -j2 all\n        timeout-minutes: 10\n",
    "      - run: deploy\n        env:\n          TOKEN: ${{ secrets.DEPLOY_TOKEN }}\n",
    "      # only a note\n",
    '      - run: echo "${{ runner.os }}"\n',
)
