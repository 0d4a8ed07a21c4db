import pytest
from midi.raw import header, name, note, track

from fairseq_meloformer.midi import smf
from fairseq_meloformer.midi.names import decoded

NAMES = {
    "utf_8": ["主旋律", "メロディ", "Mélodie", "кларнет"],
    "gbk": ["主旋律", "钢琴", "贝斯", "吉他", "弦乐", "人声", "第二小提琴", "长笛", "左手", "二胡独奏"],
    "big5": ["主旋律", "鋼琴", "貝斯", "吉他", "人聲", "長笛", "右手"],
    "cp932": ["メロディ", "ベース", "ピアノ", "ｷﾞﾀｰ", "ﾒﾛﾃﾞｨ", "左手", "ストリングス", "歌"],
    "latin_1": ["Mélodie", "Flöte", "Guitare électrique", "Cuerda española", "N°2", "PERCUSSÃO", "VIOLÃO", "Ärger",
                "Copyright © 1998", "»Ende«", "Bläser 1"],
}  # fmt: skip


@pytest.mark.parametrize(("encoding", "text"), [(encoding, text) for encoding in NAMES for text in NAMES[encoding]])
def test_names_are_read_in_the_usual_encodings(encoding, text):
    assert decoded([text.encode(encoding)]) == [text]


@pytest.mark.parametrize("encoding", NAMES)
def test_names_of_a_file_say_together_what_their_encoding_is(encoding):
    assert decoded([text.encode(encoding) for text in NAMES[encoding]]) == NAMES[encoding]
    assert decoded(["鼓1".encode("gbk"), "1号".encode("gbk"), "主".encode()]) == ["鼓1", "1号", "主"]


def test_tracks_have_their_names():
    song = smf.Song(header(2) + track(name("主旋律".encode("gbk") + b"\0 "), note(0, 60)) + track(note(1, 50)))
    assert [one.name for one in song.midi().instruments] == ["主旋律", ""]
