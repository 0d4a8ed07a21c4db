"""Composed pieces on disk: MIDI, picture, sound, and one line of `manifest.jsonl` each."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from torch import Tensor
from tqdm import tqdm

from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.piece import MANIFEST, Piece, Settings
from fairseq_meloformer.composing.regeneration import Infilling
from fairseq_meloformer.composing.sections import measure_sections
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import JsonlLog, sole_writer
from fairseq_meloformer.render import musicxml
from fairseq_meloformer.words.prompts import Prompt, Request

Row = dict[str, Any]
Job = tuple[Prompt, int, Request]


def made_with(settings: Settings, composer: Composer) -> Row:
    """What shapes pieces beside their requests: settings, and the identities of the models."""
    return {**dataclasses.asdict(settings), **composer.identity(), "plan_from": None}


class PieceFolder:
    """A folder of pieces `<id>-<k>.mid`, with `manifest.jsonl`; pieces that are there are not composed again.

    No other run may write to it until it is closed.

    Args:
        directory: made if it is not there.
        made_with: what shaped the pieces besides the request: settings and identities of the models.
        picture: draw a piano roll of each piece.
        sound: render each piece.
        score: write the score of each piece, as MusicXML and as PDF.
        page: write a page of each piece, with its sound in it.
        share: number of this process and of all that write to the folder together, each of other pieces: lines for the
            manifest are then in `manifest.<number>.jsonl`, see `gather`.

    Raises:
        InputError: another run writes to the folder, or its manifest cannot be read.
    """

    def __init__(
        self,
        directory: str | Path,
        made_with: Row,
        *,
        picture: bool = True,
        sound: bool = True,
        score: bool = False,
        page: bool = False,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.directory = Path(directory)
        number, processes = share
        with ExitStack() as stack:
            if processes == 1:
                stack.enter_context(sole_writer(self.directory))
            self.directory.mkdir(parents=True, exist_ok=True)
            own = self.directory / (MANIFEST if processes == 1 else f"manifest.{number}.jsonl")
            self.manifest = stack.enter_context(JsonlLog(own, key="piece"))
            self._held = stack.pop_all()
        self._known = [self.manifest, JsonlLog(self.directory / MANIFEST, key="piece")][:processes]
        # As JSON has it, so that it can be compared with what an earlier run wrote.
        self.made_with: Row = json.loads(json.dumps(made_with))
        self._picture = picture
        self._sound = sound
        self._score = score
        self._page = page

    def close(self) -> None:
        """Let others write to the folder."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def missing(self, jobs: Sequence[Job]) -> list[Job]:
        """Pieces that are still to be composed, or lack a file that is wanted now.

        Raises:
            InputError: the folder has a piece of this name that was made otherwise; nothing is overwritten.
        """
        missing = []
        for prompt, number, request in jobs:
            name = f"{prompt.id}-{number}"
            known = next((log for log in self._known if name in log.done), None)
            if known is None:
                missing.append((prompt, number, request))
                continue
            row = known[name]
            asked = {**self._asked(prompt, request), "settings": self.made_with}
            if changed := [key for key, value in asked.items() if row.get(key) != value]:
                raise InputError(
                    f"{self.directory} already has {name}.mid, made with another {' and '.join(changed)}: "
                    "choose another output folder (or id), or remove the old pieces with their manifest"
                )
            if not self._complete(row):
                missing.append((prompt, number, request))
        return missing

    def _complete(self, row: Row) -> bool:
        """Whether a piece has all its files and those that are wanted, but for what could not be made here."""
        wanted = {"picture": self._picture, "sound": self._sound, "score": self._score, "page": self._page}
        there = {*row["files"], *row.get("not_made", [])}
        return all((self.directory / file).is_file() for file in row["files"].values()) and all(
            kind in there for kind, asked in wanted.items() if asked
        )

    def write(self, prompt: Prompt, number: int, piece: Piece) -> Row:
        """Write the files of a piece, then its line of the manifest."""
        name = f"{prompt.id}-{number}"
        files = {"midi": f"{name}.mid"}
        piece.save(self.directory / files["midi"])
        if self._picture:
            files["picture"] = f"{name}.png"
            piece.picture(self.directory / files["picture"], title=prompt.text)
        if self._sound and piece.sound(self.directory / f"{name}.wav"):
            files["sound"] = f"{name}.wav"
        if self._score:
            files["score"] = f"{name}.musicxml"
            piece.score(self.directory / files["score"])
            if musicxml.engrave(self.directory / files["score"], self.directory / f"{name}.pdf", prompt.text):
                files["pdf"] = f"{name}.pdf"
        if self._page:
            files["page"] = f"{name}.html"
            piece.page(self.directory / files["page"])
        sections = piece.request.sections
        row = {
            "piece": name,
            **self._asked(prompt, piece.request),
            "given_seed": piece.request.given_seed,
            "settings": self.made_with,
            "files": files,
            **({"not_made": ["sound"]} if self._sound and "sound" not in files else {}),
            "understood": list(piece.understood),
            "not_honoured": list(piece.not_honoured),
            "attributes": piece.attributes,
            **({"section_attributes": measure_sections(piece.midi, sections)} if sections else {}),
            **({"full_system": dict(piece.about)} if piece.about else {}),
        }
        if name in self.manifest.done:
            self.manifest.rewrite({name: row})
        else:
            self.manifest.append(row)
        return row

    @staticmethod
    def _asked(prompt: Prompt, request: Request) -> Row:
        asked = {"id": prompt.id, "prompt": prompt.text, **dataclasses.asdict(request), "about": dict(prompt.about)}
        sections, _ = asked.pop("sections"), asked.pop("given_seed")
        named = [{key: value for key, value in section.items() if value != ""} for section in sections]
        return {**asked, "sections": named} if named else asked


def gather(directory: str | Path) -> None:
    """Put the lines that processes wrote down apart into one manifest, once they are done.

    Raises:
        InputError: another run writes to the folder.
    """
    folder = Path(directory)
    with sole_writer(folder), JsonlLog(folder / MANIFEST, key="piece") as manifest:
        for path in sorted(folder.glob("manifest.*.jsonl")):
            rows = {str(row["piece"]): row for row in JsonlLog(path, key="piece").rows()}
            manifest.rewrite({name: row for name, row in rows.items() if name in manifest.done})
            for row in (row for name, row in rows.items() if name not in manifest.done):
                manifest.append(row)
            path.unlink()


def composed(
    composer: Composer,
    requests: Sequence[Request],
    settings: Settings,
    oracle: Tensor | None,
    passage: Infilling | None,
) -> list[Piece]:
    """Whole pieces, or where a passage is given bars of an existing one."""
    if passage is None:
        return composer.compose(requests, settings, oracle)
    return composer.recompose(requests, settings, passage)


def compose_all(
    composer: Composer,
    folder: PieceFolder,
    jobs: Sequence[Job],
    settings: Settings,
    *,
    batch_size: int,
    oracle: Tensor | None = None,
    passage: Infilling | None = None,
) -> Iterator[Row]:
    """Compose what is missing, batch by batch, and yield the manifest's line of each piece as it is written.

    Args:
        composer: what composes.
        folder: where pieces are written.
        jobs: the pieces.
        settings: see `Composer.compose`.
        batch_size: pieces at a time, candidates included.
        oracle: see `Composer.compose`.
        passage: bars to compose anew instead of whole pieces, see `Composer.recompose`.
    """
    missing = folder.missing(jobs)
    together = max(1, batch_size // (composer.control.best_of if composer.control else 1))
    with tqdm(total=len(missing), desc="compose", unit="piece", disable=None) as bar:
        for first in range(0, len(missing), together):
            batch = missing[first : first + together]
            requests = [request for _, _, request in batch]
            pieces = composed(composer, requests, settings, oracle, passage)
            for (prompt, number, _), piece in zip(batch, pieces, strict=True):
                yield folder.write(prompt, number, piece)
                bar.update()
