"""Models by their id on the Hub, from a stand-in for it on this machine."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from injection.models import bridge, museformer

from fairseq_meloformer.words.probe import Probe, ProbeConfig


class Hub:
    """Repositories {id: {revision: {file: bytes}}}, in the few answers of the Hub that a download needs."""

    def __init__(self):
        self.repositories, self.asked = {}, []
        hub = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.asked.append(self.path)
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def commit(self, name, revision):
        """Hash of a revision, which may be given as such."""
        hashes = {key: hashlib.sha256(f"{name} {key}".encode()).hexdigest()[:40] for key in self.repositories[name]}
        return next((h for key, h in hashes.items() if revision in (key, h)), None)

    def answer(self, request):
        name, revision, file, listing = self._read(request.path)
        if name not in self.repositories:
            return self._send(request, 404, b"", {"X-Error-Code": "RepoNotFound"})
        commit = self.commit(name, revision)
        if commit is None:
            return self._send(request, 404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = next(f for key, f in self.repositories[name].items() if self.commit(name, key) == commit)
        if file is not None:
            etag = hashlib.sha256(files[file]).hexdigest()
            return self._send(request, 200, files[file], {"ETag": f'"{etag}"', "X-Repo-Commit": commit})
        if listing:
            rows = [{"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in files.items()]
            return self._send(request, 200, json.dumps(rows).encode(), {})
        row = {"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in files]}
        return self._send(request, 200, json.dumps(row).encode(), {})

    @staticmethod
    def _read(path):
        path = path.partition("?")[0]
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/(\w+)", path):
            return match[1], match[2], None, True
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return match[1], match[2] or "main", None, False
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        return match[1], match[2], match[3], False

    @staticmethod
    def _send(request, status, body, headers):
        request.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    hub.close()


FILES = {
    "config.json": b"{}",
    "model.safetensors": b"one",
    "pytorch_model.bin": b"pickle",
    "more/model.safetensors": b"",
}


@pytest.fixture
def run(hub, tmp_path):
    """Runs Python beside the stand-in, in a folder and with a cache of its own."""
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key.lower()
    }
    environment = {
        **clean,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def place(run, *models):
    """What the models' weights hold, or the error."""
    script = (
        "import sys; from fairseq_meloformer.errors import InputError; from fairseq_meloformer.hub import local\n"
        "for model in sys.argv[1:]:\n"
        "    try: print((local(model) / 'model.safetensors').read_text())\n"
        "    except InputError as error: print(error)"
    )
    done = run("-c", script, *models)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_safetensors_and_json_come_once_and_then_from_the_cache(hub, run):
    hub.repositories["ada/tiny"] = {"main": FILES}
    assert place(run, "ada/tiny") == ["one"]
    assert {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path} == {
        "config.json",
        "model.safetensors",
    }
    assert not any("more/" in path for path in hub.asked)
    hub.asked.clear()
    assert place(run, "ada/tiny") == ["one"]
    assert not any("/resolve/" in path for path in hub.asked)
    hub.close()
    assert place(run, "ada/tiny") == ["one"]


def test_a_revision_is_kept_to(hub, run):
    hub.repositories["ada/tiny"] = {"main": FILES, "v2": {**FILES, "model.safetensors": b"two"}}
    commit = hub.commit("ada/tiny", "v2")
    assert place(run, "ada/tiny@v2", "ada/tiny", f"ada/tiny@{commit}") == ["two", "one", "two"]


def test_a_path_that_exists_wins_and_what_can_be_no_id_is_left_alone(hub, run, tmp_path):
    folder = tmp_path / "ada" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("mine")
    hub.repositories["ada/tiny"] = {"main": FILES}
    assert place(run, "ada/tiny", str(folder)) == ["mine", "mine"]
    paths = ["../a/b", "/no/where", "none", "out/last.pt", "a/b/c"]
    done = run("-c", "import sys; from fairseq_meloformer.hub import local; print(*map(local, sys.argv[1:]))", *paths)
    assert done.stdout.split() == paths
    assert not hub.asked


def test_what_cannot_be_had_is_said_in_one_sentence(hub, run):
    hub.repositories["ada/pickled"] = {"main": {"config.json": b"{}", "pytorch_model.bin": b"pickle"}}
    hub.repositories["ada/tiny"] = {"main": FILES}
    pickled, missing, revision = place(run, "ada/pickled", "ada/none", "ada/tiny@v9")
    assert "must have model.safetensors and config.json, but has only ['config.json']" in pickled
    assert "ada/none must be a path that exists, or the id of a model on the Hugging Face Hub" in missing
    assert "ada/tiny@v9 must be" in revision
    assert not any("pytorch_model.bin" in path for path in hub.asked)
    hub.close()
    (unreachable,) = place(run, "ada/tiny")
    assert unreachable.startswith("ada/tiny must be")


def test_composing_with_models_of_the_hub(hub, run, tmp_path):
    models = {"model": museformer(), "bridge": bridge(), "probe": Probe(ProbeConfig(encoder="dummy:12", text_dim=12))}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        files = {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        hub.repositories[f"ada/{name}"] = {"v1": files}
    flags = ["--nfe", "2", "--best-of", "1", "--bars", "1", "--no-audio", "--no-picture"]
    ids, paths = (
        [part for name in models for part in (f"--{name}", where.format(name))] for where in ("ada/{}@v1", "{}")
    )
    commands = (
        *((f, *flags, *chosen) for f, chosen in (("ids", ids), ("paths", paths))),
        ("no", "--model", "ada/none"),
    )
    commands = [["compose", "rain", "--output", *command] for command in commands]
    done = run("-c", f"from fairseq_meloformer.cli import main; print(*map(main, {commands}))")
    assert done.stdout.splitlines()[-1] == "0 0 2", done.stderr
    assert (tmp_path / "ids" / "rain-0.mid").read_bytes() == (tmp_path / "paths" / "rain-0.mid").read_bytes()
    assert "Traceback" not in done.stderr
