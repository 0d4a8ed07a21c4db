#!/usr/bin/env bash
# Train the probe of `meloformer understand` on the lexicon, on moments.yaml and on requests.yaml.
#   bash scripts/train_probe.sh OUT CACHE [options of the training]
# About fourteen thousand texts are encoded once and kept in CACHE (six minutes of one CPU core); training takes one minute.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ $# -ge 2 ] || fail "usage: bash scripts/train_probe.sh OUT CACHE [options of the training]"
prepare_environment compose
"$MELOFORMER_VENV/bin/python" -m fairseq_meloformer.words.probe_training "$1" --cache "$2" "${@:3}"
say "ready: $1"
