#!/usr/bin/env bash
# Lint, types and tests in one command; arguments go to pytest:
#   bash scripts/test.sh
#   bash scripts/test.sh tests/music -k audio
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment all
cd "$MELOFORMER_ROOT"
python="$MELOFORMER_VENV/bin/python"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
# Two workers with one thread each: the tests' models are too small to profit from more threads.
OMP_NUM_THREADS=1 "$python" -m pytest -n 2 "$@"
