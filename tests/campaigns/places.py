"""Places: names, fonts, streams and file systems as they are elsewhere; a command ends well there, or in a sentence.

python -m tests.campaigns.places --cases 500
"""

import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fairseq_meloformer import cli, midi
from fairseq_meloformer.render import fonts
from tests.campaigns import campaign, kills

_NOBODY = 65534
_PARTS = (
    *("a", "A", "a", "B", "é", "e\u0301", "É", "E\u0301", "ß", "ss", "ı", "İ", "ﬁ", "Σ", "ς", "Ω", "\u2126", "雪"),
    *("🎹", "\U0001f469\u200d\U0001f467", "\u202e", "\u200b", "\ufeff", " ", "-", "--", "--help", ".", "..", "%"),
    *("%s", "%2F", "{}", "{0}", "\n", "\t", "\x00", "/", "\\", ":", "*", "?", '"', "'", "$HOME", "~", "#", "&", "CON"),
    *("manifest", "-0", "-1", ".mid", ".tmp", ".lock", "x" * 100, "雪" * 40, "é" * 60),
)
_BYTES = os.fsdecode(b"\xb1\xa9\xff")  # a name that is no UTF-8
_KEPT = "somebody's"


@dataclass(frozen=True)
class Place:
    """Where a command writes to, as its argument says and as it is; and what is done in its process before."""

    argument: str
    folder: Path
    act: Callable[[], object] = lambda: None
    fresh: bool = False


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(_PARTS, k=rng.choice((1, 1, 2, 3))))


def _file_name(rng: random.Random) -> str:
    """One that a folder can have here."""
    name = "".join(rng.choices((*_PARTS, _BYTES), k=rng.choice((1, 2, 3)))).replace("/", "").replace("\0", "")
    return f"{name}_" if name in {"", ".", ".."} else name


def _ordinary(rng: random.Random, root: Path) -> Place:
    folder = root.joinpath(*(_file_name(rng) for _ in range(rng.choice((1, 1, 2)))))
    return Place(str(folder), folder)


def _relative(rng: random.Random, root: Path) -> Place:
    name = _file_name(rng)
    argument = rng.choice(("{}", "./{}", "{}/", "../{1}/{}", "no/../{}")).replace("{1}", root.name).replace("{}", name)
    return Place(argument, root / argument.replace("no/../", ""), lambda: os.chdir(root))


def _plain_letters(_: random.Random, root: Path) -> Place:
    """Streams that know ASCII only."""

    def act() -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="ascii", errors="strict")

    return Place(str(root / "雪é"), root / "雪é", act)


def _gone(_: random.Random, root: Path) -> Place:
    """The current folder has been deleted."""

    def act() -> None:
        (root / "gone").mkdir()
        os.chdir(root / "gone")
        (root / "gone").rmdir()

    return Place(str(root / "out"), root / "out", act)


def _no_temporary(rng: random.Random, root: Path) -> Place:
    """No folder for temporary files, or none that can be written to."""
    there = rng.choice((root / "none", Path("/proc"), root / _KEPT))

    def act() -> None:
        tempfile.tempdir = None
        os.environ.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(there)))

    return Place(str(root / "out"), root / "out", act)


def _link(rng: random.Random, root: Path) -> Place:
    """A symbolic link: to a folder, to nothing, to itself, to a file."""
    link, kind = root / "link", rng.randrange(4)
    target = (root / "real", root / "real", link, root / _KEPT)[kind]
    if kind == 0:
        target.mkdir()
    link.symlink_to(target)
    return Place(f"{link}{rng.choice(('', '/', '/in/it'))}", link)


def _not_ours(rng: random.Random, root: Path) -> Place:
    """What may not be written: the folder, or the one that it would be made in."""
    folder = root / "theirs" / "out"
    (folder if rng.random() < 0.5 else folder.parent).mkdir(parents=True)
    for path in (folder, folder.parent):
        if path.exists():
            path.chmod(rng.choice((0o555, 0o500, 0o000)))

    def act() -> None:
        os.umask(rng.choice((0o022, 0o777)))
        if os.geteuid() == 0:
            os.setuid(_NOBODY)

    return Place(str(folder), folder, act)


def _masked(_: random.Random, root: Path) -> Place:
    """Files that are made may not be read, not even by whom they belong to."""
    root.chmod(0o777)

    def act() -> None:
        if os.geteuid() == 0:
            os.setuid(_NOBODY)
        os.umask(0o777)

    return Place(str(root / "out"), root / "out", act)


def _no_fonts(rng: random.Random, root: Path) -> Place:
    """No Chinese characters in any font; or no fonts at all but matplotlib's."""

    def act() -> None:
        from matplotlib import font_manager  # noqa: PLC0415

        fonts.typefaces.cache_clear()
        fonts.folders = list  # type: ignore[assignment]
        own = [font for font in font_manager.fontManager.ttflist if font.name == fonts.LATIN]
        font_manager.fontManager.ttflist = own if rng.random() < 0.5 else []

    return Place(str(root / "雪"), root / "雪", act)


def _elsewhere(rng: random.Random, root: Path) -> Place:
    """A process that begins with next to no environment."""
    return Place(str(root / rng.choice(("雪", "out"))), root, fresh=True)


_PLACES = (
    *(_ordinary, _ordinary, _ordinary, _relative, _relative, _plain_letters, _gone, _no_temporary, _link, _not_ours),
    *(_masked, _no_fonts),
)


def _folded(name: str) -> str:
    """Alike for names that file systems join which look at neither case nor how accents are written."""
    plain = unicodedata.normalize("NFD", name)
    return unicodedata.normalize("NFD", plain.casefold()).upper()


def _songs(rng: random.Random, root: Path) -> list[str]:
    """Songs with such names, and prompts with such ids, beside a good one."""
    (root / "songs").mkdir()
    for song in sorted((kills.given() / "songs").glob("*.mid")):
        shutil.copy(song, root / "songs" / f"{_file_name(rng)[:40]}{song.stem}.MID")
    rows = [{"id": "good", "text": "calm"}, *({"id": _name(rng), "text": _name(rng)} for _ in range(2))]
    lines = [json.dumps(row, ensure_ascii=rng.random() < 0.5) for row in rows]
    (root / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return [row["id"] for row in rows]


def _arguments(rng: random.Random, root: Path, place: Place) -> list[str]:
    name = rng.choice(("compose", "compose", "prepare", "caption"))
    return {
        "compose": [
            *("compose", "--prompts", str(root / "prompts.jsonl"), "--skip-bad", f"--output={place.argument}"),
            *kills.small(), *(["--no-picture"] if rng.random() < 0.5 else []),
        ],
        "prepare": ["prepare", str(root / "songs"), f"--output={place.argument}", "--workers", "1"],
        "caption": [
            *("caption", "--source", "measured", "--data", str(kills.given() / "data")),
            f"--output={place.argument}/captions.jsonl",
        ],
    }[name]  # fmt: skip


def _ended(place: Place, arguments: list[str], root: Path) -> kills.Ended:
    if not place.fresh:

        def act() -> int:
            place.act()
            return cli.main(arguments)

        return kills.forked(act)
    program = [sys.executable, "-m", "fairseq_meloformer.cli", *arguments]
    bare = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "TMPDIR": str(root / "none"), "HOME": "/proc"}
    bare |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, check=False, capture_output=True, text=True, errors="replace", env=bare, cwd=root)
    return kills.Ended(done.returncode, 0.0, done.stderr)


def _check_pieces(folder: Path) -> None:
    """All files of all pieces are there, and no file system would join two of them."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_bytes().splitlines()]
    files = [file for row in rows for file in row["files"].values()]
    if "good" not in {row["id"] for row in rows}:
        raise AssertionError("the good prompt made no piece")
    if len({_folded(file) for file in files}) < len(files):
        raise AssertionError(f"some file system joins two of {files}")
    for row in rows:
        midi.read(folder / row["files"]["midi"])
    there = {path.name for path in folder.iterdir()} - {"manifest.jsonl"}
    if there != set(files):
        raise AssertionError(f"there are {sorted(there)}, and the manifest has {sorted(files)}")


@cache
def _import_all() -> None:
    """Let commands import and read once what every fork would otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        cli.main(["compose", "雪", f"--output={folder}", *kills.small()])
    for name in kills.LIGHT:
        kills.undisturbed(name)


def case(rng: random.Random) -> str:
    _import_all()
    root = campaign.folder() / "places"
    if root.exists():
        subprocess.run(["chmod", "-R", "u+rwx", root], check=True)
        shutil.rmtree(root)
    root.mkdir()
    campaign.folder().chmod(0o755)
    (root / _KEPT).write_text(_KEPT)
    _songs(rng, root)
    kind = rng.choice(_PLACES) if rng.random() < 0.98 else _elsewhere  # which costs seconds
    place = kind(rng, root)
    arguments = _arguments(rng, root, place)
    ended = _ended(place, arguments, root)
    what = f"{kind.__name__} {arguments}"
    if "Traceback" in ended.said or ended.status not in {0, 2} or (ended.status == 2 and not ended.said.strip()):
        raise AssertionError(f"{what} ended with {ended.status}: {ended.said[-300:]}")
    if (root / _KEPT).read_text() != _KEPT:
        raise AssertionError(f"{what} wrote over a file of somebody's")
    if ended.status:
        return "refused in a sentence"
    folder = Path(os.path.normpath(root / place.argument))
    if arguments[0] == "compose":
        _check_pieces(folder)
    elif not any(folder.iterdir()):
        raise AssertionError(f"{what} wrote nothing")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = _ended(place, arguments, root)
    if again.status not in {0, 2} or before != {path: path.read_bytes() for path in before}:
        raise AssertionError(f"{what}, run again, ended with {again.status}, and changed files: {again.said[-300:]}")
    return f"{arguments[0]}: done, and nothing left to do"


if __name__ == "__main__":
    logging.getLogger("fairseq_meloformer").setLevel(logging.ERROR)
    campaign.main(case, 100)
