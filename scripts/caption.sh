#!/usr/bin/env bash
# Captions for MIDI files, from one source; the file that comes out is for the --captions of prepare.sh:
#   bash scripts/caption.sh --source comments --input export.csv --metadata songs.jsonl --output comments.jsonl
#   bash scripts/caption.sh --source midicaps --input train.json --midi MIDI_DIR --output midicaps.jsonl
#   bash scripts/caption.sh --source llm --data DATA --model NAME --base-url URL --output llm.jsonl --dry-run
# All options: bash scripts/caption.sh --help
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment all
exec "$MELOFORMER_VENV/bin/meloformer" caption "$@"
