#!/usr/bin/env bash
# From a folder of MIDI files to what fairseq trains on:
#   bash scripts/prepare.sh MIDI_DIR DATA [--window-bars 16 --describe 6 --metadata rows.jsonl ...]
# Further arguments are those of `meloformer prepare`. DATA/bin is then the DATA of the fairseq commands: binarised splits,
# dict.txt, and beside every split the description of its lines. Stopped at any moment, the same command goes on.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ $# -ge 2 ] || fail "usage: bash scripts/prepare.sh MIDI_DIR DATA [options of meloformer prepare]"
midi="${1:?}" data="${2:?}"
prepare_fairseq
sole_writer "$data"
"$MELOFORMER_VENV/bin/meloformer" prepare "$midi" --output "$data" "${@:3}"

# Binarised under another name and then renamed, so that DATA/bin is there completely or not at all.
rm -rf "$data/bin.part"
splits=()
for split in train valid test; do
    [ ! -s "$data/$split.tokens" ] || splits+=("--${split}pref" "$data/$split.tokens")
done
"$MELOFORMER_VENV/bin/fairseq-preprocess" --user-dir "$MELOFORMER_ROOT/user_dir" --only-source \
    --srcdict "$data/dict.txt" "${splits[@]}" --destdir "$data/bin.part" --workers "$(getconf _NPROCESSORS_ONLN)"
cp "$data"/*.items.jsonl "$data/quantiles.json" "$data/bin.part/"
rm -rf "$data/bin"
mv "$data/bin.part" "$data/bin"
say "ready: $data/bin"
