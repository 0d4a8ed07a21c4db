"""New notes find their way into the tracks and channels of a file, and nothing else in it changes."""

import io
from collections import Counter

import mido
import pytest
from midi.test_events import absolute
from miditoolkit import Note

from fairseq_meloformer import midi
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.arrangement import Arrangement
from fairseq_meloformer.midi.events import EventFile
from fairseq_meloformer.midi.six_tracks import merge_six_tracks

BAR = 4 * 480  # ticks
POSITIONS = 48  # of a bar
LEAD, BASS, PIANO, STRINGS, DRUMS = 80, 43, 0, 48, 128


def made(tmp_path, *tracks, format=1):  # noqa: A002  mido's own word
    """A file of (channel, program or None, name, [(start, length, pitch)]) in quarters."""
    file = mido.MidiFile(type=format, ticks_per_beat=480)
    for channel, program, name, notes in tracks:
        events = [(0, mido.MetaMessage("track_name", name=name))]
        if program is not None:
            events.append((0, mido.Message("program_change", channel=channel, program=program)))
        for start, length, pitch in notes:
            events.append((start * 480, mido.Message("note_on", channel=channel, note=pitch, velocity=80)))
            events.append(((start + length) * 480, mido.Message("note_off", channel=channel, note=pitch, velocity=64)))
        events.sort(key=lambda event: event[0])
        track, now = mido.MidiTrack(), 0
        for tick, message in events:
            track.append(message.copy(time=int(tick - now)))
            now = int(tick)
        file.tracks.append(track)
    file.save(tmp_path / "made.mid")
    return EventFile.read(tmp_path / "made.mid")


def played(file):
    """(track, channel, program, start, end, pitch) of every note."""
    return Counter((*n.player, n.start, n.end, n.pitch) for n in file.notes)


def changes(before, after):
    """Notes that went and notes that came."""
    old, new = played(before), played(after)
    return set(old - new), set(new - old)


def others(data):
    """All events that are no notes."""
    return [[event for event in track if not event[1].startswith("note_")] for track in absolute(data)]


def quarters(count, pitch=60, length=0.5):
    return [(place, length, pitch) for place in range(count)]


def test_the_song_is_what_merging_makes_of_the_file(real_music):
    compared = 0
    for path in sorted(real_music.rglob("*.mid")):
        try:
            merged = merge_six_tracks(midi.read(path), ("4/4", "3/4", "6/8"))
        except InputError:
            continue
        compared += 1
        song = Arrangement.of(EventFile.read(path)).song
        for ours, theirs in zip(song.instruments, merged.instruments, strict=True):
            assert (ours.program, ours.is_drum) == (theirs.program, theirs.is_drum)
            assert sorted(map(str, ours.notes)) == sorted(map(str, theirs.notes)), path
    assert compared > 5


def test_what_is_known_to_play_for_one_of_the_six_is_read_as_that(tmp_path):
    file = made(tmp_path, (0, 107, "Koto", quarters(32, 50)), (1, 78, "Whistle", quarters(32, 72)))
    arrangement = Arrangement.of(file, players={107: 0, 78: 80})
    assert {player.program: role for player, role in arrangement.roles.items()} == {107: 0, 78: 80}
    assert {player.program: role for player, role in arrangement.in_half_bars().roles.items()} == {107: 0, 78: 80}
    new = arrangement.rewritten(0, 48, {0}, {0: [Note(64, 55, 0, 480)]})
    assert {program for *_, program, _, _, _ in played(new)} == {107, 78}


def test_new_notes_go_where_most_of_the_role_is_in_these_bars(tmp_path):
    file = made(
        tmp_path,
        (0, 73, "Melody", quarters(32, 72)),
        (1, 40, "violins", quarters(16, 67)),
        (2, 48, "pad", [*quarters(32, 55), (4.5, 0.4, 55)]),
        (3, 19, "organ", [*quarters(32, 48), *quarters(32, 52)]),
    )
    arrangement = Arrangement.of(file)
    assert sorted(arrangement.roles.values()) == [STRINGS, STRINGS, LEAD]
    new = {STRINGS: [Note(90, 62, BAR, BAR + 100), Note(91, 64, BAR + 240, BAR + 480)]}
    edited = arrangement.rewritten(POSITIONS, 2 * POSITIONS, [STRINGS], new)
    went, came = changes(file, edited)
    assert came == {(2, 2, 48, BAR, BAR + 100, 62), (2, 2, 48, BAR + 240, BAR + 480, 64)}
    assert {(track, start // 480) for track, _, _, start, _, _ in went} == {(t, q) for t in (1, 2) for q in range(4, 8)}
    assert others(edited.dump()) == others(file.dump())
    # Where only the violins play, they do.
    late = made(
        tmp_path,
        (0, 73, "Melody", quarters(32, 72)),
        (1, 40, "violins", quarters(32, 67)),
        (2, 48, "pad", quarters(64, 55)[20:]),
    )
    edited = Arrangement.of(late).rewritten(POSITIONS, 2 * POSITIONS, [STRINGS], new)
    assert {voice[1] for voice in changes(late, edited)[1]} == {1}


def test_what_sounds_into_the_bars_sounds_on_and_is_not_struck_again(tmp_path):
    file = made(tmp_path, (0, 80, "Lead", [(0, 6, 60), (0, 1, 62), (4, 5, 64), (8, 1, 65)]))
    new = {
        LEAD: [
            Note(90, 60, BAR + 480, BAR + 960),  # still sounding
            Note(90, 60, BAR + 960, BAR + 1200),  # just ended
            Note(90, 62, BAR, 2 * BAR),
            Note(90, 62, BAR + 240, BAR + 480),  # ends the one before
            Note(90, 65, BAR, 3 * BAR),  # ended by a note that stays
        ]
    }
    went, came = changes(file, Arrangement.of(file).rewritten(POSITIONS, 2 * POSITIONS, [LEAD], new))
    assert went == {(0, 0, 80, BAR, 9 * 480, 64)}  # from beginning to end, though it ends outside
    assert {note[3:] for note in came} == {
        (BAR + 960, BAR + 1200, 60),
        (BAR, BAR + 240, 62),
        (BAR + 240, BAR + 480, 62),
        (BAR, 2 * BAR, 65),
    }


def test_an_instrument_that_the_file_lacks_gets_a_track_and_a_channel_of_its_own(tmp_path):
    file = made(
        tmp_path, *((channel, 19, f"organ {channel}", quarters(16)) for channel in (0, 1, 3)), (2, 0, "p", quarters(16))
    )
    new = {program: [Note(90, 40, 0, 100)] for program in (BASS, DRUMS, PIANO)}
    edited = Arrangement.of(file).rewritten(0, POSITIONS, [BASS, DRUMS, PIANO], new)
    came = changes(file, edited)[1]
    assert {(track, channel, program) for track, channel, program, *_ in came} == {(4, 4, 43), (5, 9, 128), (3, 2, 0)}
    again = mido.MidiFile(file=io.BytesIO(edited.dump()))
    assert [track.name for track in again.tracks[4:]] == ["Bass", "Drums"]
    assert edited.tracks[:3] == file.tracks[:3]
    # All channels are taken: another port.
    full = made(tmp_path, *((channel, 0, "p", quarters(16)) for channel in range(16)))
    edited = Arrangement.of(full).rewritten(0, POSITIONS, [BASS], {BASS: [Note(90, 40, 0, 100)]})
    (note,) = (note for note in edited.notes if note.player.track == 16)
    assert note.player == (16, 16, 43)


def test_a_file_of_one_track_stays_one_unless_it_needs_another(tmp_path):
    file = made(tmp_path, (0, 80, "all", quarters(16)), format=0)
    edited = Arrangement.of(file).rewritten(0, POSITIONS, [LEAD], {LEAD: [Note(90, 40, 0, 100)]})
    assert (edited.dump()[9], len(edited.tracks)) == (0, 1)
    edited = Arrangement.of(file).rewritten(0, POSITIONS, [DRUMS], {DRUMS: [Note(90, 36, 0, 100)]})
    assert (edited.dump()[9], len(edited.tracks)) == (1, 2)


def test_a_channel_whose_program_changes_is_an_instrument_while_it_is_one(tmp_path):
    file = made(tmp_path, (0, 0, "keys", quarters(32, 60)))
    track = file.tracks[0]
    change = next(place for place, event in enumerate(track) if event.tick >= 4 * BAR)
    strings = [*track[:change], track[change]._replace(data=bytes((0xC0, 48))), *track[change:]]
    file = EventFile(480, [strings], file.ends)
    new = {PIANO: [Note(90, 40, 5 * BAR, 5 * BAR + 100)], STRINGS: [Note(90, 50, 5 * BAR, 5 * BAR + 100)]}
    edited = Arrangement.of(file).rewritten(5 * POSITIONS, 6 * POSITIONS, [PIANO, STRINGS], new)
    came = changes(file, edited)[1]
    assert {(track, channel, program) for track, channel, program, *_ in came} == {(0, 0, 48), (1, 1, 0)}


def test_bars_before_the_piece_have_its_instruments_and_tempo(tmp_path):
    file = made(tmp_path, (0, 73, "Melody", quarters(32, 72)), (1, 33, "bass", quarters(32, 40)[8:]))
    arrangement = Arrangement.of(file).later(2)
    assert min(note.start for note in arrangement.file.notes) == 2 * BAR
    new = {LEAD: [Note(90, 60, 0, 480)], BASS: [Note(90, 40, 480, 960)], PIANO: [Note(90, 50, 0, 9)]}
    edited = arrangement.rewritten(0, 2 * POSITIONS, [LEAD, BASS, PIANO], new)
    assert {note[:3] for note in changes(arrangement.file, edited)[1]} == {(0, 0, 73), (1, 1, 33), (2, 2, 0)}
    back = {(*note[:3], note[3] - 2 * BAR, note[4] - 2 * BAR, note[5]) for note in played(edited)}
    assert set(played(file)) <= back


def test_a_file_whose_bar_lines_lie_elsewhere_gets_its_notes_where_they_are_meant(tmp_path):
    notes = [(place + 0.125, 0.5, 72 + place % 5) for place in range(32)]  # all an eighth of a beat late
    file = made(tmp_path, (0, 73, "Melody", notes), (1, 0, "keys", [(place, 1, 60) for place, *_ in notes]))
    arrangement = Arrangement.of(file)
    late = arrangement.late
    assert late % 480 == 420
    starts = [note.start for note in arrangement.song.instruments[0].notes]
    assert all(start % 480 == 0 for start in starts)
    begin = starts[8] // 40
    edited = arrangement.rewritten(begin, begin + 48, [LEAD], {LEAD: [Note(90, 60, starts[8], starts[8] + 100)]})
    went, came = changes(file, edited)
    assert came == {(0, 0, 73, 8 * 480 + 60, 8 * 480 + 160, 60)}
    assert {note[3] for note in went} == {place * 480 + 60 for place in range(8, 12)}


def test_files_without_any_of_the_six_are_refused(tmp_path):
    with pytest.raises(InputError, match="must have notes of a lead"):
        Arrangement.of(made(tmp_path, (0, 19, "organ", [*quarters(32), *quarters(32, 64)])))
    five = made(tmp_path, (0, 80, "Lead", quarters(32)))
    metre = five.tracks[0][0]._replace(data=bytes((0xFF, 0x58, 4, 5, 2, 24, 8)))
    with pytest.raises(InputError, match="5/4"):
        Arrangement.of(EventFile(480, [[metre, *five.tracks[0]]], five.ends))
