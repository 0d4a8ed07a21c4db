#!/usr/bin/env bash
# Music to a description, with everything it needs installed on the first run:
#   bash scripts/quickstart.sh "暴风雨"
#   bash scripts/quickstart.sh "a calm piano waltz by the sea" --count 3 --seed 7
# Further arguments are those of `meloformer compose`, which prints the files that it makes: by default in a new folder of ./out.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ $# -gt 0 ] || set -- "暴风雨"
prepare_environment compose
"$MELOFORMER_VENV/bin/meloformer" compose --output "out/$(date +%Y%m%d-%H%M%S)" "$@"
