"""Hostile prompts: files of one good line and hostile ones; the good line is always kept, the others taken or told.

python -m tests.campaigns.prompts --cases 10000
"""

import json
import logging
import random
from functools import cache
from pathlib import Path
from typing import Any

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words.prompt_files import read_prompts
from tests.campaigns import campaign

_WORDS = (
    *("calm", "fast", "8 bars", "9999 bars", "0 bars", "in 7/0", "at 10000 bpm", "at -1 bpm", "bars 1-8:", "bars 9-2:"),
    *("安静", "钢琴", "九千九百九十九小节", "第0小节:", "一万拍", "\uff46ast", "\u2028", "\u202e", "\ufeff", "e\u0301"),
    *(
        "without",
        "no",
        "not not",
        "->",
        ";",
        ":",
        "1-4",
        "1" * 5000,
        "é",
        "\x00",
        "\x1b[31m",
        "\t",
        "bars 1-999999999:",
    ),
    "\U0001f469\u200d\U0001f467",
)
_VALUES: tuple[Any, ...] = (
    *(0, -1, 8, 10**9, 10**30, 1.5, float("nan"), True, None, "", "8", "x" * 240, "\ud800", [], {}),
    *("a/b", "..", "CON"),
    *([1], {"a": [[[[]]]]}, "É", "E\u0301", "\x07", [{"bars": "1-4", "text": "calm"}], [{"bars": "4-1", "text": ""}]),
)
_KEYS = ("text", "id", "bars", "seed", "transposition", "sections", "mood", "", "\ud800")


def _text(rng: random.Random) -> str:
    return rng.choice((" ", ", ", "", "\n")).join(rng.choices(_WORDS, k=rng.choice((1, 2, 5, 20))))


def _line(rng: random.Random) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:
        made = _text(rng).encode()
    elif kind == 1:
        row = {"text": _text(rng)} | {rng.choice(_KEYS): rng.choice(_VALUES) for _ in range(rng.randrange(4))}
        made = json.dumps(row, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    elif kind == 2:
        made = campaign.mutated(json.dumps({"text": "calm", "bars": 8, "id": "a"}).encode(), rng)
    elif kind == 3:
        made = campaign.mutated("安静的钢琴, 8 bars".encode(), rng)
    elif kind == 4:
        made = rng.choice((b"[", b'{"a":', b'{"text":"a","b":' + b"[" * 50)) * rng.choice((1, 50, 3000))
    else:
        made = rng.randbytes(rng.choice((1, 20, 2000)))
    return made


@cache
def _path() -> Path:
    logging.getLogger("fairseq_meloformer").setLevel(logging.ERROR)  # the lines that were left out
    return campaign.folder() / "prompts.jsonl"


def case(rng: random.Random) -> str:
    hostile = [_line(rng) for _ in range(rng.choice((1, 3)))]
    good = json.dumps({"id": "the good one", "text": "a calm piano piece"}).encode()
    _path().write_bytes(b"\n".join([good, *hostile]))
    kept = read_prompts(_path(), skip_bad=True)
    if kept[0].id != "the good one":
        raise AssertionError("a good line was lost")
    for prompt in kept:
        json.dumps({"id": prompt.id, "text": prompt.text, **prompt.about}, ensure_ascii=False).encode()
    try:
        all_of_them = read_prompts(_path())
    except InputError as error:
        if "line " not in str(error):
            raise AssertionError("a fault without its line") from error
        return "bad lines told by their numbers"
    if [prompt.id for prompt in all_of_them] != [prompt.id for prompt in kept]:
        raise AssertionError("--skip-bad left out a line that is no fault")
    return "all lines taken"


if __name__ == "__main__":
    campaign.main(case, 300)
