#!/usr/bin/env bash
# Stage A: the summaries that a frozen MuseFormer makes of prepared songs.
#   bash scripts/extract.sh DATA/bin MUSEFORMER STORE [--gpus N] [options of fairseq-generate]
# MUSEFORMER is a directory with model.safetensors and config.json, or a fairseq checkpoint. Stopped at any moment, the same
# command goes on. On M machines with a common STORE: --distributed-world-size M --distributed-rank 0 ... M-1.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

take_gpus "$@"
set -- ${rest[@]+"${rest[@]}"}
[ $# -ge 3 ] || fail "usage: bash scripts/extract.sh DATA/bin MUSEFORMER STORE [options of fairseq-generate]"
data="$1" model="$2" store="$3"
[ -e "$data/train.idx" ] || [ -e "$data/valid.idx" ] || [ -e "$data/test.idx" ] ||
    fail "$data must hold train.idx, valid.idx or test.idx, as prepare.sh leaves them in DATA/bin, but has none of them"
prepare_fairseq
sole_writer "$store" "${@:4}"
for split in train valid test; do
    [ -e "$data/$split.idx" ] || continue
    fairseq_generate "$data" --task summary_extraction \
        --batch-size 4 --path "$model" --gen-subset "$split" --summary-store "$store" "${@:4}"
done
say "ready: $store"
