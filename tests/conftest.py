"""What several test rooms share."""

import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Those that take longest begin first, so that no worker of several is left with one at the end.
LONG = [
    f"test_{name}.py" for name in ("own_data", "end_to_end", "training_scripts", "campaigns", "browser", "two_at_once")
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


_FURTHER = [f"pop909/{number:03d}.mid" for number in (1, 14, 26, 128, 759)]

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with golden numbers and real music beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference material in {SHARED}")
    return SHARED


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
