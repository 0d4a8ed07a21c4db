"""Moments of life that ask for music without saying so, written by hand in moments.yaml."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words.scenes import LANGUAGES, read_yaml

FILE: Final = Path(__file__).with_name("moments.yaml")

# How strongly a moment asks for what it implies.
_IMPLIED: Final = 0.8
_SIDE: Final = re.compile(rf"({'|'.join(AXES)})([+-])")


def moments(path: Path = FILE) -> Iterator[tuple[str, dict[str, float]]]:
    """Texts and what they imply, each axis in [-1, 1].

    Raises:
        InputError: the file is not of the form that it explains itself; all mistakes at once.
    """
    content = read_yaml(path)
    problems = list(_problems(content))
    if problems:
        raise InputError(f"{path} has {len(problems)} mistakes:\n" + "\n".join(problems))
    for key, words in content.items():
        profile = {axis: _IMPLIED if side == "+" else -_IMPLIED for axis, side in _SIDE.findall(key)}
        for lang in LANGUAGES:
            yield from ((text, profile) for text in words[lang])


def _problems(content: Any) -> Iterator[str]:  # noqa: ANN401 - unchecked YAML
    if not isinstance(content, dict) or not content:
        yield "must be a mapping from axes to moments"
        return
    seen: dict[str, str] = {}
    for key, words in content.items():
        if not all(_SIDE.fullmatch(part) for part in str(key).split()):
            yield f"{key!r}: must name control axes, each followed by + or -, such as 'tempo- loudness-'"
        for lang in LANGUAGES:
            texts = words.get(lang) if isinstance(words, dict) else None
            if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
                yield f"{key!r}: {lang} must be a list of texts"
                continue
            yield from (f"{key!r}: {text!r} already stands below {seen[text]!r}" for text in texts if text in seen)
            seen |= dict.fromkeys(texts, str(key))
