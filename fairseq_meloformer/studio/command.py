"""The command `meloformer studio`: a page on this machine on which a person composes, and an interface for programs."""

import argparse
import asyncio
import socket
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import sole_writer
from fairseq_meloformer.museformer.precision import PRECISIONS
from fairseq_meloformer.pretrained import BRIDGE, MUSEFORMER
from fairseq_meloformer.words.probe import DEFAULT as PROBE

if TYPE_CHECKING:
    import uvicorn

    from fairseq_meloformer.studio.asks import ComposeAsk
    from fairseq_meloformer.studio.line import Line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `meloformer studio`."""
    parser.description = (
        "Open a page to compose on, in Chinese or English. It is served by this machine to this machine alone, and "
        "programs can use it too: its interface is described at /api."
    )
    parser.add_argument("--port", type=int, default=8765, help="0 for any that is free (default %(default)s)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="0.0.0.0 to be reached from other machines, by whoever can reach this one (default %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=Path("out/studio"), metavar="DIR", help="where pieces are kept")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--model", default=str(MUSEFORMER), metavar="PATH", help="MuseFormer (default: embedded)")
    parser.add_argument("--bridge", default=str(BRIDGE), metavar="PATH", help="its bridge (default: embedded)")
    parser.add_argument("--probe", default=str(PROBE), metavar="PATH", help="reads texts (default: embedded)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--dtype", choices=PRECISIONS, default="float32", help="weights of the MuseFormer")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C.

    Raises:
        InputError: the port is taken, the models cannot be loaded, or what serves is not installed.
    """
    try:
        import uvicorn  # noqa: F401, PLC0415  only the studio needs it

        from fairseq_meloformer.studio import server  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise InputError(f"the studio needs {error.name}: pip install 'meloformer[studio]'") from error
    with _listening(args.host, args.port) as listening, sole_writer(args.output):
        _open(args, listening)
    return 0


def _open(args: argparse.Namespace, listening: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415

    from fairseq_meloformer.composing.composer import Composer  # noqa: PLC0415  slow
    from fairseq_meloformer.studio.line import Line  # noqa: PLC0415
    from fairseq_meloformer.studio.making import Maker  # noqa: PLC0415
    from fairseq_meloformer.studio.server import HERE, application  # noqa: PLC0415
    from fairseq_meloformer.studio.shelf import Shelf  # noqa: PLC0415

    composer = Composer.from_pretrained(args.model, args.bridge, probe=args.probe, device=args.device, dtype=args.dtype)
    maker = Maker(composer, Shelf(args.output))
    line = Line(maker.make)
    app = application(maker, line, HERE if args.host in HERE else {"*"})
    address = address_of(listening)
    sys.stdout.write(f"the studio is open at {address} (Ctrl-C closes it)\n")
    sys.stdout.flush()
    if not args.no_browser:
        webbrowser.open(address)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(server, line, listening))


def address_of(listening: socket.socket) -> str:
    """Where a browser on this machine finds what listens, there or everywhere."""
    host, port, *_ = listening.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  a name
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


async def _serve(server: "uvicorn.Server", line: "Line[ComposeAsk]", listening: socket.socket) -> None:
    """Serve, and let nobody wait for the end of a piece who wants to stop."""
    task = asyncio.create_task(server.serve([listening]))
    while not task.done():
        await asyncio.wait([task], timeout=0.2)
        if server.should_exit:
            line.close()
    await task


def _listening(host: str, port: int) -> socket.socket:
    """A socket, taken before models are loaded.

    Raises:
        InputError: the address cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except (OSError, OverflowError) as error:
        raise InputError(f"--host and --port must be free here, but {host}:{port} is not: {error}") from error
