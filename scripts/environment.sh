# shellcheck shell=bash
# Sourced by the other scripts: `prepare_environment compose|studio|all` makes .venv in the checkout, or does nothing when it is there.
# Two variables matter while it is made (remove .venv to change them later):
#
#   MELOFORMER_PYTHON       the Python 3.11 or 3.12 to build on; if it has PyTorch (2.6 or newer, any build), that one is used
#   MELOFORMER_TORCH_INDEX  where PyTorch comes from, for instance https://download.pytorch.org/whl/cu130 or a mirror;
#                           by default a file named by pip's own settings, else for the GPU that nvidia-smi finds, else a CPU build

MELOFORMER_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
MELOFORMER_VENV="$MELOFORMER_ROOT/.venv"
TORCH_INDEXES="https://download.pytorch.org/whl"
TORCH_CPU_INDEX="$TORCH_INDEXES/cpu"

say() { printf 'meloformer: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
pip_install() {
    local quiet=(--quiet)
    [ ! -t 1 ] || quiet=(--no-warn-script-location) # a person sees the downloads' progress
    PIP_USER=0 "$MELOFORMER_VENV/bin/python" -m pip --disable-pip-version-check --no-input install "${quiet[@]}" "$@"
}

# The last value of an option: value_of --max-update OPTIONS
value_of() {
    local name="$1" value="" previous="" word
    for word in "${@:2}"; do
        if [ "$previous" = "$name" ]; then value="$word"; fi
        if [[ "$word" = "$name="* ]]; then value="${word#*=}"; fi
        previous="$word"
    done
    echo "$value"
}

# A number of updates, or the --max-update among options where that is less: at_most UPDATES OPTIONS
at_most() {
    local asked
    asked="$(value_of --max-update "${@:2}")"
    if [ "${asked:-0}" -gt 0 ] && [ "$asked" -lt "$1" ]; then echo "$asked"; else echo "$1"; fi
}

# Python that locks an open file, given by its number; fails where another run holds it.
LOCK='
import fcntl, sys
try:
    fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(1)
except OSError:
    pass  # some network file systems have no locks'

# Keeps other runs out of a folder until this script and all that it has started have ended: sole_writer FOLDER OPTIONS
# Of the machines of one extraction, that of rank 0 does so for all; those of one training (TORCHRUN) know of each other.
sole_writer() {
    local rank
    rank="$(value_of --distributed-rank "${@:2}")"
    [ "${rank:-0}" = 0 ] && [ -z "${TORCHRUN-}" ] || return 0
    mkdir -p "$1"
    exec 9<"$1" # the folder itself is locked, so that nothing is left in it
    "$MELOFORMER_VENV/bin/python" -c "$LOCK" 9 ||
        fail "$1 is being written to by another run: wait for it, stop it, or give another folder"
}

updates_of() {
    "$MELOFORMER_VENV/bin/python" -c '
import sys
from fairseq_meloformer.museformer.checkpoints import read_state
print(read_state(sys.argv[1])["optimizer_history"][-1]["num_updates"])' "$1"
}

# A share of the --stop-time-hours among options, or 0, which is no limit, where there are none: part_of_time SHARE OPTIONS
part_of_time() {
    awk -v share="$1" -v hours="$(value_of --stop-time-hours "${@:2}")" 'BEGIN { printf "%.6f\n", share * hours }'
}

# Whether a training has had its updates or its time: fairseq would add an update whenever it is asked again.
is_finished() {
    local last
    last="$(value_of --save-dir "$@")/checkpoint_last.pt"
    [ -e "$last" ] && "$MELOFORMER_VENV/bin/python" -c '
import sys
from fairseq_meloformer.museformer.checkpoints import read_state
state, asked = read_state(sys.argv[1]), [float(number or 0) for number in sys.argv[2:]]
had = state["optimizer_history"][-1]["num_updates"], state["extra_state"]["previous_training_time"] / 3600
sys.exit(not any(0 < most <= done for most, done in zip(asked, had, strict=True)))' \
        "$last" "$(value_of --max-update "$@")" "$(value_of --stop-time-hours "$@")"
}

# `--gpus N` among a script's arguments goes to `gpus`, all others to `rest`: take_gpus "$@"; set -- "${rest[@]}"
take_gpus() {
    gpus="" rest=()
    while [ $# -gt 0 ]; do
        case "$1" in
            --gpus) gpus="${2:-none}"; shift ;;
            --gpus=*) gpus="${1#*=}" ;;
            *) rest+=("$1") ;;
        esac
        [ $# = 0 ] || shift
    done
    [[ "$gpus" =~ ^([1-9][0-9]*)?$ ]] || fail "--gpus needs a number of GPUs, or of processes on a CPU, received '$gpus'"
}

# Sets `processes`, how many are to run a fairseq command with these options: as many as --gpus says, else one for each GPU, or one on a CPU.
# `on_cpu` is then --cpu where there is no GPU.
count_processes() {
    local there=0
    [[ " $* " = *" --cpu "* ]] || there="$("$MELOFORMER_VENV/bin/python" -c 'import torch; print(torch.cuda.device_count())')"
    on_cpu=()
    if [ "$there" = 0 ]; then
        processes="${gpus:-1}" on_cpu=(--cpu)
    elif [ "${gpus:-1}" -gt "$there" ]; then
        fail "--gpus must be at most the $there GPUs that PyTorch sees here, received $gpus"
    else
        processes="${gpus:-$there}"
        say "on $processes of $there GPUs"
    fi
}

# fairseq-train with the plugin; nothing where it has finished. Each of several processes must be told its rank, which it finds in its
# environment. TORCHRUN holds torchrun's options for several machines: --nnodes 2 --rdzv-backend c10d --rdzv-endpoint HOST:29500
fairseq_train() {
    local command=("$MELOFORMER_VENV/bin/fairseq-train" --user-dir "$MELOFORMER_ROOT/user_dir") processes on_cpu backend=nccl
    refuse_idle_gpu "$@"
    if is_finished "$@"; then
        say "finished already: $(value_of --save-dir "$@")"
        return
    fi
    count_processes "$@"
    [ ${#on_cpu[@]} = 0 ] || backend=gloo
    if [ "$processes" = 1 ] && [ -z "${TORCHRUN-}" ]; then
        "${command[@]}" --distributed-world-size 1 ${on_cpu[@]+"${on_cpu[@]}"} "$@"
    else
        # Two processes of one thread do more than two threads.
        # shellcheck disable=SC2016,SC2086
        OMP_NUM_THREADS=1 "$MELOFORMER_VENV/bin/python" -m torch.distributed.run ${TORCHRUN:---standalone} \
            --nproc_per_node "$processes" --no-python bash -c \
            'exec "$0" "$@" --distributed-world-size "$WORLD_SIZE" --distributed-rank "$RANK"' "${command[@]}" "$@" \
            ${on_cpu[@]+"${on_cpu[@]}"} --distributed-backend "$backend" --ddp-backend legacy_ddp \
            --distributed-init-method env:// --distributed-no-spawn
    fi
}

# The MuseFormer that a training leaves, with the vocabulary and the quantiles of its data: leave_museformer CHECKPOINT DATA FOLDER
leave_museformer() {
    local data="${2%%:*}" # of several folders the first
    [ ! -e "$data/quantiles.json" ] || cp "$data/quantiles.json" "$3/"
    "$MELOFORMER_VENV/bin/meloformer" convert "$1" "$3" --dict "$data/dict.txt"
}

# fairseq-generate with the plugin, in `processes` that take every N-th song or batch. On M machines with a common folder:
# --distributed-world-size M --distributed-rank 0 ... M-1.
fairseq_generate() {
    local command=("$MELOFORMER_VENV/bin/fairseq-generate" --user-dir "$MELOFORMER_ROOT/user_dir") on_cpu
    local machines machine rank started=() visible=() failed=0
    count_processes "$@"
    if [ "$processes" = 1 ]; then
        "${command[@]}" ${on_cpu[@]+"${on_cpu[@]}"} "$@"
        return
    fi
    machines="$(value_of --distributed-world-size "$@")" machine="$(value_of --distributed-rank "$@")"
    IFS=, read -ra visible <<< "${CUDA_VISIBLE_DEVICES:-$(seq -s , 0 $((processes - 1)))}"
    # What runs in the background does not hear Ctrl-C.
    trap 'kill "${started[@]}" 2>/dev/null; exit 130' INT TERM
    for rank in $(seq 0 $((processes - 1))); do
        OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES="${visible[rank]-}" "${command[@]}" ${on_cpu[@]+"${on_cpu[@]}"} "$@" \
            --distributed-world-size "$((processes * ${machines:-1}))" \
            --distributed-rank "$((processes * ${machine:-0} + rank))" &
        started+=($!)
    done
    for rank in "${started[@]}"; do wait "$rank" || failed=1; done
    trap - INT TERM
    return "$failed"
}

# As `prepare_environment all`, for what runs fairseq: refused, before anything is done in vain, where that cannot be had.
prepare_fairseq() {
    [ -x "$MELOFORMER_VENV/bin/fairseq-train" ] || [ "$(uname -sm)" = "Linux x86_64" ] ||
        fail "fairseq must be there, whose wheel is for Linux on x86_64, but this is $(uname -sm): take such a machine, or install" \
            "fairseq 0.12.3 into $MELOFORMER_VENV yourself; composing and the studio need none"
    prepare_environment all
}

# `.venv/installed.<part>` is a stamp that holds the fingerprint of a finished installation. While one is made, `.venv` is locked and
# has the file `installing`: pip cannot tell a package that was half unpacked when an earlier run was killed, so that a run which
# finds this file starts from nothing.
prepare_environment() {
    local part="$1"
    if is_installed "$part"; then return; fi
    claim_environment
    install_parts "$part"
    # Each part has what those before it have.
    local smaller
    for smaller in compose studio all; do
        fingerprint > "$MELOFORMER_VENV/installed.$smaller"
        [ "$smaller" != "$part" ] || break
    done
    rm "$MELOFORMER_VENV/installing"
    exec 8<&-
    say "installed in $SECONDS s"
}

is_installed() {
    [ ! -e "$MELOFORMER_VENV/installing" ] && [ -e "$MELOFORMER_VENV/installed.$1" ] &&
        [ "$(cat "$MELOFORMER_VENV/installed.$1")" = "$(fingerprint)" ]
}

# The folder, since scripts in bin/ hold its path, the Python, and all that decides what is installed.
fingerprint() {
    echo "$MELOFORMER_VENV"
    "$MELOFORMER_VENV/bin/python" -V 2>&1
    cat "$MELOFORMER_ROOT"/requirements/*.txt "$MELOFORMER_ROOT/setup.py" "${BASH_SOURCE[0]}" | cksum
}

# Leaves a sound virtual environment and the file `installing` in it.
claim_environment() {
    local python="$MELOFORMER_VENV/bin/python"
    is_supported "$python" || python="$(find_python)"
    mkdir -p "$MELOFORMER_VENV"
    exec 8<"$MELOFORMER_VENV"
    "$python" -c "$LOCK" 8 || fail "another run is installing into $MELOFORMER_VENV: wait for it"
    if [ ! -e "$MELOFORMER_VENV/installing" ] && is_sound; then
        rm -f "$MELOFORMER_VENV"/installed.*
        touch "$MELOFORMER_VENV/installing"
    elif [ -z "$(ls -A "$MELOFORMER_VENV" 2>/dev/null)" ] || ls "$MELOFORMER_VENV"/install* >/dev/null 2>&1; then
        make_environment
    else
        fail "$MELOFORMER_VENV must be a virtual environment of Python 3.11 or 3.12 with pip, made in this folder: remove it," \
            "and it is made anew"
    fi
}

is_sound() {
    local python="$MELOFORMER_VENV/bin/python"
    is_supported "$python" && "$python" -m pip --version >/dev/null 2>&1 && grep -qF "$python" "$MELOFORMER_VENV/bin/pip"
}

is_supported() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null; }

make_environment() {
    local python
    python="$(find_python)"
    say "making $MELOFORMER_VENV with $python"
    touch "$MELOFORMER_VENV/installing"
    find "$MELOFORMER_VENV" -mindepth 1 -maxdepth 1 ! -name installing -exec rm -rf {} +
    "$python" -m venv "$MELOFORMER_VENV"
}

find_python() {
    local candidate candidates="${MELOFORMER_PYTHON:-python3.11 python3.12 python3 python}"
    for candidate in $candidates; do
        is_supported "$candidate" || continue
        "$candidate" -c 'import venv, ensurepip' 2>/dev/null || fail "$candidate cannot make virtual environments:" \
            "sudo apt-get install $("$candidate" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
        "$candidate" -c 'import sys; print(sys.executable)'
        return
    done
    fail "Python 3.11 or 3.12 is needed and none of these is it: $candidates. Install one (sudo apt-get install python3.11" \
        "python3.11-venv) or name one (MELOFORMER_PYTHON=/path/to/python3.11)"
}

install_parts() {
    local requirements="$MELOFORMER_ROOT/requirements"
    say "installing: some minutes, once"
    install_torch
    pip_install -r "$requirements/core.txt"
    pip_install --no-deps --require-hashes -r "$requirements/carried.txt"
    [ "$1" = compose ] || pip_install -r "$requirements/studio.txt"
    if [ "$1" = all ]; then
        # Source packages are built with the setuptools of core.txt: one that is fetched for the occasion is not pinned.
        pip_install --no-build-isolation -r "$requirements/train.txt" -r "$requirements/dev.txt"
        pip_install --no-deps --require-hashes -r "$requirements/fairseq.txt"
    fi
    # setuptools warns at length that a folder beside the package could hide it.
    PYTHONWARNINGS=ignore pip_install --no-deps --no-build-isolation -e "$MELOFORMER_ROOT"
}

# What PyPI has for Linux is a CUDA build of several GB, so without a GPU it is the last resort.
install_torch() {
    local requirement="$MELOFORMER_ROOT/requirements/torch.txt" found index
    if [ -e "$(packages)/borrowed-torch.pth" ] || { [ -n "${MELOFORMER_PYTHON-}" ] && borrow_torch; }; then
        return
    elif [ -n "${MELOFORMER_TORCH_INDEX-}" ]; then
        pip_install --extra-index-url "$MELOFORMER_TORCH_INDEX" -r "$requirement"
    elif [ "$(uname -s)" != Linux ] || torch_is_at_hand; then
        pip_install -r "$requirement"
    elif found="$(gpu)" && index="$(cuda_index "$found")"; then
        say "found $found: taking PyTorch for CUDA from $index"
        pip_install --extra-index-url "$index" -r "$requirement"
    elif answers "$TORCH_CPU_INDEX/torch/"; then
        pip_install --extra-index-url "$TORCH_CPU_INDEX" -r "$requirement"
    elif ! borrow_torch; then
        say "$TORCH_CPU_INDEX does not answer: taking PyPI's PyTorch, several GB. Ctrl-C, and a mirror of these CPU builds" \
            "(MELOFORMER_TORCH_INDEX) or a Python that has PyTorch (MELOFORMER_PYTHON) avoids that."
        pip_install -r "$requirement"
    fi
}

# Name, driver and compute capability of the first GPU; fails where there is none.
gpu() { nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader 2>/dev/null | sed -n '1{/,.*,/p}' | grep .; }

# Where the PyTorch for a GPU is: CUDA 13 needs driver 580 and Turing (7.5) or newer, CUDA 12 driver 525 (NVIDIA's release notes).
cuda_index() {
    local driver capability
    driver="$(cut -d, -f2 <<< "$1" | tr -dc 0-9.)" capability="$(cut -d, -f3 <<< "$1" | tr -dc 0-9)"
    driver="${driver%%.*}"
    if [ "${driver:-0}" -ge 580 ] && [ "${capability:-0}" -ge 75 ]; then
        echo "$TORCH_INDEXES/cu130"
    elif [ "${driver:-0}" -ge 525 ]; then
        echo "$TORCH_INDEXES/cu126"
    else
        say "the driver of $1 must be 525 or newer for a PyTorch with CUDA: taking one for CPUs"
        return 1
    fi
}

# A training must not run on a CPU beside a GPU that only the installed PyTorch does not see, unless --cpu is among its options.
refuse_idle_gpu() {
    local found
    if [[ " $* " != *" --cpu "* ]] && [ -z "${CUDA_VISIBLE_DEVICES+set}" ] && found="$(gpu)" &&
        ! "$MELOFORMER_VENV/bin/python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
        fail "there is a GPU ($found), but the PyTorch in $MELOFORMER_VENV does not see it: remove $MELOFORMER_VENV and run this" \
            "again (MELOFORMER_TORCH_INDEX says from where), or give --cpu"
    fi
}

# Installed already, or a file that pip's own settings name.
torch_is_at_hand() {
    pip_install --dry-run --no-deps --no-index "$(grep '^torch==' "$MELOFORMER_ROOT/requirements/torch.txt")" >/dev/null 2>&1
}

answers() {
    "$MELOFORMER_VENV/bin/python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10).close()' "$1" 2>/dev/null
}

# The PyTorch of the Python that .venv is made with, seen through a path file behind .venv's own packages.
borrow_torch() {
    local folder
    folder="$("$(find_python)" -c '
import pathlib, torch
assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)
print(pathlib.Path(torch.__file__).parents[1])' 2>/dev/null)" || return
    say "using PyTorch from $folder"
    echo "$folder" > "$(packages)/borrowed-torch.pth"
}

packages() { "$MELOFORMER_VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
