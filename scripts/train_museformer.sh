#!/usr/bin/env bash
# A MuseFormer of one's own, trained to follow plans (scope "plan"):
#   bash scripts/train_museformer.sh DATA/bin SAVE_DIR [options of fairseq-train]
# From short beginnings of many songs to long ones of few: so it learns in four hours on two cores what else takes many.
# DATA/bin is what `prepare.sh` left, quantiles.json among it, by which summaries learn to say the control axes. The options
# after SAVE_DIR override those below. Stopped at any moment, the same command goes on from the last checkpoint;
# SAVE_DIR/checkpoint_last.pt is there at the end.
# `--plan-probability 0` trains the ordinary way. To tune a published checkpoint, call fairseq-train with
# `--criterion museformer_plan --finetune-from-model MODEL`, and with `--train-summary-projections-only` if little of it may change.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ $# -ge 2 ] || fail "usage: bash scripts/train_museformer.sh DATA/bin SAVE_DIR [options of fairseq-train]"
data="$1" save="$2"
prepare_environment all

recipe=(
    --task museformer_language_modeling --arch museformer_lm_v2s1_mini --criterion museformer_plan
    --plan-probability 0.7 --plan-near "[None, (), (), (1,)]" --tempo-weight 40
    --truncate-valid 2048 --max-tokens-valid 4096 --dropout 0 --attention-dropout 0
    --optimizer adam --adam-betas "(0.9, 0.98)" --clip-norm 1.0 --lr-scheduler polynomial_decay
    --max-valid-steps 8 --save-interval-updates 200 --keep-interval-updates 1 --no-epoch-checkpoints
    --log-format simple --log-interval 20
)
train() {
    "$MELOFORMER_VENV/bin/fairseq-train" "$data" --user-dir "$MELOFORMER_ROOT/user_dir" "${recipe[@]}" "$@"
}

# stage LENGTH TOKENS UPDATES [options]: songs of up to LENGTH tokens, TOKENS a batch, until so many UPDATES in all.
before=""
stage() {
    local length="$1" tokens="$2" updates="$3" start=() here="$save/$1"
    [ -e "$here/checkpoint_last.pt" ] || [ -z "$before" ] ||
        start=(--restore-file "$before/checkpoint_last.pt" --reset-dataloader)
    train --save-dir "$here" --plan-through --attribute-weight 4 --first-bar-below 33 \
        --truncate-train "$length" --max-tokens "$tokens" --weight-decay 0.01 \
        --lr 1.5e-3 --warmup-updates 100 --total-num-update 8100 --max-update "$updates" "${start[@]}" "${@:4}"
    before="$here"
}
stage 512 2048 2400 "${@:3}"
stage 1024 4096 4800 "${@:3}"
stage 1536 5120 5700 "${@:3}"
stage 3072 8192 8100 "${@:3}"

# Last, some minutes for the projections alone through which summaries are read. A song's first tempo sets its pace, but is one
# token of thousands: here songs are little more than their beginnings. All else the model keeps.
train --save-dir "$save/projections" --finetune-from-model "$before/checkpoint_last.pt" --train-summary-projections-only \
    --plan-probability 0.9 --tempo-weight 100 --truncate-train 256 --max-tokens 8192 \
    --lr 1e-3 --warmup-updates 20 --total-num-update 240 --max-update 240 "${@:3}"
cp "$save/projections/checkpoint_last.pt" "$save/checkpoint_last.pt"
say "ready: $save/checkpoint_last.pt; meloformer convert --scope plan --most-bars 32 turns it into safetensors"
say "(meloformer inspect shows how many bars it knows its way in: late bars of dense songs are beyond the longest stage)"
