"""A file is known again by its content, whatever its name's history."""

import os

from fairseq_meloformer.stamps import glance, sha256_file, stamp, unchanged


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_stamp_holds_while_the_content_does(tmp_path):
    path = tmp_path / "song.mid"
    path.write_bytes(b"abc")
    known = stamp(path, glance(path))
    assert unchanged(path, known)
    os.utime(path, ns=(1, 1))
    assert unchanged(path, known)
    path.write_bytes(b"abd")
    assert not unchanged(path, known)
    path.write_bytes(b"abcd")
    assert not unchanged(path, known)
    path.unlink()
    assert not unchanged(path, known)


def test_what_changed_after_the_glance_or_cannot_be_read_has_no_stamp(tmp_path):
    path = tmp_path / "song.mid"
    path.write_bytes(b"abc")
    before = glance(path)
    path.write_bytes(b"abcd")
    assert stamp(path, before) is None
    assert stamp(tmp_path / "none", glance(tmp_path / "none")) is None
    assert not unchanged(path, None)
