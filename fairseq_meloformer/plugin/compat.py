"""Everything that fairseq 0.12 needs on today's Python, numpy and torch, each with its reason; applied once, first.

It also makes fairseq's loading safe: checkpoints are read without running what is in them, and the directory form of a
MuseFormer (model.safetensors + config.json) is accepted wherever fairseq takes a checkpoint.
"""

import argparse
import functools
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from fairseq_meloformer import hub
from fairseq_meloformer.bridge import checkpoints as bridges
from fairseq_meloformer.errors import InputError, in_words
from fairseq_meloformer.museformer import checkpoints
from fairseq_meloformer.museformer.arguments import arguments_from_config
from fairseq_meloformer.weights import CONFIG, WEIGHTS, read_fields

State = dict[str, Any]
Function = Callable[..., Any]


def apply() -> None:
    """Put all of it in force. A second call changes nothing."""
    _numpy()
    _warnings()
    _batches()
    _loading()
    _logging()
    _messages()
    _processes()


def _numpy() -> None:
    # token_block_dataset.py and language_pair_dataset.py read np.compat.long, which numpy 2 has no more.
    if not hasattr(np, "compat"):
        setattr(np, "compat", SimpleNamespace(long=int))  # noqa: B010  a plain assignment is a lint error in itself
    # data_utils.py (masking) and dynamic_crf_layer.py use the aliases that numpy 1.24 removed.
    for name, kind in (("int", int), ("float", float)):
        if name not in vars(np):
            setattr(np, name, kind)


def _warnings() -> None:
    # One or more a step or a start, about fairseq's own code, and nothing a user can act upon.
    warnings.filterwarnings("ignore", message=r".*torch\.cuda\.amp\.\w+\(args.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.* is deprecated.*", category=DeprecationWarning)
    # fairseq asks for pinned memory with or without a GPU.
    warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true", category=UserWarning)
    # Hydra, on how fairseq composes its configuration.
    for text in (
        "The version_base",
        "The strict flag",
        "'config' is validated",
        "In 'config': Usage of deprecated",
        r"hydra\.experimental",
    ):
        warnings.filterwarnings("ignore", message=rf"\n?{text}", category=UserWarning)


def _batches() -> None:
    from fairseq.data import data_utils  # noqa: PLC0415  after the numpy names are there

    if not hasattr(data_utils.batch_by_size, "__wrapped__"):
        data_utils.batch_by_size = _keeping_all(data_utils.batch_by_size)


def _loading() -> None:
    from fairseq import checkpoint_utils  # noqa: PLC0415

    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
    checkpoint_utils.PathManager.copy = _another_name
    if not hasattr(checkpoint_utils.load_model_ensemble_and_task, "__wrapped__"):
        checkpoint_utils.load_model_ensemble_and_task = _reading_ids(checkpoint_utils.load_model_ensemble_and_task)
    if not hasattr(checkpoint_utils.load_checkpoint, "__wrapped__"):
        checkpoint_utils.load_checkpoint = _reading_directories(checkpoint_utils.load_checkpoint)


def _logging() -> None:
    # wav2vec2_classification.py sets the root logger to DEBUG when fairseq is imported: every library's chatter.
    logging.getLogger().setLevel(os.environ.get("LOGLEVEL", "INFO").upper())
    # A line for each parameter that both streams of a MuseFormer share, some two hundred, at every start.
    logging.getLogger("fairseq.trainer").addFilter(_says_more)


def _says_more(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("detected shared parameter")


def _messages() -> None:
    # fairseq's commands let every error end in a traceback, under which a message to the user is hard to find.
    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, InputError | OSError):
            sys.stderr.write(f"error: {in_words(error)}\n")
        elif isinstance(error.__context__, InputError):  # fairseq's trainer hides for what it refuses a checkpoint
            sys.stderr.write(f"error: {error.__context__}\n")
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = report


def _processes() -> None:
    from fairseq.distributed import utils  # noqa: PLC0415

    if not hasattr(utils.call_main, "__wrapped__"):
        utils.call_main = _together(utils.call_main)


def _together(call_main: Function) -> Function:
    """Refuse what fairseq does where torchrun starts processes and nobody tells them: each trains for itself."""

    @functools.wraps(call_main)
    def call(cfg: Any, main: Function, **options: Any) -> Any:  # noqa: ANN401
        started = int(os.environ.get("WORLD_SIZE", "1"))
        known: int = cfg.distributed_training.distributed_world_size
        if started > 1 and known == 1 and "RANK" in os.environ:
            raise InputError(
                f"{started} processes were started, but fairseq was not told, and would train {started} times into one "
                "folder: give the script --gpus N instead, or each process --distributed-world-size $WORLD_SIZE "
                "--distributed-rank $RANK --distributed-init-method env:// --distributed-no-spawn"
            )
        return call_main(cfg, main, **options)

    return call


def _keeping_all(batch_by_size: Function) -> Function:
    """Bring back the last batch, which fairseq 0.12 drops unless its size is a multiple of 8 (fairseq issue 5036).

    Without it, generation and extraction would silently leave out up to a whole batch of songs.
    """

    @functools.wraps(batch_by_size)
    def complete(indices: Any, *args: Any, **kwargs: Any) -> list[Any]:  # noqa: ANN401  fairseq's functions have no types
        if len(indices) == 0:
            return []
        batches: list[Any] = list(batch_by_size(indices, *args, **kwargs))
        kept = sum(map(len, batches))
        return batches if kept == len(indices) else [*batches, np.asarray(indices)[kept:]]

    return complete


def _another_name(source: str, target: str, *, overwrite: bool = False) -> bool:  # noqa: ARG001  fairseq's
    """In the place of copying: fairseq keeps a checkpoint as that of the update, the best and the last one.

    It writes each by renaming and never into a file that is there, so that they may be one file on disk: a model of
    100M parameters is written once, 1.2 GB, and not three times.
    """
    draft = Path(f"{target}.tmp")
    draft.unlink(missing_ok=True)
    try:
        os.link(source, draft)
    except OSError:  # a file system without links
        shutil.copyfile(source, draft)
    draft.replace(target)
    draft.unlink(missing_ok=True)  # it stays where both names were one file already
    return True


def load_checkpoint_to_cpu(path: str, arg_overrides: State | None = None, load_on_all_ranks: bool = False) -> State:  # noqa: ARG001
    """In the place of fairseq's function of this name, which leaves it to torch whether pickles may run code.

    Args:
        path: a .pt, or a directory with model.safetensors and config.json (or the former itself) of a MuseFormer or,
            for fairseq-validate, of a bridge.
        arg_overrides: arguments to set in the checkpoint's own.
        load_on_all_ranks: fairseq's, for remote files.

    Raises:
        InputError: nothing that can be read, or only by running code.
    """
    from fairseq import checkpoint_utils  # noqa: PLC0415
    from fairseq.dataclass.utils import overwrite_args_by_name  # noqa: PLC0415

    directory = Path(path).parent if Path(path).name == WEIGHTS else Path(path)
    if not directory.is_dir():
        state = checkpoints.read_state(path)
    elif (directory / CONFIG).is_file() and read_fields(directory).get("kind") == "bridge":
        state = _bridge_state(directory)
    else:
        state = _directory_state(path)
    _note_size(state)
    if state.get("args") is not None:
        state["args"].__dict__.update(arg_overrides or {})
    if state.get("cfg") is not None:
        state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})
        overwrite_args_by_name(state["cfg"], arg_overrides or {})
    upgraded: State = checkpoint_utils._upgrade_state_dict(state)  # noqa: SLF001  part of the function replaced
    upgraded["args"] = None  # of which fairseq would make the `cfg` that is there now once more, in half a second
    upgraded.setdefault("criterion", {})  # which older versions did not keep, and criteria with parameters look for
    return upgraded


def _note_size(state: State) -> None:
    """Add to a MuseFormer's arguments how many symbols it knows: where the data are prompts, no dict.txt says it."""
    sizes = [len(t) for name, t in state["model"].items() if checkpoints.canonical(name) == checkpoints.EMBEDDING]
    arguments = state["args"] if state.get("args") is not None else (state.get("cfg") or {}).get("model")
    if sizes and arguments is not None:
        fields = vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments
        fields["vocabulary_size"] = sizes[0]


def _bridge_state(directory: Path) -> State:
    """A bridge's directory in the form of a checkpoint of its training: the average of the weights is all it has."""
    from fairseq_meloformer.plugin.bridge_model import arguments_of, state_of  # noqa: PLC0415  fairseq's models

    bridge = bridges.load(directory)
    return _untrained(argparse.Namespace(**arguments_of(bridge.config)), state_of(bridge))


def _directory_state(path: str) -> State:
    """A directory in the form of a fairseq checkpoint, without any state of training."""
    loaded = checkpoints.load(path)
    arguments = {"criterion": "cross_entropy", "sentence_avg": False, **arguments_from_config(loaded.config)}
    return _untrained(argparse.Namespace(**arguments), checkpoints.with_aliases(loaded.parameters))


def _untrained(arguments: argparse.Namespace, model: State) -> State:
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
    return {
        "args": arguments,
        "model": model,
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }


def _reading_ids(load_models: Function) -> Function:
    """Let `--path` name models by their Hub ids, which fairseq takes for missing files."""

    @functools.wraps(load_models)
    def load(filenames: list[str], *args: Any, **passthrough: Any) -> Any:  # noqa: ANN401
        return load_models([str(hub.local(name)) for name in filenames], *args, **passthrough)

    return load


def _reading_directories(load_checkpoint: Function) -> Function:
    """Let fairseq-train start from a directory, which it takes for a missing file, and then silently from scratch.

    And let --stop-time-hours count this training alone, not that of the model which it tunes: it would end at once.
    And where it goes on from --restore-file, let the model that it began from still be named: its sizes count.
    """

    @functools.wraps(load_checkpoint)
    def load(cfg: Any, trainer: Any, **passthrough: Any) -> Any:  # noqa: ANN401
        if cfg.restore_file != checkpoints.LAST:
            cfg.finetune_from_model = None
        begins = cfg.finetune_from_model and not (Path(cfg.save_dir) / "checkpoint_last.pt").exists()
        for name in ("finetune_from_model", "restore_file"):
            given = cfg[name]
            if given and hub.local(given).is_dir():
                cfg[name] = str(hub.local(given) / WEIGHTS)
        # Otherwise rank 0 sends the others a pickle, which torch's safe reader refuses: it holds omegaconf's classes.
        cfg.load_checkpoint_on_all_dp_ranks = True
        loaded = load_checkpoint(cfg, trainer, **passthrough)
        if begins:
            trainer._previous_training_time = 0  # noqa: SLF001  fairseq has no other way
        return loaded

    return load
