import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import Counts, JsonlLog, read_jsonl, run, sole_writer, write_atomic, write_json


def square(number: int) -> dict[str, int]:
    return {"square": number * number}


def troubled(number: int) -> dict[str, int]:
    """Works for even numbers; the odd ones die in four ways."""
    match number:
        case 1:
            raise InputError("1 is not a song")
        case 3:
            os.kill(os.getpid(), signal.SIGKILL)
        case 5:
            time.sleep(60)
        case 7:
            raise KeyError(number)
    return square(number)


def full_at_2(number: int) -> dict[str, int]:
    if number == 2:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return square(number)


def text_of(folder: Path, name: str) -> dict[str, str]:
    text = (folder / name).read_text()
    if text == "bad":
        raise InputError(f"{name} is bad")
    return {"text": text}


def changed_meanwhile(folder: Path, name: str) -> dict[str, str]:
    row = text_of(folder, name)
    (folder / name).write_text("another")
    return row


def logs(directory: Path) -> dict[str, JsonlLog]:
    return {"log": JsonlLog(directory / "log.jsonl"), "rejected": JsonlLog(directory / "rejected.jsonl")}


class TestRun:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_every_item_leaves_one_row_and_a_second_run_skips_them(self, tmp_path: Path, workers: int) -> None:
        arguments = {"key": str, "workers": workers}
        assert run("squares", range(5), square, **arguments, **logs(tmp_path)) == Counts(done=5, rejected=0, skipped=0)
        rows = sorted(read_jsonl(tmp_path / "log.jsonl"), key=lambda row: row["id"])
        assert rows == [{"id": str(n), "square": n * n} for n in range(5)]
        assert run("squares", range(6), square, **arguments, **logs(tmp_path)) == Counts(done=1, rejected=0, skipped=5)

    def test_an_item_that_is_given_twice_is_done_once(self, tmp_path: Path) -> None:
        assert run("squares", [1, 1], square, key=str, workers=1, **logs(tmp_path)) == Counts(1, 0, 1)

    def test_bad_items_and_dead_workers_cost_one_line_each(self, tmp_path: Path) -> None:
        counts = run("trouble", range(10), troubled, key=str, workers=2, time_limit=2, **logs(tmp_path))
        assert counts == Counts(done=6, rejected=4, skipped=0)
        assert {row["id"] for row in read_jsonl(tmp_path / "log.jsonl")} == {"0", "2", "4", "6", "8", "9"}
        reasons = {row["id"]: row["reason"] for row in read_jsonl(tmp_path / "rejected.jsonl")}
        assert reasons == {
            "1": "1 is not a song",
            "3": "the worker process died (SIGKILL)",
            "5": "took longer than 2 seconds",
            "7": "KeyError: 7",
        }
        # Those of which no worker could say anything are tried again, and only those.
        again = run("trouble", range(10), square, key=str, workers=2, time_limit=2, **logs(tmp_path))
        assert again == Counts(done=2, rejected=0, skipped=8)
        assert {row["id"] for row in read_jsonl(tmp_path / "rejected.jsonl")} == {"1", "7"}

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_full_disk_is_no_items_fault(self, tmp_path: Path, workers: int) -> None:
        with pytest.raises(OSError, match="No space left"):
            run("full", range(4), full_at_2, key=str, workers=workers, **logs(tmp_path))
        assert not (tmp_path / "rejected.jsonl").exists()
        assert run("full", range(4), square, key=str, workers=1, **logs(tmp_path)).rejected == 0
        assert {row["id"] for row in read_jsonl(tmp_path / "log.jsonl")} == set("0123")

    def test_files_are_remembered_by_their_content(self, tmp_path: Path) -> None:
        songs = tmp_path / "songs"
        songs.mkdir()
        for name in ("kept", "touched", "replaced", "mended", "spoilt"):
            (songs / name).write_text("bad" if name == "mended" else f"{name} once")
        arguments = {"key": str, "workers": 1, "source": songs.joinpath}
        names = sorted(path.name for path in songs.iterdir())
        assert run("read", names, partial(text_of, songs), **arguments, **logs(tmp_path)) == Counts(4, 1, 0)
        assert run("read", names, partial(text_of, songs), **arguments, **logs(tmp_path)) == Counts(0, 0, 5)
        os.utime(songs / "touched", (1, 1))
        (songs / "replaced").write_text("replaced too")  # of the same length
        (songs / "mended").write_text("good")
        (songs / "spoilt").write_text("bad")
        assert run("read", names, partial(text_of, songs), **arguments, **logs(tmp_path)) == Counts(2, 1, 2)
        rows = {row["id"]: row["text"] for row in read_jsonl(tmp_path / "log.jsonl")}
        assert rows == {
            "kept": "kept once", "touched": "touched once", "replaced": "replaced too", "mended": "good"
        }  # fmt: skip
        assert [row["id"] for row in read_jsonl(tmp_path / "rejected.jsonl")] == ["spoilt"]

    def test_a_file_that_changes_while_it_is_read_is_read_again(self, tmp_path: Path) -> None:
        (tmp_path / "song").write_text("one")
        arguments = {"key": str, "workers": 1, "source": tmp_path.joinpath}
        run("read", ["song"], partial(changed_meanwhile, tmp_path), **arguments, **logs(tmp_path))
        assert run("read", ["song"], partial(text_of, tmp_path), **arguments, **logs(tmp_path)).done == 1
        assert [row["text"] for row in read_jsonl(tmp_path / "log.jsonl")] == ["another"]

    def test_a_second_run_is_refused_before_it_works(self, tmp_path: Path) -> None:
        first = logs(tmp_path)
        with first["log"] as log:
            log.append({"id": "0", "square": 0})
            with pytest.raises(InputError, match="another run"):
                run("squares", range(3), pytest.fail, key=str, workers=1, **logs(tmp_path))

    def test_the_process_itself_may_be_killed_at_any_moment(self, tmp_path: Path) -> None:
        """Kill the whole run again and again; together the runs do everything exactly once."""
        program = (
            "from test_jobs import *\n"
            "if __name__ == '__main__':\n"
            "    run('slow', range(60), slow, key=str, workers=2, **logs(Path(sys.argv[1])))\n"
        )
        script = tmp_path / "slow_run.py"
        script.write_text(program)
        here = Path(__file__).resolve()
        environment = os.environ | {"PYTHONPATH": f"{here.parent}:{here.parents[1]}"}
        command = [sys.executable, str(script), str(tmp_path)]
        kills = 0
        for wait in (15, 30):
            process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            _wait_for_rows(tmp_path / "log.jsonl", wait)
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        assert kills == 2
        with (tmp_path / "log.jsonl").open("ab") as file:
            file.write(b'{"id":"59","squ')
        assert subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0
        rows = list(read_jsonl(tmp_path / "log.jsonl"))
        assert sorted(int(row["id"]) for row in rows) == list(range(60))
        assert all(row["square"] == int(row["id"]) ** 2 for row in rows)
        assert not (tmp_path / "rejected.jsonl").exists()


def slow(number: int) -> dict[str, int]:
    time.sleep(0.02)
    return square(number)


def _wait_for_rows(path: Path, rows: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if path.exists() and path.read_bytes().count(b"\n") >= rows:
            return
        time.sleep(0.01)
    pytest.fail(f"{path} did not reach {rows} rows")


class TestJsonlLog:
    def test_rows_are_found_by_key_and_keep_their_characters(self, tmp_path: Path) -> None:
        with JsonlLog(tmp_path / "log.jsonl", key="name") as log:
            log.append({"name": "暴风雨", "bars": 8})
            log.append({"name": "b", "bars": 9})
            assert log["暴风雨"] == {"name": "暴风雨", "bars": 8}
        assert "暴风雨" in (tmp_path / "log.jsonl").read_text("utf-8")
        again = JsonlLog(tmp_path / "log.jsonl", key="name")
        assert set(again.done) == {"暴风雨", "b"}
        assert again["b"]["bars"] == 9
        assert len(again) == 2

    @pytest.mark.parametrize("torn", [b'{"id": "b", "x', b'{"id": "b"}', b"\x00\x00"])
    def test_a_torn_last_line_is_cut_before_the_next_append(self, tmp_path: Path, torn: bytes) -> None:
        path = tmp_path / "log.jsonl"
        path.write_bytes(b'{"id": "a"}\n' + torn)
        with JsonlLog(path) as log:
            assert set(log.done) == {"a"}
            assert list(log.rows()) == [{"id": "a"}]
            log.append({"id": "b"})
        assert path.read_bytes() == b'{"id": "a"}\n{"id":"b"}\n'

    def test_a_key_is_written_once(self, tmp_path: Path) -> None:
        with JsonlLog(tmp_path / "log.jsonl") as log:
            log.append({"id": "a"})
            with pytest.raises(ValueError, match="already"):
                log.append({"id": "a"})

    def test_a_damaged_line_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "log.jsonl"
        path.write_text('{"id": "a"}\nnonsense\n{"id": "b"}\n')
        with pytest.raises(InputError, match="line 2"):
            JsonlLog(path)
        path.write_text('{"name": "a"}\n')
        with pytest.raises(InputError, match="'id'"):
            JsonlLog(path)

    def test_two_runs_cannot_write_to_one_log(self, tmp_path: Path) -> None:
        path = tmp_path / "log.jsonl"
        first, second = JsonlLog(path), JsonlLog(path)
        first.append({"id": "a"})
        with pytest.raises(InputError, match="another run"):
            second.append({"id": "b"})
        first.close()
        with pytest.raises(InputError, match="start again"):
            second.append({"id": "b"})
        assert path.read_text() == '{"id":"a"}\n'

    def test_a_row_that_does_not_fit_is_told_with_its_file_and_can_be_written_later(self, tmp_path: Path) -> None:
        path, log = tmp_path / "log.jsonl", JsonlLog(tmp_path / "log.jsonl")
        log.append({"id": "a"})
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, unlimited[1]))
        try:
            with pytest.raises(OSError, match="too large") as failure, log:
                log.append({"id": "b"})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert failure.value.filename == str(path)
        log.append({"id": "c"})
        log.close()
        assert path.read_text() == '{"id":"a"}\n{"id":"c"}\n'


class TestFiles:
    def test_a_failed_write_leaves_the_old_file_and_no_litter(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "settings.json"
        write_json(path, {"style": "抒情"})

        def fail(file: object) -> None:
            file.write(b"half")  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, "disk full")

        with pytest.raises(OSError, match="disk full") as failure:
            write_atomic(path, fail)
        assert failure.value.filename == str(path)  # to be told
        assert json.loads(path.read_text("utf-8")) == {"style": "抒情"}
        assert [file.name for file in path.parent.iterdir()] == ["settings.json"]

    def test_a_folder_in_the_place_of_a_file_is_named_and_no_draft_is(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(IsADirectoryError) as failure:
            write_json(tmp_path / "a", {})
        assert failure.value.filename == str(tmp_path / "a")
        assert [file.name for file in tmp_path.iterdir()] == ["a"]

    def test_what_a_killed_run_left_is_taken_over(self, tmp_path: Path) -> None:
        program = (
            "import os, signal, sys\n"
            "from fairseq_meloformer.jobs import sole_writer, write_atomic\n"
            "with sole_writer(sys.argv[1]):\n"
            "    die = lambda file: (file.write(b'half'), file.flush(), os.kill(os.getpid(), 9))\n"
            "    write_atomic(sys.argv[1] + '/a', die)\n"
        )
        killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert {path.name for path in tmp_path.iterdir()} == {".a.tmp", ".lock"}
        with sole_writer(tmp_path):
            write_atomic(tmp_path / "a", lambda file: file.write(b"it"))
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"it")]

    def test_threads_may_write_one_file(self, tmp_path: Path) -> None:
        texts = [bytes([65 + number]) * 4096 for number in range(16)]

        def write(text: bytes) -> None:
            write_atomic(tmp_path / "a", lambda file: [file.write(text[i : i + 64]) for i in range(0, 4096, 64)])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, texts * 8))
        assert (tmp_path / "a").read_bytes() in texts
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_a_folder_has_one_writer(self, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "folder"
        with sole_writer(folder):
            with pytest.raises(InputError, match="another run"), sole_writer(folder):
                pytest.fail("two writers")
            with sole_writer(tmp_path / "other"):
                pass
        with sole_writer(folder):
            pass
        assert not folder.exists()  # nothing was written

    def test_reading_a_missing_file_names_it(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"none\.jsonl"):
            list(read_jsonl(tmp_path / "none.jsonl"))
