#!/usr/bin/env bash
# From a folder of MIDI files to a system of one's own and its first pieces, in the time there is:
#   bash scripts/pipeline.sh MIDI_DIR OUT [--size mini|small|base] [--budget 4h]
# mini goes on from the embedded museformer-mini; small (9M parameters) and base (16M, as published) begin from nothing. The trainings share the
# time and end in it, each with a learning rate that has come down. A line a stage says how far it is; all else that is said is in
# OUT/logs. Stopped at any moment, the same command goes on. docs/train.md has the same stages one by one.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare_fairseq
exec "$MELOFORMER_VENV/bin/python" "$(dirname "${BASH_SOURCE[0]}")/pipeline.py" "$@"
