#!/usr/bin/env bash
# Stage C through fairseq: pieces to a file of prompts (one a line, or JSONL with id, text, bars, seed).
#   bash scripts/generate.sh PROMPTS MUSEFORMER BRIDGE MIDI_DIR [--gpus N] [options of fairseq-generate]
# `meloformer compose` does the same without fairseq.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

take_gpus "$@"
set -- ${rest[@]+"${rest[@]}"}
[ $# -ge 4 ] || fail "usage: bash scripts/generate.sh PROMPTS MUSEFORMER BRIDGE MIDI_DIR [--gpus N] [options of fairseq-generate]"
prompts="$1" model="$2" bridge="$3" midi="$4"
prepare_fairseq
failed=0
fairseq_generate "$prompts" --task summary_bridge \
    --path "$model" --bridge "$bridge" --midi-dir "$midi" --sampling --beam 1 --sampling-topk 32 --sampling-topp 0.98 --batch-size 16 --quiet "${@:5}" || failed=1
[ "$processes" = 1 ] || "$MELOFORMER_VENV/bin/python" -c 'import sys
from fairseq_meloformer.composing.pieces import gather
gather(sys.argv[1])' "$midi"
[ "$failed" = 0 ] || exit 1
say "ready: $midi"
