"""What a language model is asked, what it may answer, and what that will cost."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from fairseq_meloformer.corpus.sources.personal import personal_data
from fairseq_meloformer.corpus.sources.prepared import PreparedPassage, facts
from fairseq_meloformer.corpus.sources.rows import language
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import dumps
from fairseq_meloformer.measures.attributes import ATTRIBUTES
from fairseq_meloformer.words.scenes import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairseq_meloformer.measures.quantiles import Quantiles

Messages = list[dict[str, str]]
Answer = dict[str, list[str]]

LONGEST: Final = 400
"""Characters of a caption; a text encoder reads no more than some 500 tokens."""

_EXAMPLES: Final = 3
_BYTES_A_TOKEN: Final = 3
"""A cautious estimate: English has about 4 bytes to a token, Chinese about 3, numbers 2 to 3."""
_TOKENS_A_CAPTION: Final = 60

_TASK: Final = """\
You describe passages of instrumental music for people who search or order music in plain words.
You get a song's title and what was measured in one passage: `measured` has values in the units below, \
`place_in_corpus` says where they lie among thousands of passages, from -1 (as slow, sparse, low ... as it gets) over \
0 (ordinary) to 1.
Write {count} captions in Chinese (simplified) and {count} in English, each different in length and manner: a few \
words, a phrase, a sentence, a scene or a mood that such music would fit.
Say only what the measurements bear out; mention what is unusual and leave out what is ordinary. Numbers are rarely \
needed. The title is a hint at the mood and must not be quoted; name no artist, no voice, no lyrics.
Answer with one JSON object and nothing else: {{"zh": [{count} strings], "en": [{count} strings]}}.

Units:
{units}"""
_EXAMPLES_FOLLOW: Final = "\n\nThis is how musicians have described other music; learn the manner, not the content:\n"


@dataclass(frozen=True)
class Prompter:
    """Makes requests.

    Attributes:
        model: the language model's name.
        quantiles: what counts as fast or high in the corpus.
        count: captions in each language.
        wording: texts to show as examples of wording, perhaps none.
    """

    model: str
    quantiles: Quantiles
    count: int
    wording: Sequence[str] = ()

    def messages(self, passage: PreparedPassage) -> Messages:
        """The request for one passage; always the same for the same passage."""
        units = "\n".join(f"{name}: {attribute.unit}" for name, attribute in ATTRIBUTES.items())
        system = _TASK.format(count=self.count, units=units)
        if self.wording:
            chosen = Random(passage.id).sample(self.wording, min(_EXAMPLES, len(self.wording)))
            system += _EXAMPLES_FOLLOW + "\n".join(f"- {text}" for text in chosen)
        asked = f"Title: {json.dumps(passage.title or None, ensure_ascii=False)}\n{facts(passage, self.quantiles)}"
        return [{"role": "system", "content": system}, {"role": "user", "content": asked}]

    def key(self, passage: PreparedPassage) -> str:
        """A hash of everything that is sent: the same request is never paid for twice."""
        return hashlib.sha256(dumps({"model": self.model, "messages": self.messages(passage)}).encode()).hexdigest()

    def tokens(self, passage: PreparedPassage) -> tuple[int, int]:
        """Estimated tokens of a request and of its answer."""
        sent = sum(len(message["content"].encode()) for message in self.messages(passage))
        return sent // _BYTES_A_TOKEN, len(LANGUAGES) * self.count * _TOKENS_A_CAPTION


def read_answer(text: object, count: int) -> Answer:
    """Captions by language in a model's answer; a frame of Markdown around the JSON is tolerated.

    Raises:
        InputError: if it is not what was asked for, and why.
    """
    content = text if isinstance(text, str) else ""
    try:
        answer = json.loads(content[content.index("{") : content.rindex("}") + 1])
    except (ValueError, RecursionError):
        raise InputError("the answer must be a JSON object; it is none, or it was cut off") from None
    return {lang: _captions(answer.get(lang), lang, count) for lang in LANGUAGES}


def _captions(texts: object, lang: str, count: int) -> list[str]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"the answer's {lang} must be a list of strings; it is {type(texts).__name__}")
    stripped = list(dict.fromkeys(plain(text) for text in texts))
    if len(stripped) < count:
        raise InputError(f"the answer's {lang} must have {count} different captions; it has {len(stripped)}")
    for text in stripped[:count]:
        if not 2 <= len(text) <= LONGEST:
            raise InputError(f"a caption must have 2 to {LONGEST} characters; one in {lang} has {len(text)}")
        if language(text) != lang:
            raise InputError(f"a caption under {lang} must be in that language; one is not")
        if kind := personal_data(text):
            raise InputError(f"a caption must be about music; one in {lang} has a {kind}")
    return stripped[:count]


def plain(text: str) -> str:
    """Text of one line, without control and format characters and halves of characters."""
    return "".join(char for char in " ".join(text.split()) if unicodedata.category(char)[0] != "C")
