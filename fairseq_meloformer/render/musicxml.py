"""MusicXML, and PDF where an engraver is at hand: the score of a piece, in C (everything stands as it sounds)."""

from __future__ import annotations

import functools
import logging
import re
import shutil
import subprocess
import tempfile
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.measures.tonality import signature
from fairseq_meloformer.midi.metre import POSITIONS, to_positions
from fairseq_meloformer.midi.writing import playable
from fairseq_meloformer.render.fonts import folders
from fairseq_meloformer.render.score import Bar, Figure, bars_of, spelling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from miditoolkit import Instrument, MidiFile

HINT: Final = "no PDF of scores: it takes MuseScore, or `pip install verovio typst`"
_LOG = logging.getLogger(__name__)
_MUSESCORE: Final = ("mscore", "musescore", "mscore4portable", "MuseScore4", "musescore4", "mscore3", "musescore3")

_PAGE: Final = {
    "pageWidth": 2100, "pageHeight": 2970, "pageMarginTop": 250, "pageMarginLeft": 120, "pageMarginRight": 120,
    "scale": 40, "header": "none", "footer": "none",
}  # fmt: skip
"""Of verovio: A4 in tenths of a millimetre."""
_BOOK: Final = """#set page("a4", margin: 0pt)
#place(top + center, dy: 12mm, text(18pt, sys.inputs.title))
"""
_QUARTER: Final = "\ueca5"
"""The note of a tempo in verovio's own font, which its SVG has as a character."""

# Where General MIDI's drums stand on five lines, read as in the treble clef, and their note heads, after N. Weinberg,
# Guide to Standardized Drumset Notation (Percussive Arts Society 1998).
_DRUMS: Final = {
    35: ("E4", "normal"), 36: ("F4", "normal"), 37: ("C5", "x"), 38: ("C5", "normal"), 39: ("C5", "triangle"),
    40: ("C5", "normal"), 41: ("G4", "normal"), 42: ("G5", "x"), 43: ("A4", "normal"), 44: ("D4", "x"),
    45: ("B4", "normal"), 46: ("G5", "circle-x"), 47: ("B4", "normal"), 48: ("D5", "normal"), 49: ("A5", "x"),
    50: ("E5", "normal"), 51: ("F5", "x"), 52: ("B5", "x"), 53: ("F5", "diamond"), 54: ("D5", "triangle"),
    55: ("B5", "x"), 56: ("E5", "triangle"), 57: ("A5", "x"), 59: ("F5", "x"),
}  # fmt: skip
_OTHER_DRUM: Final = ("D5", "diamond")
_LOUDNESS: Final = ((36, "p"), (56, "mp"), (80, "mf"), (104, "f"), (127, "ff"))
"""The highest mean velocity of each dynamic."""
_NO_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML file may have (XML 1.0, section 2.2)."""
_TIES: Final = {(False, True): "start", (True, True): "continue", (True, False): "stop"}
"""Type of a tie by whether the note goes on from the figure before, and into the next."""


def write(midi: MidiFile, path: str | Path, title: str = "") -> None:
    """Write the score of a song as MusicXML, a part for each instrument of `playable`.

    Tempi, markers and the (first) key signature are the song's; where it has none, the signature is that of the
    measured key. Control characters, which XML cannot have, are left out of title, names and markers.

    Raises:
        InputError: a note or a time signature is out of MIDI's range.
    """
    from music21.musicxml.m21ToXml import ScoreExporter  # noqa: PLC0415  slow to import

    exporter = ScoreExporter(_score(playable(midi), title), makeNotation=False)
    exporter.parse()
    write_atomic(path, lambda file: file.write(exporter.asBytes()))


def engrave(score: str | Path, path: str | Path, title: str = "") -> bool:
    """Engrave a MusicXML file as PDF with MuseScore, or with verovio and typst, which sets the title.

    Returns:
        False, and a hint in the log once, when none of these is installed; then nothing is written.

    Raises:
        InputError: the engraver refuses the file.
    """
    musescore = next(filter(None, map(shutil.which, _MUSESCORE)), None)
    if musescore is None and not (find_spec("verovio") and find_spec("typst")):
        _hint()
        return False
    data = _by_verovio(Path(score), title) if musescore is None else _by_musescore(musescore, Path(score))
    write_atomic(path, lambda file: file.write(data))
    return True


@functools.cache
def _hint() -> None:
    _LOG.warning(HINT)


def _by_musescore(program: str, score: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "score.pdf")
        done = subprocess.run([program, "-o", made, score.resolve()], capture_output=True, text=True, check=False)  # noqa: S603
        if not made.is_file():
            raise InputError(f"{program} must engrave {score}, but says: {done.stderr.strip()[-500:]}")
        return made.read_bytes()


def _by_verovio(score: Path, title: str) -> bytes:
    """Pages as SVG, which typst binds."""
    import typst  # noqa: PLC0415  optional
    import verovio  # noqa: PLC0415  optional

    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setOptions(_PAGE)
    if not toolkit.loadFile(str(score)):
        raise InputError(f"verovio must engrave {score}, but cannot read it as MusicXML")
    with tempfile.TemporaryDirectory() as folder:
        pages = range(1, toolkit.getPageCount() + 1)
        for page in pages:
            drawn = toolkit.renderToSVG(page).replace(_QUARTER, "\u2669")
            Path(folder, f"{page}.svg").write_text(drawn, encoding="utf-8")
        book = Path(folder, "book.typ")
        book.write_text(_BOOK + "\n".join(f'#image("{page}.svg", width: 100%)' for page in pages), encoding="utf-8")
        faces = [str(fonts) for fonts in folders()]
        data: bytes = typst.compile(str(book), font_paths=faces, sys_inputs={"title": title})
        return data


def _score(song: MidiFile, title: str) -> Any:  # noqa: ANN401  music21 has no types
    from music21 import layout, metadata, stream  # noqa: PLC0415

    score = stream.Score()
    score.metadata = metadata.Metadata()
    score.metadata.title = _NO_XML.sub("", title)
    score.metadata.composer = "MeloFormer"
    names = [change.key_name for change in song.key_signature_changes[:1]]
    measured = measure(song).get("key")
    tonality = names[0] if names else signature(measured) if isinstance(measured, str) else "C"
    for number, instrument in enumerate(song.instruments):
        score.insert(0, _part(song, instrument, tonality, first=number == 0))
    score.insert(0, layout.StaffGroup(list(score.parts), symbol="bracket", barTogether=True))
    return score


def _part(song: MidiFile, instrument: Instrument, tonality: str, *, first: bool) -> Any:  # noqa: ANN401
    from music21 import dynamics, key, stream  # noqa: PLC0415
    from music21 import instrument as instruments  # noqa: PLC0415

    part = stream.Part()
    player = instruments.UnpitchedPercussion() if instrument.is_drum else instruments.Instrument()
    name = _NO_XML.sub("", instrument.name)
    part.partName = part.partAbbreviation = name
    player.partName = player.instrumentName = player.instrumentAbbreviation = name
    player.midiProgram = None if instrument.is_drum else int(instrument.program)
    player.midiChannel = 9 if instrument.is_drum else None
    part.insert(0, player)
    tonic = tonality.removesuffix("m").replace("b", "-")
    signs = key.Key(tonic.lower() if tonality.endswith("m") else tonic)
    before: Bar | None = None
    for number, bar in enumerate(bars_of(song, instrument), start=1):
        measure_ = _measure(bar, number, before, signs.sharps)
        if before is None:
            if not instrument.is_drum:
                measure_.insert(0, signs)
            loudness = sum(note.velocity for note in instrument.notes) / len(instrument.notes)
            measure_.insert(0, dynamics.Dynamic(next(name for most, name in _LOUDNESS if loudness <= most)))
        if first:
            _signs(song, bar, measure_)
        part.insert(bar.start / POSITIONS, measure_)
        before = bar
    measure_.rightBarline = "final"
    part.makeBeams(inPlace=True, setStemDirections=False)
    if not instrument.is_drum:
        part.makeAccidentals(inPlace=True)
    return part


def _measure(bar: Bar, number: int, before: Bar | None, sharps: int) -> Any:  # noqa: ANN401
    """A bar; clef and metre only where they change."""
    from music21 import clef, meter, stream  # noqa: PLC0415

    made = stream.Measure(number=number)
    if before is None or bar.clef != before.clef:
        made.insert(0, clef.PercussionClef() if bar.clef == "percussion" else clef.clefFromString(bar.clef))
    if before is None or bar.metre != before.metre:
        made.insert(0, meter.TimeSignature(bar.metre))
    for place, figures in enumerate(bar.voices, start=1):
        voice = made if len(bar.voices) == 1 else stream.Voice(id=str(place))
        for figure in figures:
            voice.insert(figure.start / POSITIONS, _element(figure, sharps, drums=bar.clef == "percussion"))
        stream.makeNotation.makeTupletBrackets(voice, inPlace=True)
        if voice is not made:
            made.insert(0, voice)
    return made


def _element(figure: Figure, sharps: int, *, drums: bool) -> Any:  # noqa: ANN401
    """A rest, a note or a chord, with its ties."""
    from music21 import chord, duration, note, percussion, tie  # noqa: PLC0415

    length = duration.Duration(Fraction(figure.end - figure.start, POSITIONS))
    if not figure.pitches:
        return note.Rest(duration=length)
    notes = []
    for pitch in figure.pitches:
        one = _drum(pitch) if drums else _tone(pitch, sharps)
        if figure.continues or figure.tied:
            one.tie = tie.Tie(_TIES[figure.continues, figure.tied])
        notes.append(one)
    made = notes[0]
    if len(notes) > 1:
        made = percussion.PercussionChord(notes) if drums else chord.Chord(notes)
    made.duration = length
    return made


def _drum(pitch: int) -> Any:  # noqa: ANN401
    from music21 import note  # noqa: PLC0415

    place, head = _DRUMS.get(pitch, _OTHER_DRUM)
    made = note.Unpitched(displayName=place)
    made.notehead = head
    return made


def _tone(pitch: int, sharps: int) -> Any:  # noqa: ANN401
    from music21 import note  # noqa: PLC0415

    letter, accidental, octave = spelling(pitch, sharps)
    made = note.Note(f"{letter}{'#' * accidental}{'-' * -accidental}")
    made.pitch.octave = octave  # in a name, the minus of octave -1 would be a flat
    return made


def _signs(song: MidiFile, bar: Bar, made: Any) -> None:  # noqa: ANN401
    """Tempi and markers of a bar, which stand above the first part alone."""
    from music21 import expressions, tempo  # noqa: PLC0415

    def here(events: Sequence[Any]) -> Iterator[tuple[float, Any]]:
        for event in events:
            place = int(to_positions(event.time, song.ticks_per_beat)) - bar.start
            if 0 <= place < bar.length:
                yield place / POSITIONS, event

    for place, change in here(song.tempo_changes):
        made.insert(place, tempo.MetronomeMark(number=round(change.tempo, 2)))
    for place, marker in here(song.markers):
        mark = expressions.RehearsalMark(_NO_XML.sub("", marker.text))
        mark.style.enclosure = "none"  # engravers guess the width of a box, and Chinese runs over it
        made.insert(place, mark)
