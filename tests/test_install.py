"""Requirements agree with each other, composing needs no fairseq, and the scripts' environment can be trusted."""

import fcntl
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CORE = ("torch.txt", "core.txt", "carried.txt")


def pins(*names):
    """Version by distribution in these requirement files; every line must pin exactly."""
    found = {}
    for name in names:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8").replace("\\\n", " ")
        for line in filter(None, (line.split("#")[0].strip() for line in text.splitlines())):
            pin = re.match(r"([\w-]+)==([\w.]+)(?=$|[ ;])", line)
            assert pin, f"{name}: {line} is not pinned"
            found[re.sub(r"[-_.]+", "-", pin[1]).lower()] = pin[2]
    return found


def test_a_version_that_is_pinned_twice_is_pinned_once():
    files = sorted(path.name for path in (ROOT / "requirements").glob("*.txt"))
    together = pins(*files)
    assert all(together[name] == version for file in files for name, version in pins(file).items())


@pytest.mark.parametrize("name", ["carried.txt", "fairseq.txt"])
def test_wheels_of_one_person_projects_are_pinned_by_hash(name):
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    for requirement in re.split(r"\n(?=\S)", text.replace("\\\n", " ")):
        assert requirement.startswith("#") or re.search(r"--hash=sha256:[0-9a-f]{64}", requirement)


def test_what_setup_asks_for_is_what_is_pinned(monkeypatch):
    setup = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: setup.update(arguments))
    runpy.run_path(str(ROOT / "setup.py"))
    everything = pins(*(path.name for path in (ROOT / "requirements").glob("*.txt")))
    for names, pinned in [
        (setup["install_requires"], pins(*CORE)),
        *((names, everything) for names in setup["extras_require"].values()),
    ]:
        for wanted in map(Requirement, names):
            assert wanted.specifier.contains(pinned[wanted.name.lower()]), str(wanted)


def test_the_core_imports_without_fairseq_and_what_only_training_needs():
    code = """
import importlib, pkgutil, sys
from importlib.metadata import packages_distributions
barred = {"fairseq", "fairseq_cli"} | {
    module for module, names in packages_distributions().items()
    if {name.lower().replace("_", "-") for name in names} & set(sys.argv[1:])
}
class Bar:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in barred:
            raise ModuleNotFoundError(f"{name} is barred", name=name)
sys.meta_path.insert(0, Bar())
import fairseq_meloformer
names = [m.name for m in pkgutil.walk_packages(fairseq_meloformer.__path__, "fairseq_meloformer.", onerror=print)
         if ".plugin" not in m.name]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    only_training = set(pins("train.txt", "dev.txt", "fairseq.txt")) - set(pins(*CORE))
    run = subprocess.run([sys.executable, "-c", code, *only_training], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout.split()[-1]) > 20


class Checkout:
    """A folder with the real scripts, in which pip only writes down what it is asked for."""

    def __init__(self, root):
        self.root, self.venv, self.log = root, root / ".venv", root / "pip.log"
        shutil.copytree(ROOT / "scripts", root / "scripts")
        shutil.copytree(ROOT / "requirements", root / "requirements")
        shutil.copy(ROOT / "setup.py", root)

    def prepare(self, part, pip='echo "$*" >> pip.log', **environment):
        script = f"source scripts/environment.sh; pip_install() {{ {pip}; }}; prepare_environment {part}"
        env = {**os.environ, "MELOFORMER_TORCH_INDEX": "https://torch.example", **environment}
        command = ["bash", "-euo", "pipefail", "-c", script]
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)

    def quick(self):
        """A PATH where environments get the pip of the tests: to install one takes seconds."""
        pip = Path(sysconfig.get_path("purelib"), "pip")
        made = f'{sys.executable} -m venv --without-pip "$3"; ln -s {pip} "$3"/lib/*/site-packages'
        venv = f'{made}; echo "#!$3/bin/python" > "$3/bin/pip"'
        cases = f'*sys.executable*) echo "$0" ;; "-m venv "*) {venv} ;; *) exec {sys.executable} "$@" ;;'
        program(self.root / "bin" / "python3.11", f'case "$*" in {cases} esac')
        return {"PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def asked(self):
        """What pip was asked for since the last call."""
        text = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return text


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_a_second_run_installs_nothing_and_a_changed_requirement_does(checkout):
    first = checkout.prepare("all", MELOFORMER_PYTHON=sys.executable)
    assert first.returncode == 0, first.stderr
    asked = checkout.asked()
    assert "fairseq.txt" in asked
    assert "carried.txt" in asked
    assert "torch.txt" not in asked  # a Python that has PyTorch was named: it is borrowed
    assert list(checkout.venv.glob("lib/*/site-packages/borrowed-torch.pth"))

    start = time.perf_counter()
    assert all(checkout.prepare(part).returncode == 0 for part in ("all", "studio", "compose"))
    assert time.perf_counter() - start < 3  # 0.03 s each on an idle machine
    assert checkout.asked() == ""

    kept = checkout.venv / "kept"
    kept.touch()
    with (checkout.root / "requirements/core.txt").open("a") as file:
        file.write("six==1.17.0\n")
    assert checkout.prepare("compose").returncode == 0
    asked = checkout.asked()
    assert "core.txt" in asked
    assert "studio.txt" not in asked
    assert "fairseq.txt" not in asked
    assert "torch.txt" not in asked
    assert kept.exists()
    assert checkout.prepare("all").returncode == 0
    assert "fairseq.txt" in checkout.asked()


def test_what_a_killed_or_failed_run_leaves_is_not_trusted(checkout):
    quick = checkout.quick()
    subprocess.run(["python3.11", "-m", "venv", checkout.venv], env={**os.environ, **quick}, check=True)
    kept = checkout.venv / "kept"
    kept.touch()
    assert checkout.prepare("compose", pip="kill -9 $$", **quick).returncode == -9
    assert kept.exists()
    left = checkout.venv / "left"
    left.touch()
    (checkout.venv / "installing").write_text(str(os.getpid()))  # a number that another process has by now
    assert checkout.prepare("compose", pip="return 1", **quick).returncode == 1
    assert not left.exists()
    assert not list(checkout.venv.glob("installed.*"))
    again = checkout.prepare("compose", **quick)
    assert again.returncode == 0, again.stderr
    asked = checkout.asked()
    assert "--extra-index-url https://torch.example" in asked
    assert "core.txt" in asked
    assert (checkout.venv / "installed.compose").exists()
    assert not (checkout.venv / "installing").exists()


def test_two_installs_at_once_do_not_meet(checkout):
    quick = checkout.quick()
    checkout.venv.mkdir()
    held = os.open(checkout.venv, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    refused = checkout.prepare("compose", **quick)
    os.close(held)
    assert refused.returncode == 1
    assert f"another run is installing into {checkout.venv}" in refused.stderr
    assert checkout.asked() == ""
    held_on = 'sleep 60 >/dev/null 2>&1 & echo $! > "$MELOFORMER_ROOT/sleeping"; kill -9 $$'
    assert checkout.prepare("compose", pip=held_on, **quick).returncode == -9
    assert checkout.prepare("compose", **quick).returncode == 1  # what the killed run has started is still at it
    os.kill(int((checkout.root / "sleeping").read_text()), signal.SIGKILL)


def test_somebody_elses_folder_is_not_touched(checkout):
    checkout.venv.mkdir()
    (checkout.venv / "thesis.txt").write_text("mine")
    refused = checkout.prepare("compose")
    assert refused.returncode == 1
    assert "must be a virtual environment" in refused.stderr
    assert (checkout.venv / "thesis.txt").read_text() == "mine"


def test_without_a_python_that_fits_the_message_says_what_to_do(checkout):
    refused = checkout.prepare("compose", MELOFORMER_PYTHON="no-such-python")
    assert refused.returncode == 1
    assert "Python 3.11 or 3.12 is needed" in refused.stderr
    assert "apt-get install python3.11 python3.11-venv" in refused.stderr


H100, V100, OLD = "NVIDIA H100, 580.65.06, 9.0", "Tesla V100-SXM2-32GB, 580.65.06, 7.0", "Tesla K80, 470.57.02, 3.7"


def program(path, script):
    """Write a shell script that can be called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)


def with_gpu(checkout, gpu):
    """An environment in which `nvidia-smi` finds two of this GPU, or has no driver."""
    found = f"echo '{gpu}'; echo '{gpu}'" if gpu else "echo 'it has failed, no driver, sorry'; exit 9"
    program(checkout.root / "bin" / "nvidia-smi", found)
    unset = {"MELOFORMER_PYTHON", "MELOFORMER_TORCH_INDEX", "CUDA_VISIBLE_DEVICES"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return kept | {"PATH": f"{checkout.root / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("gpu", "build"),
    [(H100, "cu130"), (V100, "cu126"), (H100.replace("580", "550"), "cu126"), (OLD, "cpu"), ("", "cpu")],
)
def test_a_gpu_gets_a_pytorch_that_fits_it(checkout, gpu, build):
    pip = '[[ "$*" != *--dry-run* ]] && echo "$*" >> pip.log'  # pip's settings name no file
    script = f"source scripts/environment.sh; pip_install() {{ {pip}; }}; answers() {{ true; }}; "
    script += "packages() { echo none; }; install_torch"
    command, env = ["bash", "-euo", "pipefail", "-c", script], with_gpu(checkout, gpu)
    done = subprocess.run(command, cwd=checkout.root, env=env, capture_output=True, text=True, check=True)
    assert f"--extra-index-url https://download.pytorch.org/whl/{build} " in checkout.asked()
    assert ("taking PyTorch for CUDA" in done.stderr) == (build != "cpu")
    assert ("must be 525 or newer" in done.stderr) == (gpu == OLD)


def test_what_needs_fairseq_is_refused_where_there_is_none(checkout):
    program(checkout.root / "bin" / "uname", "echo Darwin arm64")
    path = f"{checkout.root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    script = "source scripts/environment.sh; prepare_environment() { echo $1; }; prepare_fairseq"

    def prepare(**environment):
        command, env = ["bash", "-euo", "pipefail", "-c", script], {**os.environ, **environment}
        return subprocess.run(command, cwd=checkout.root, env=env, capture_output=True, text=True, check=False)

    assert prepare().stdout == "all\n"
    refused = prepare(PATH=path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "for Linux on x86_64, but this is Darwin arm64" in refused.stderr
    program(checkout.venv / "bin" / "fairseq-train", "")  # as the user has installed it
    assert prepare(PATH=path).stdout == "all\n"


def test_methods_are_compared_in_one_process_each(checkout):
    environment = checkout.root / "scripts" / "environment.sh"
    environment.write_text(f"{environment.read_text()}\nprepare_environment() {{ :; }}\n")
    program(checkout.venv / "bin" / "python", 'case "$*" in *device_count*) echo 2 ;; esac')
    program(checkout.venv / "bin" / "fairseq-train", 'echo "$@"')
    program(checkout.venv / "bin" / "meloformer", "")
    command = ["bash", "scripts/compare_methods.sh", "store", "model", "data", "out"]
    env = with_gpu(checkout, H100) | {"METHODS": "bridge"}
    done = subprocess.run(command, cwd=checkout.root, env=env, capture_output=True, text=True, check=True)
    assert f"--user-dir {checkout.root}/user_dir --distributed-world-size 1 store --save-dir out/bridge" in done.stdout


def test_no_training_on_a_cpu_beside_an_idle_gpu(checkout):
    env = with_gpu(checkout, H100)

    def refused(*options, sees):
        program(checkout.venv / "bin" / "python", f"exit {int(not sees)}")
        script = 'source scripts/environment.sh; refuse_idle_gpu "$@"'
        command = ["bash", "-euo", "pipefail", "-c", script, "bash", *options]
        done = subprocess.run(command, cwd=checkout.root, env=env, capture_output=True, text=True, check=False)
        return done.returncode == 1 and "there is a GPU (NVIDIA H100" in done.stderr

    assert refused("DATA", "--lr", "1", sees=False)
    assert not refused("DATA", "--cpu", sees=False)
    assert not refused("DATA", "--lr", "1", sees=True)
