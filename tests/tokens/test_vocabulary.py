import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, END, PAD, Vocabulary, general, published

VOCABULARIES = {"dict.txt": published, "general_use_dict.txt": general}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_generated_vocabulary_equals_the_published_file(shared, tmp_path, name):
    reference = shared / "museformer" / "dictionaries" / name
    vocabulary = VOCABULARIES[name]()
    vocabulary.write(tmp_path / "dict.txt")
    assert (tmp_path / "dict.txt").read_bytes() == reference.read_bytes()
    assert Vocabulary.read(reference) == vocabulary
    assert Vocabulary.read(reference).sha256 == vocabulary.sha256


def test_ids_are_those_of_the_specification():
    vocabulary = published()
    assert len(vocabulary) == 560
    ranges = {kind: (vocabulary.range(kind).start, vocabulary.range(kind).stop) for kind in "boipdvtu"}
    assert ranges == {
        "b": (4, 6), "o": (6, 70), "i": (70, 76), "p": (76, 332),
        "d": (332, 460), "v": (460, 492), "t": (492, 541), "u": (543, 560),
    }  # fmt: skip
    assert len(vocabulary.range("s")) == 0
    assert len(general()) == 1024
    assert general().range("s") == range(679, 933)
    assert vocabulary.ids(["</s>", "<pad>", "b-1", "i-128", "p-177"]) == [BOS, PAD, BAR_END, 75, 253]
    assert BOS == END
    assert vocabulary.tokens([2, 1, 5, 75, 253]) == ["</s>", "<pad>", "b-1", "i-128", "p-177"]


def test_the_two_vocabularies_differ():
    assert published() != general()
    assert published().sha256 != general().sha256
    assert hash(published()) == hash(published())
    assert "s-9" in general()
    assert "s-9" not in published()


def test_unknown_token_and_id_are_named():
    with pytest.raises(InputError, match="token 1 is 'i-32'"):
        published().ids(["b-1", "i-32"])
    with pytest.raises(InputError, match="id 2 is 560"):
        published().tokens([0, 1, 560])
    with pytest.raises(InputError, match="id 0 is -1"):
        published().tokens([-1])


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        (["b-0", "b-1", "o-0", "o-0"], "'o-0' comes more than once"),
        (["o-0", "b-0", "b-1"], "must begin with b-0, b-1"),
        (["b-0", "b-1", "o-0", "p-0", "o-1"], "'o-1' comes apart"),
    ],
)
def test_symbols_that_make_no_vocabulary_are_refused(symbols, message):
    with pytest.raises(InputError, match=message):
        Vocabulary(symbols)


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="must be a readable dict"):
        Vocabulary.read(tmp_path / "absent.txt")
    (tmp_path / "dict.txt").write_text("b-0 1\nb-1\n")
    with pytest.raises(InputError, match="line 2 of"):
        Vocabulary.read(tmp_path / "dict.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="must be a readable dict"):
        Vocabulary.read(tmp_path / "binary.txt")
