#!/usr/bin/env bash
# The studio: a page on this machine to compose on, with everything it needs installed on the first run:
#   bash scripts/studio.sh
# Arguments are those of `meloformer studio` (--port, --host ...); pieces are kept in out/studio.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment studio
exec "$MELOFORMER_VENV/bin/meloformer" studio "$@"
