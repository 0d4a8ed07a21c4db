#!/usr/bin/env bash
# The bridge against other ways from text to a plan: each trained for the same time on the same store, then one report.
#   bash scripts/compare_methods.sh STORE MUSEFORMER DATA OUT [options of fairseq-train]
# DATA is the folder of prepared music that STORE was extracted from: the soft prompt learns from tokens. SECONDS_EACH (120) is the
# time of each method, ARCH (summary_bridge_mini) its size, METHODS which of them, REPORT further options of `meloformer evaluate
# methods`. OUT/report.md is then the table. Stopped at any moment, the same command goes on.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ $# -ge 4 ] || fail "usage: bash scripts/compare_methods.sh STORE MUSEFORMER DATA OUT [options of fairseq-train]"
store="$1" model="$2" data="$3" out="$4"
each="${SECONDS_EACH:-120}"
prepare_fairseq
sole_writer "$out" "${@:5}"
# The first one fills the cache of texts, which is nobody's training; so it is the one that needs no training.
for method in ${METHODS:-mean bridge flow regression vae retrieval prefix}; do
    [ ! -e "$out/$method.done" ] || continue
    # Without a buffer: fairseq fills it in a thread, whose end in the middle of an epoch may abort the process.
    # A step of the prefix runs MuseFormer over all tokens: smaller batches, and a checkpoint after fewer of them.
    own=(--batch-size 32 --save-interval-updates 20)
    [ "$method" != prefix ] || own=(--batch-size 4 --save-interval-updates 2 --museformer "$model" --songs "$data")
    [ "$method" != mean ] || own+=(--max-update 20)
    gpus=1 fairseq_train "$store" --save-dir "$out/$method" \
        --task summary_bridge --arch "${ARCH:-summary_bridge_mini}" --criterion summary_bridge --method "$method" --components 128 \
        --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 --weight-decay 0.01 --lr 1e-3 --lr-scheduler inverse_sqrt \
        --warmup-updates 20 --average-decay 0.99 --stop-time-hours "$(awk "BEGIN { print $each / 3600 }")" \
        --data-buffer-size 0 --disable-validation --keep-interval-updates -1 --no-epoch-checkpoints \
        --log-format simple --log-interval 10 "${own[@]}" "${@:5}"
    touch "$out/$method.done"
done
# shellcheck disable=SC2086
"$MELOFORMER_VENV/bin/meloformer" evaluate methods "$out" --store "$store" --model "$model" --songs "$data" ${REPORT:-}
say "ready: $out/report.md"
