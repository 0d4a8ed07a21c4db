"""Real music for the tests of music."""

import json
import tarfile

import pytest

_FURTHER = [f"pop909/{number:03d}.mid" for number in (1, 14, 26, 128, 759)]


@pytest.fixture(scope="session")
def real_music(shared, tmp_path_factory):
    """Folder with the songs of the golden token file and a few of POP909, named as in the metadata."""
    golden = (shared / "museformer" / "golden" / "midiprocessor_tokens.jsonl").read_text().splitlines()
    wanted = {*_FURTHER, *(json.loads(line)["path"] for line in golden)}
    folder = tmp_path_factory.mktemp("music")
    with tarfile.open(shared / "data" / "midi.tar.gz") as archive:
        for member in archive:
            if member.name.removeprefix("./") in wanted:
                archive.extract(member, folder, filter="data")
    return folder
