#!/usr/bin/env bash
# From a published MuseFormer checkpoint, as it was downloaded, to first pieces; see docs/published.md.
#   bash scripts/published.sh CHECKPOINT SONG.mid OUT [options of meloformer compose]
# OUT/museformer is the checkpoint without fairseq: sizes, vocabulary and arguments are read from the file. Nothing is trained yet, so
# the plan is that of SONG.mid: OUT/history has a piece that follows it as bars before the first, OUT/plan one that reads it ahead, and
# OUT/plain one without it. Further options, such as --bars 32 or --device cuda, are for all three.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ $# -ge 3 ] || fail "usage: bash scripts/published.sh CHECKPOINT SONG.mid OUT [options of meloformer compose]"
checkpoint="$1" song="$2" out="$3"
prepare_environment compose
"$MELOFORMER_VENV/bin/meloformer" convert "$checkpoint" "$out/museformer"
compose() {
    "$MELOFORMER_VENV/bin/meloformer" compose "$(basename "$song" .mid)" --model "$out/museformer" --output "$out/$1" "${@:2}"
}
compose history --plan-from "$song" --inject-scope history "${@:4}"
compose plan --plan-from "$song" --inject-scope plan "${@:4}"
compose plain --no-injection "${@:4}"
say "ready: $out/history, $out/plan, $out/plain; scripts/tune_museformer.sh $checkpoint teaches it to follow plans (docs/published.md)"
