"""Chords that are asked for: a bias on pitches bar by bar, and how many bars of a piece have them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch

from fairseq_meloformer.composing.parts import Part, key_of, part_at
from fairseq_meloformer.measures import harmony as measured
from fairseq_meloformer.measures.passage import Passage
from fairseq_meloformer.midi.metre import length_of
from fairseq_meloformer.museformer.rules import Close, Harmony
from fairseq_meloformer.words.chords import Bar, Chord

# Nats for pitches outside the chord, for the bass's other ones than the root, for pitches of the chord that have not
# sounded yet, and for notes that last into a chord that they are not in.
_OUTSIDE: Final = -3.0
_BASS: Final = -4.0
_FRESH: Final = 1.5
_HELD: Final = -5.0
_HALVES: Final = 2
_WORN: Final = -1.0
"""For the notes of a bar's triad in the bar after it, for every bar since it came; see `HarmonicRhythm`."""
_CLOSES_FROM: Final = 8
"""Bars of pieces that end on their tonic; shorter ones are figures more than pieces."""
_SURE: Final = 100.0


def harmonised(part: Part, key: str | None, moved: int, bars: int | None, *, since: int = 0) -> Part:
    """A part with its chords as the model writes them.

    Args:
        part: with or without chords among its wishes.
        key: of the piece.
        moved: semitones from what the model writes to what sounds.
        bars: of the part, if they are known.
        since: the part's bar, from 0, with which the chords begin.
    """
    if part.wishes.chords is None:
        return part
    sounding = part.wishes.chords.in_key(key)[0]
    chords = sounding.moved(-moved).bars
    begun = -since % len(chords)
    part = replace(part, chords=chords[begun:] + chords[:begun])
    if bars is None or bars - since >= len(chords):
        return part
    left_out = replace(sounding, bars=sounding.bars[bars - since :])
    return part.but(f"chords {left_out.name} (there are {bars - since} bars for them)")


def harmony(songs: Sequence[Sequence[Part]], bars: int, metres: Sequence[str]) -> Harmony | None:
    """What the chords of songs of these metres and at most so many bars add to pitches; None if there are no chords."""
    if not any(part.chords for parts in songs for part in parts):
        return None
    pitches = torch.zeros(len(songs), bars, _HALVES, 2, 12)
    fresh, held = (torch.zeros(len(songs), bars, _HALVES, 12) for _ in range(2))
    middle = torch.tensor([length_of(metre) / _HALVES for metre in metres])
    until = (_HALVES * middle)[:, None, None].repeat(1, bars, _HALVES)
    for song, parts in enumerate(songs):
        asked = [chords_of(parts, bar) for bar in range(bars)]
        for bar, (here, following) in enumerate(zip(asked, [*asked[1:], ()], strict=True)):
            until[song, bar, 0] /= max(1, len(here))
            later = following[0] if following else None
            for half, chord in enumerate(_halves(here)):
                if chord is None:
                    continue
                after = here[1] if half == 0 and len(here) > 1 else later
                inside = _classes(chord.pitch_classes)
                pitches[song, bar, half] = _OUTSIDE * (1 - inside)
                pitches[song, bar, half, 1] += _BASS * (1 - _classes({chord.root}))
                fresh[song, bar, half] = _FRESH * inside
                held[song, bar, half] = 0 if after is None else _HELD * (1 - _classes(after.pitch_classes))
    return Harmony(pitches, fresh, held, until, middle)


def closes(songs: Sequence[Sequence[Part]], lengths: Sequence[int]) -> Close:
    """Which songs of so many bars end on their tonic: those that are long enough, unless they repeat or have chords."""
    ends = [
        bars >= _CLOSES_FROM and not parts[-1].chords and not _repeats(parts[-1])
        for parts, bars in zip(songs, lengths, strict=True)
    ]
    last = [bars - 1 if end else -1 for end, bars in zip(ends, lengths, strict=True)]
    return Close(torch.tensor(last), torch.tensor([_mode(parts) for parts in songs]))


def worn(songs: Sequence[Sequence[Part]], bars: int) -> torch.Tensor:
    """(songs, bars) nats by which a triad that stays wears out: none where chords or repetition are asked for."""
    of_bars = [[part_at(parts, bar) for bar in range(bars)] for parts in songs]
    return torch.tensor([[0.0 if part.chords or _repeats(part) else _WORN for part in parts] for parts in of_bars])


def _repeats(part: Part) -> bool:
    """Whether repetition is asked for."""
    return part.wishes.moving.get("recurrence", 0.0) > 0


def _mode(parts: Sequence[Part]) -> float:
    """How surely the last of the parts is major, in notes, as far as is asked."""
    key = key_of(parts)
    asked = parts[-1].profile.get("mode", 0.0) if key is None else 1.0 if key.endswith("major") else -1.0
    return _SURE * asked


def astray(passage: Passage, part: Part) -> float:
    """Share of the bars (or halves, where these have chords of their own) whose best triad is another than asked.

    Args:
        passage: bars of a piece in the model's key, of which the first is the part's.
        part: which has chords.
    """
    per_bar = max(len(bar) for bar in part.chords)
    found = measured.chords(passage, per_bar).tolist()
    wanted = [chord for bar in range(passage.bars) for chord in _halves(chords_of([part], part.first + bar))]
    step = _HALVES // per_bar
    right = sum(chord is None or chord.triad in (None, best) for chord, best in zip(wanted[::step], found, strict=True))
    return 1 - right / len(found)


def chords_of(parts: Sequence[Part], bar: int) -> Bar:
    """The chords of a bar; none if it has none of its own."""
    part = part_at(parts, bar)
    return part.chords[(bar - part.first) % len(part.chords)] if part.chords else ()


def _halves(bar: Bar) -> list[Chord | None]:
    """The chords of both halves of a bar."""
    return [bar[0], bar[-1]] if bar else [None, None]


def _classes(pitches: frozenset[int] | set[int]) -> torch.Tensor:
    """(12,) 1 for each of these pitch classes."""
    return torch.tensor([float(pitch in pitches) for pitch in range(12)])
