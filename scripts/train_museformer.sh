#!/usr/bin/env bash
# A MuseFormer of one's own, trained the ordinary way: to write on where songs are, with all near bars in view.
#   bash scripts/train_museformer.sh DATA/bin SAVE_DIR [--gpus N] [options of fairseq-train]
#   bash scripts/train_museformer.sh --finish UPDATES DATA/bin SAVE_DIR [--gpus N] [options of fairseq-train]
# The first trains until it is stopped (Ctrl-C, or options such as --max-update 30000, --stop-time-hours 8 or --patience 20, which
# counts validations); the same command then goes on, exactly, from the last checkpoint. The second ends a training: over so many
# updates more, a tenth of all or so, the learning rate falls to 0, which brings the last few per cent; the first may still go on
# after it. Both leave a model in SAVE_DIR (model.safetensors, config.json), which extract.sh, generate.sh, compose and
# tune_museformer.sh take, and which knows how many bars its songs had. scripts/tune_museformer.sh teaches to follow plans.
# Whole songs serve best (prepare.sh without --window-bars): in an epoch each gives one part of up to 4,096 tokens, every second
# one varied. The options after SAVE_DIR override these. MELOFORMER_BEGINNINGS (600) is how many updates on short beginnings come
# first (0 for none): bars are learnt from many small batches. --gpus N: so many GPUs, or on a CPU so many processes,
# share the work; without it all GPUs, or one process.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

take_gpus "$@"
set -- ${rest[@]+"${rest[@]}"}
finish=""
if [ "${1-}" = --finish ]; then
    finish="${2-}"
    [[ "$finish" =~ ^[1-9][0-9]*$ ]] || fail "--finish needs a number of updates, received '$finish'"
    shift 2
fi
[ $# -ge 2 ] || fail "usage: bash scripts/train_museformer.sh [--finish UPDATES] DATA/bin SAVE_DIR [options of fairseq-train]"
data="$1" save="$2"
shift 2
prepare_fairseq
sole_writer "$save" "$@"

train() {
    fairseq_train "$data" --task museformer_language_modeling --arch museformer_lm_v2s1_small --criterion cross_entropy \
        --truncate-train 4096 --crop-train --max-tokens 8192 --vary-train 0.5 --dropout 0 --attention-dropout 0 \
        --truncate-valid 4096 --max-tokens-valid 8192 --max-valid-steps 8 \
        --optimizer adam --adam-betas "(0.9, 0.98)" --weight-decay 0.01 --clip-norm 1.0 \
        --lr 1e-3 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 1000000000 \
        --save-interval-updates 200 --keep-interval-updates 1 --no-epoch-checkpoints \
        --log-format simple --log-interval 20 "$@"
}

songs="$save/songs/checkpoint_last.pt"
if [ -n "$finish" ]; then
    [ -e "$songs" ] || fail "there must be a training to finish, but there is no $songs: run the command without --finish first"
    begin="$(updates_of "$songs")"
    here="$save/finished-$begin"
    start=(--restore-file "$songs")
    [ ! -e "$here/checkpoint_last.pt" ] || start=()
    # A rate that has risen until update `begin` falls from there on.
    train "$@" --save-dir "$here" "${start[@]}" --warmup-updates "$begin" \
        --total-num-update "$((begin + finish))" --max-update "$((begin + finish))" --stop-time-hours 0
    leave_museformer "$here/checkpoint_last.pt" "$data" "$save"
    say "ready: $save; scripts/tune_museformer.sh teaches it to follow plans"
    exit
fi

start=()
if [ ! -e "$songs" ] && [ "${MELOFORMER_BEGINNINGS:-600}" -gt 0 ]; then
    beginnings="$save/beginnings"
    first="$(at_most "$((2 * ${MELOFORMER_BEGINNINGS:-600}))" "$@")" # half of a short training at most
    train "$@" --save-dir "$beginnings" --max-update "$(((first + 1) / 2))" --truncate-train 512 --max-tokens 2048 \
        --stop-time-hours "$(part_of_time 0.1 "$@")"
    start=(--restore-file "$beginnings/checkpoint_last.pt" --reset-dataloader)
fi
train --save-dir "$save/songs" "${start[@]}" "$@"
leave_museformer "$songs" "$data" "$save"
say "stopped; the same command goes on, and --finish UPDATES ends the training"
