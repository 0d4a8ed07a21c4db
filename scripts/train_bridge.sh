#!/usr/bin/env bash
# Stage B: a bridge from text to the summaries of a store.
#   bash scripts/train_bridge.sh STORE SAVE_DIR [--gpus N] [options of fairseq-train]
# SAVE_DIR/bridge is then the directory that `--bridge` takes. The options are those of the bridge that comes with the package but for
# its length (2,400 updates); what follows SAVE_DIR overrides them. Stopped at any moment, the same command goes on from the last checkpoint.
# --gpus N: so many GPUs, or on a CPU so many processes, share the work; without it all GPUs, or one process.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

take_gpus "$@"
set -- ${rest[@]+"${rest[@]}"}
[ $# -ge 2 ] || fail "usage: bash scripts/train_bridge.sh STORE SAVE_DIR [options of fairseq-train]"
store="$1" save="$2"
prepare_fairseq
sole_writer "$save" "${@:3}"
fairseq_train "$store" --save-dir "$save" \
    --task summary_bridge --arch summary_bridge_mini --criterion summary_bridge --components 128 \
    --attributes --noise 1 --average-decay 0.998 \
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 --weight-decay 0.01 \
    --lr 6e-4 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 3300 --max-update 3300 \
    --batch-size 48 --data-buffer-size 0 --save-interval-updates 500 --keep-interval-updates 1 --no-epoch-checkpoints \
    --log-format simple --log-interval 50 "${@:3}"
"$MELOFORMER_VENV/bin/meloformer" convert "$save/checkpoint_last.pt" "$save/bridge"
say "ready: $save/bridge"
