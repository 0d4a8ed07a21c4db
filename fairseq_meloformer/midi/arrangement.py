"""A MIDI file as six instruments that a model reads, and the way of new notes back into the file's own tracks."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from copy import copy
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from miditoolkit import Instrument, MidiFile, Note

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.beats import Placement, as_written, later, moved, place
from fairseq_meloformer.midi.channels import DRUM_CHANNEL
from fairseq_meloformer.midi.events import EventFile, FileNote, Player, head, metre_event, note_events
from fairseq_meloformer.midi.metre import METRES, POSITIONS, index_of, length_of, song_grid, to_positions
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import NAMES, merged_to, roles_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from fairseq_meloformer.midi.events import Event

_METRES: Final = ("4/4", "3/4", "6/8")
"""Metres that the tokens can hold; 2/4 is read in pairs of bars where it can be."""
_CHANNELS: Final = 16


@dataclass(frozen=True)
class Arrangement:
    """A file and what a model reads of it.

    Attributes:
        file: the file.
        song: its notes by six instruments, in one metre with its first bar at tick 0.
        roles: program of the six that each player of the file has; players that the model does not read are not in it.
        metre: of the song, such as "4/4".
        late: ticks by which the song is later than the file.
        lines: where the bars of the file begin and the last one ends, in positions (1/12 quarter) of the song. They are
            the song's own where the file's cannot be believed, see `beats.place`.
        players: by program, the one of the six that it is known to play for.
    """

    file: EventFile
    song: MidiFile
    roles: Mapping[Player, int]
    metre: str
    late: int
    lines: Sequence[int]
    players: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, file: EventFile, metres: Sequence[str] = _METRES, players: Mapping[int, int] | None = None
    ) -> Arrangement:
        """Arrange a file: its instruments are the six if it has these, once each, or else see `six_tracks.roles_of`.

        Args:
            file: the file.
            metres: see `beats.place`.
            players: by program, the one of the six that it is known to play for: a koto for the piano.

        Raises:
            InputError: none of its instruments is one of the six, or its metre is none that the tokens have.
        """
        stand_for = {program: program for program in NAMES} | dict(players or {})
        notes_of: dict[Player, list[FileNote]] = defaultdict(list)
        for note in file.notes:
            notes_of[note.player].append(note)
        song = copy(file.song)
        song.instruments = [_instrument(file, player, notes) for player, notes in notes_of.items()]
        six = _is_six(file, notes_of, stand_for)
        placement, believed = _placed(song, metres, believe=six)
        there = moved(song, placement)
        own = {index: stand_for.get(player.program, player.program) for index, player in enumerate(notes_of)}
        roles = own if six else roles_of(there)
        if not roles:
            raise InputError(
                "A piece to start from must have notes of a lead, drums, bass, guitar, piano or strings (programs "
                "0-7, 24-54, 73-88), but this one has none."
            )
        named = {player: roles[index] for index, player in enumerate(notes_of) if index in roles}
        late = int(to_positions(placement.shift, song.ticks_per_beat))
        lines = song_grid(song).lines + late if believed else song_grid(there).lines
        bars = [0, *lines[1:].tolist()]
        return cls(file, merged_to(there, roles), named, placement.metre, placement.shift, bars, players or {})

    @property
    def bar(self) -> int:
        """Positions in a bar of the song."""
        return round(length_of(self.metre))

    def in_half_bars(self) -> Arrangement:
        """The same, with bars of 2/4 as they are."""
        return Arrangement.of(self.file, (*_METRES, "2/4"), self.players)

    def later(self, bars: int) -> Arrangement:
        """The piece with empty bars of the song before it, under the programs, controllers and tempo of its start.

        The bars begin with the file, and what is left of the one in which a file without bar lines begins follows them.
        """
        added = self.bar * bars * self.file.ticks_per_beat // POSITIONS
        metre = metre_event(0, *METRES[index_of(self.metre)])
        file = self.file.later(added + self.late).edited((), {0: [metre]})
        song = copy(self.song)
        song.tempo_changes = file.song.tempo_changes
        song.instruments = [later(track, added) for track in self.song.instruments]
        own = [self.bar * bar for bar in range(bars)]
        lines = [*own, *(line + own[-1] + self.bar for line in self.lines)]
        return Arrangement(file, song, self.roles, self.metre, 0, lines, self.players)

    def programs(self, begin: int, end: int) -> dict[int, int]:
        """What program plays each of the six between two positions of the song, see `rewritten`."""
        playing = {
            role: player.program for player, role in reversed(self._best_first(self._between(begin, end)).items())
        }
        return {program: program for program in NAMES} | playing

    def _between(self, begin: int, end: int) -> list[FileNote]:
        """Notes that begin between two positions of the song."""
        file = self.file
        starts = to_positions([note.start + self.late for note in file.notes], file.ticks_per_beat).tolist()
        return [note for note, start in zip(file.notes, starts, strict=True) if begin <= start < end]

    def _best_first(self, notes: Iterable[FileNote]) -> dict[Player, int]:
        """Roles, first of those who have the most of some notes, then the most of all."""
        inside, all_through = (Counter(note.player for note in some) for some in (notes, self.file.notes))
        order = sorted(self.roles, key=lambda player: (inside[player], all_through[player]), reverse=True)
        return {player: self.roles[player] for player in order}

    def rewritten(
        self, begin: int, end: int, programs: Collection[int], parts: Mapping[int, Sequence[Note]]
    ) -> EventFile:
        """The file in which some instruments have other notes where theirs began between two positions of the song.

        New notes go to the track and channel that had most of their instrument's notes there, or has most in the piece,
        under the program that the role has in the file; if none plays it then, to a track and channel of their own.
        Notes that sound into the bars are as they were: a new one of the same pitch does not strike again while one
        sounds, and ends where the next begins.

        Args:
            begin: first position, 1/12 quarter.
            end: position after the last.
            programs: of the six.
            parts: new notes by program, in ticks of the song.
        """
        file = self.file
        there = self._between(begin, end)
        gone = [note for note in there if self.roles.get(note.player) in programs]
        seats = _Seats(file, self._best_first(there))
        struck: dict[tuple[Player, int], list[Note]] = defaultdict(list)
        for program in programs:
            for note in parts.get(program, ()):
                own = Note(note.velocity, note.pitch, note.start - self.late, note.end - self.late)
                struck[seats.of(program, own.start), note.pitch].append(own)
        sounding: dict[tuple[int, int], list[FileNote]] = defaultdict(list)
        removed = set(gone)
        for note in file.notes:
            if note not in removed:
                sounding[note.player.channel, note.pitch].append(note)
        added: dict[int, list[Event]] = defaultdict(list, seats.heads)
        for (player, pitch), notes in struck.items():
            for note in _struck(notes, sounding[player.channel, pitch]):
                added[player.track] += note_events(player.channel, note.start, note.end, pitch, note.velocity)
        return file.edited(gone, added)


class _Seats:
    """Where the notes of the six instruments go in a file.

    Args:
        file: the file.
        roles: program of the six by player, those to be preferred first.

    Attributes:
        heads: what new tracks begin with, by their number.
    """

    def __init__(self, file: EventFile, roles: Mapping[Player, int]) -> None:
        self._file = file
        self._roles = roles
        self._own: dict[int, Player] = {}
        self.heads: dict[int, list[Event]] = {}

    def of(self, program: int, tick: int) -> Player:
        """The player of an instrument at a tick: one of the file's if it has its own program then, else a new one."""
        for player, role in self._roles.items():
            if role == program and self._file.program(player.channel, tick) == player.program:
                return player
        if program not in self._own:
            self._own[program] = self._new(program)
        return self._own[program]

    def _new(self, program: int) -> Player:
        taken = self._file.channels | {player.channel for player in self._own.values()}
        drums = program == DRUMS
        seats = (seat for seat in count() if (seat % _CHANNELS == DRUM_CHANNEL) == drums)
        channel = next(seat for seat in seats if seat not in taken or (drums and self._file.program(seat, 0) == DRUMS))
        player = Player(len(self._file.tracks) + len(self._own), channel, program)
        self.heads[player.track] = head(NAMES[program], player)
        return player


def _struck(notes: Iterable[Note], kept: Sequence[FileNote]) -> Iterator[Note]:
    """Those of new notes of one pitch that can strike beside kept ones, ending where the next of either begins."""
    last_first = sorted(notes, key=lambda note: (note.start, note.end), reverse=True)
    begins = sorted(note.start for note in kept)
    for note in last_first:
        if any(other.start <= note.start < max(other.end, other.start + 1) for other in kept):
            continue
        following = bisect_right(begins, note.start)
        until = begins[following] if following < len(begins) else note.end
        if note.start not in begins:
            yield Note(note.velocity, note.pitch, note.start, min(note.end, until))
            insort(begins, note.start)


def _is_six(file: EventFile, players: Collection[Player], stand_for: Mapping[int, int]) -> bool:
    """Whether a file has the six instruments, or what stands for them, and no others: each once, or by its name."""
    programs = [player.program for player in players]
    named = all(file.names[player.track] == NAMES.get(player.program) for player in players)
    roles = {stand_for.get(program) for program in programs}
    return None not in roles and (named or len(roles) == len(programs))


def _instrument(file: EventFile, player: Player, notes: Iterable[FileNote]) -> Instrument:
    instrument = Instrument(player.program % DRUMS, player.program == DRUMS, file.names[player.track])
    instrument.notes = [Note(note.velocity, note.pitch, note.start, note.end) for note in notes]
    return instrument


def _placed(song: MidiFile, metres: Sequence[str], *, believe: bool) -> tuple[Placement, bool]:
    """Where the bars of a song are, and whether its bar lines say so; they may be known to be right."""
    try:
        written = as_written(song, metres)
    except InputError:
        written = None  # it may have beats only
    placement = written if believe and written else place(song, metres)
    return placement, placement == written
