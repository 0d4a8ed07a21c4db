"""fairseq in the process of the tests, and songs for it."""

import copy
import functools
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("fairseq", reason="the plugin needs fairseq")

from fairseq.dataclass import utils
from fairseq_commands import command

from fairseq_meloformer.plugin import compat
from fairseq_meloformer.tokens.vocabulary import published

# hydra takes a second for a configuration, and every loading of a model asks for one of the same arguments.
_compose = functools.cache(lambda name, given, strict, compose=utils.compose: compose(name, list(given), strict=strict))
utils.compose = lambda name, overrides, strict: copy.deepcopy(_compose(name, tuple(overrides), strict))


@pytest.fixture(autouse=True)
def quiet():
    """pytest makes every warning an error for each test anew; fairseq's own are none of ours."""
    compat.apply()


def song(generator, bars):
    """A grammatical song as text."""
    tokens = []
    for _ in range(bars):
        tokens.append(f"t-{generator.randint(20, 40)}")
        for onset in sorted(generator.sample(range(48), generator.randint(0, 4))):
            tokens.append(f"o-{onset}")
            for program in sorted(generator.sample((0, 25, 80, 128), generator.randint(1, 2))):
                tokens.append(f"i-{program}")
                for pitch in sorted(generator.sample(range(40, 90), generator.randint(1, 2)), reverse=True):
                    tokens += [f"p-{pitch + 128 * (program == 128)}", f"d-{generator.randint(0, 20)}", "v-20"]
        tokens.append("b-1")
    return " ".join(tokens)


@dataclass(frozen=True)
class Corpus:
    """Songs as text, and where they are binarised."""

    data: Path
    songs: dict[str, list[str]]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """30 songs to train on, 7 to validate, 3 prompts of which one is empty; made by the real fairseq-preprocess."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = random.Random(0)
    songs = {
        "train": [song(generator, generator.randint(1, 8)) for _ in range(30)],
        "valid": [song(generator, generator.randint(2, 6)) for _ in range(7)],
        "test": ["", song(generator, 1), song(generator, 3)],
    }
    for split, lines in songs.items():
        (folder / split).write_text("".join(f"{line}\n" for line in lines))
    published().write(folder / "dict.txt")
    splits = [argument for split in ("train", "valid", "test") for argument in (f"--{split}pref", folder / split)]
    command("preprocess", "--only-source", "--srcdict", folder / "dict.txt", "--destdir", folder / "bin", *splits)
    return Corpus(folder / "bin", songs)
