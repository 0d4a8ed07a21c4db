#!/usr/bin/env bash
# Plan training as tuning: a MuseFormer, one's own or a published one, learns to follow plans and still remembers (scope "plan").
#   bash scripts/tune_museformer.sh MODEL DATA/bin OUT [--gpus N] [options of fairseq-train]
# MODEL is a fairseq checkpoint or a directory with safetensors, from which all sizes are taken. DATA/bin is what prepare.sh left,
# quantiles.json among it, by which summaries learn to say the control axes. Near bars are in view in more than four of five
# batches, so that what distant bars tell is not unlearnt. With --train-summary-projections-only among the options nothing changes
# but how summaries are read, an eighth of the parameters: for a model that others use too. Options override those below. Stopped at
# any moment, the same command goes on; OUT is a model (safetensors) at the end, which knows its scope and how many bars its songs
# had. MELOFORMER_BEGINNINGS (240) is how many updates on short beginnings come last; of --stop-time-hours they take 15 %, with
# --lr-scheduler in_time all of these. --gpus N: so many GPUs, or on a CPU so many processes, share the work; without it all GPUs, or
# one process.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

take_gpus "$@"
set -- ${rest[@]+"${rest[@]}"}
[ $# -ge 3 ] || fail "usage: bash scripts/tune_museformer.sh MODEL DATA/bin OUT [options of fairseq-train]"
model="$1" data="$2" out="$3"
shift 3
prepare_fairseq
sole_writer "$out" "$@"

tune() {
    fairseq_train "$data" --task museformer_language_modeling --arch museformer_lm_v2s1 --criterion museformer_plan \
        --injection-ahead 1 --dropout 0 --attention-dropout 0 --truncate-valid 4096 --max-tokens-valid 8192 --max-valid-steps 8 \
        --optimizer adam --adam-betas "(0.9, 0.98)" --clip-norm 1.0 --lr-scheduler polynomial_decay \
        --save-interval-updates 200 --keep-interval-updates 1 --no-epoch-checkpoints \
        --log-format simple --log-interval 20 "$@"
}

summaries=(--plan-through --attribute-weight 4)
[[ " $* " != *" --train-summary-projections-only "* ]] || summaries=() # they stay as they are
tune --save-dir "$out/songs" --finetune-from-model "$model" "${summaries[@]}" --first-bar-below 33 \
    --plan-probability 0.7 --plan-near "[None, None, None, None, None, None, (), (1,)]" --tempo-weight 12 \
    --truncate-train 4096 --crop-train --max-tokens 8192 --vary-train 0.5 \
    --lr 3e-4 --warmup-updates 60 --total-num-update 1500 --max-update 1500 "$@" \
    --stop-time-hours "$(part_of_time 0.85 "$@")"

ending=()
if [ "$(value_of --lr-scheduler "$@")" != in_time ]; then
    last="$(at_most "${MELOFORMER_BEGINNINGS:-240}" "$@")"
    ending=(--lr-scheduler polynomial_decay --total-num-update "$last" --max-update "$last")
fi
# A song's first tempo sets its pace, but is one token of thousands: last, some minutes of little more than beginnings.
tune --save-dir "$out/beginnings" --finetune-from-model "$out/songs/checkpoint_last.pt" --train-summary-projections-only \
    --plan-probability 0.9 --tempo-weight 100 "$@" \
    --truncate-train 256 --max-tokens 8192 --lr 1e-3 --warmup-updates 20 ${ending[@]+"${ending[@]}"} \
    --stop-time-hours "$(part_of_time 0.15 "$@")"
leave_museformer "$out/beginnings/checkpoint_last.pt" "$data" "$out"
say "ready: $out"
say "(meloformer inspect shows how many bars it knows its way in: late bars of dense songs are beyond 4,096 tokens)"
