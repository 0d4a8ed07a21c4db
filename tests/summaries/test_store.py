import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.summaries.store import StoreHeader, SummaryStore, shard_is_sound, shard_metadata, shard_paths
from fairseq_meloformer.summaries.writer import StoreWriter

HEADER = StoreHeader(model_sha256="m", vocabulary_sha256="v", layers=3, dim=8)


def summaries(number: int) -> torch.Tensor:
    return torch.randn(1 + number % 5, 3, 8, generator=torch.Generator().manual_seed(number))


def fill(directory: Path, numbers: range, *, rank: int = 0, pause: float = 0.0, **settings: int) -> None:
    """Write items `0`, `1`, ... that are not in the store yet."""
    with StoreWriter(directory, "train", HEADER, rank=rank, **settings) as writer:
        for number in numbers:
            if str(number) not in writer.done:
                writer.put(str(number), summaries(number), {"path": f"{number}.mid", "captions": [{"text": "雪"}]})
                time.sleep(pause)


def assert_holds(directory: Path, numbers: range) -> None:
    subset = SummaryStore(directory).subset("train")
    assert sorted(subset.ids, key=int) == [str(number) for number in numbers]
    for item in subset:
        assert torch.equal(item.summaries, summaries(int(item.id)))
        assert item.metadata["path"] == f"{item.id}.mid"


def test_items_come_back_by_index_and_id(tmp_path: Path) -> None:
    fill(tmp_path, range(20), shard_bytes=1000)
    assert len(shard_paths(tmp_path / "train")) > 3
    assert_holds(tmp_path, range(20))
    subset = SummaryStore(tmp_path).subset("train")
    assert subset[7].id == subset.ids[7]
    assert torch.equal(subset[7].summaries, subset[subset.ids[7]].summaries)
    assert subset.bars == [1 + int(name) % 5 for name in subset.ids]
    assert subset.metadata("3")["captions"] == [{"text": "雪"}]
    assert [item.id for item in SummaryStore(tmp_path).items("train")] == subset.ids
    assert SummaryStore(tmp_path).subset("train").ids == subset.ids


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_summaries_can_be_kept_small(tmp_path: Path, dtype: str) -> None:
    with StoreWriter(tmp_path, "train", replace(HEADER, dtype=dtype)) as writer:
        writer.put("a", summaries(4), {})
        writer.put("no bar", torch.zeros(0, 3, 8), {})
    subset = SummaryStore(tmp_path).subset("train")
    assert subset.ids == ["a"]
    assert subset["a"].summaries.dtype == getattr(torch, dtype)
    assert torch.allclose(subset["a"].summaries.float(), summaries(4), rtol=0.01)


def test_an_item_does_not_keep_its_batch_alive(tmp_path: Path) -> None:
    batch = torch.ones(2, 4, 3, 8)
    with StoreWriter(tmp_path, "train", HEADER) as writer:
        writer.put("a", batch[0, :2], {})
        writer.put("b", batch[1], {})
        batch.zero_()
    subset = SummaryStore(tmp_path).subset("train")
    assert torch.equal(subset["a"].summaries, torch.ones(2, 3, 8))
    assert torch.equal(subset["b"].summaries, torch.ones(4, 3, 8))


def test_killed_at_any_moment_it_resumes_without_loss_or_duplicates(tmp_path: Path) -> None:
    here = Path(__file__).resolve()
    program = (
        f"import sys; sys.path[:0] = [{str(here.parent)!r}, {str(here.parents[2])!r}]\n"
        "from test_store import *\n"
        "fill(Path(sys.argv[1]), range(150), pause=0.01, shard_bytes=1500)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    for shards in (2, 5):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 300
        while not (tmp_path / "train").is_dir() or len(shard_paths(tmp_path / "train")) < shards:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = {path: path.read_bytes() for path in shard_paths(tmp_path / "train")}
    (tmp_path / "train" / ".r0-00099.safetensors.tmp").write_bytes(b"half a shard")
    fill(tmp_path, range(150), shard_bytes=1500)
    assert_holds(tmp_path, range(150))
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not list((tmp_path / "train").glob("*.tmp"))


def test_ranks_write_disjoint_parts_at_the_same_time(tmp_path: Path) -> None:
    writers = [StoreWriter(tmp_path, "train", HEADER, rank=rank, shard_bytes=500) for rank in range(3)]
    for number in range(30):
        writers[number % 3].put(str(number), summaries(number), {"path": f"{number}.mid"})
    for writer in writers:
        writer.close()
    assert_holds(tmp_path, range(30))
    fill(tmp_path, range(35), rank=7)
    assert_holds(tmp_path, range(35))


def test_one_rank_is_one_process(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, "train", HEADER), pytest.raises(InputError, match="rank 0"):
        StoreWriter(tmp_path, "train", HEADER)
    StoreWriter(tmp_path, "train", HEADER).close()


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    fill(tmp_path, range(2))
    assert_holds(tmp_path, range(2))


def test_a_subset_is_of_one_source_and_unknown_ones_go_on(tmp_path: Path) -> None:
    fill(tmp_path, range(2))  # as earlier versions did
    with StoreWriter(tmp_path, "train", HEADER, source="songs") as writer:
        writer.put("2", summaries(2), {"path": "2.mid"})
    for source in ("songs", ""):
        StoreWriter(tmp_path, "train", HEADER, source=source).close()
    with pytest.raises(InputError, match=r"train was extracted from other songs .* give another --summary-store"):
        StoreWriter(tmp_path, "train", HEADER, source="other songs")
    StoreWriter(tmp_path, "valid", HEADER, source="other songs").close()
    assert_holds(tmp_path, range(3))


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "other"},
        {"vocabulary_sha256": "other"},
        {"code_version": "9"},
        {"dim": 16},
        {"chunking": "train"},
    ],
)
def test_other_makers_are_refused(tmp_path: Path, change: dict[str, str | int]) -> None:
    fill(tmp_path, range(2))
    with pytest.raises(InputError, match=next(iter(change))):
        StoreWriter(tmp_path, "train", replace(HEADER, **change))
    assert_holds(tmp_path, range(2))


def test_other_formats_and_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"store\.json is missing"):
        SummaryStore(tmp_path)
    fill(tmp_path, range(2))
    with pytest.raises(InputError, match="valid"):
        SummaryStore(tmp_path).subset("valid")
    header = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps(header | {"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        SummaryStore(tmp_path)


def test_damage_is_found(tmp_path: Path) -> None:
    fill(tmp_path, range(10), shard_bytes=600)
    first, second, third, *_ = shard_paths(tmp_path / "train")
    content = bytearray(first.read_bytes())
    content[-5] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes().replace(b"\xe9\x9b\xaa", b"\xe9\x9b\xa8"))  # another caption
    assert [shard_is_sound(path) for path in (first, second, third)] == [False, False, True]
    subset = SummaryStore(tmp_path).subset("train")
    for path in (first, second):  # nobody has to ask
        with pytest.raises(InputError, match=f"{path.name} is damaged"):
            subset[next(iter(shard_metadata(path)))]
    assert subset[next(iter(shard_metadata(third)))].summaries.shape[1:] == (3, 8)
    third.write_bytes(third.read_bytes()[:-8])
    assert not shard_is_sound(third)
    with pytest.raises(InputError, match=third.name):
        SummaryStore(tmp_path).subset("train")


def test_an_item_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    shard = tmp_path / "train" / "r0-00000.safetensors"
    (tmp_path / "train" / "r1-00000.safetensors").write_bytes(shard.read_bytes())
    with pytest.raises(InputError, match="is in r0-00000"):
        SummaryStore(tmp_path).subset("train")


def test_wrong_items_are_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, "train", HEADER) as writer:
        writer.put("a", summaries(0), {})
        with pytest.raises(ValueError, match="already"):
            writer.put("a", summaries(0), {})
        with pytest.raises(ValueError, match=r"\(bars, 3, 8\)"):
            writer.put("b", torch.zeros(2, 8), {})


def test_a_disk_that_fails_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("fairseq_meloformer.summaries.writer.write_shard", fail)
    writer = StoreWriter(tmp_path, "train", HEADER, shard_bytes=1)

    def put_many() -> None:
        for number in range(1000):
            writer.put(str(number), summaries(number), {})

    with pytest.raises(OSError, match="disk full"):
        put_many()
    with pytest.raises(OSError, match="disk full"):
        writer.close()
    assert [path.name for path in (tmp_path / "train").iterdir()] == [".r0.lock"]
