"""The collector rests while songs are made, and is afterwards as it was."""

import gc

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi import garbage_collection, smf


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_is_as_it_was_however_the_work_ends(before):
    try:
        gc.enable() if before else gc.disable()
        with garbage_collection.paused():
            assert not gc.isenabled()
            with pytest.raises(InputError):
                smf.Song(b"no MIDI")
            assert not gc.isenabled()
        assert gc.isenabled() == before
        with pytest.raises(InputError):
            smf.Song(b"no MIDI")
        assert gc.isenabled() == before
    finally:
        gc.enable()
