import pytest

from fairseq_meloformer.corpus.tokens import TokenFile
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.tokens.vocabulary import published


def write(folder, lines, ids):
    (folder / "train.tokens").write_text("".join(f"{line}\n" for line in lines))
    (folder / "train.items.jsonl").write_text("".join(f'{{"id": "{name}"}}\n' for name in ids))


def test_songs_are_read_by_id(tmp_path):
    write(tmp_path, ["t-3 b-1", "o-0 i-0 p-60 d-1 v-2 b-1", "b-1"], ["a", "暴风雨", "c"])
    songs = TokenFile(tmp_path, "train", published())
    for name, line in (("c", "b-1"), ("a", "t-3 b-1"), ("暴风雨", "o-0 i-0 p-60 d-1 v-2 b-1")):
        assert published().tokens(songs[name]) == line.split()


def test_what_does_not_fit_is_refused(tmp_path):
    write(tmp_path, ["b-1", "q-1"], ["a", "b"])
    songs = TokenFile(tmp_path, "train", published())
    with pytest.raises(InputError, match="lacks 'c'"):
        songs["c"]
    with pytest.raises(InputError, match="'q-1'"):
        songs["b"]
    write(tmp_path, ["b-1", "b-1"], ["a"])
    with pytest.raises(InputError, match="has 2 for 1: run"):
        TokenFile(tmp_path, "train", published())
    with pytest.raises(InputError, match=r"has no valid\.tokens"):
        TokenFile(tmp_path, "valid", published())
