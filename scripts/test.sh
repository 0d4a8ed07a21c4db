#!/usr/bin/env bash
# Lint, types and tests in one command; arguments go to pytest:
#   bash scripts/test.sh
#   bash scripts/test.sh tests/render -k audio
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# The studio's page is tested in a real browser; where none can be had, these tests say so and are skipped, but not in CI.
prepare_browser() {
    local name
    for name in chromium chromium-headless-shell chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then return; fi
    done
    say "installing Chromium for the tests of the studio"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            chromium-headless-shell; } >/dev/null 2>&1 && return
    fi
    "$MELOFORMER_VENV/bin/python" -m playwright install --with-deps chromium-headless-shell >/dev/null 2>&1 ||
        say "there is no Chromium: apt-get install chromium"
}

prepare_environment all
prepare_browser
cd "$MELOFORMER_ROOT"
python="$MELOFORMER_VENV/bin/python"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
# Some hundred Pythons start: what pip did not compile is compiled by the first of them only.
unset PYTHONDONTWRITEBYTECODE
# Two workers with one thread each: the tests' models are too small to profit from more threads. A file's tests share what is
# made for them.
OMP_NUM_THREADS=1 "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
