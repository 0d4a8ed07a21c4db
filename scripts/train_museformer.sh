#!/usr/bin/env bash
# A MuseFormer of one's own, trained to follow plans (scope "plan"):
#   bash scripts/train_museformer.sh DATA/bin SAVE_DIR [options of fairseq-train]
# The options after SAVE_DIR override those below. Stopped at any moment, the same command goes on from the last checkpoint.
# `--criterion cross_entropy` trains the ordinary way; `--finetune-from-model MODEL` tunes a published checkpoint.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ $# -ge 2 ] || fail "usage: bash scripts/train_museformer.sh DATA/bin SAVE_DIR [options of fairseq-train]"
data="$1" save="$2"
prepare_environment all
"$MELOFORMER_VENV/bin/fairseq-train" "$data" --user-dir "$MELOFORMER_ROOT/user_dir" --save-dir "$save" \
    --task museformer_language_modeling --arch museformer_lm_v2s1_mini --criterion museformer_plan \
    --truncate-train 4096 --truncate-valid 4096 --max-tokens 4096 --dropout 0 --attention-dropout 0 \
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 --weight-decay 0.01 \
    --lr 1.5e-3 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 1000 --max-update 1000 \
    --save-interval-updates 200 --keep-interval-updates 1 --no-epoch-checkpoints \
    --log-format simple --log-interval 20 "${@:3}"
say "ready: $save/checkpoint_last.pt; meloformer convert --scope plan turns it into safetensors"
