"""Commands that begin where a server has imported what takes most of their time: it forks, and programs ask it to.

`python warm_commands.py serve NUMBER FOLDER` answers on the socket that it inherits until its standard input ends, as
it does however the tests end, and then removes the folder; `python warm_commands.py SOCKET NAME ARGUMENTS` is the
command NAME, with its own environment, place and streams.
"""

import atexit
import gc
import json
import multiprocessing
import os
import select
import shutil
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import wait

PRELOADED = ("fairseq.trainer", "fairseq.options", "torch._dynamo", "fairseq_meloformer.composing.composer")
"""With what optimisers import when they are made. The plugin is not among them: it is a command's to load."""


def serve(listening, folder):
    for name in PRELOADED:
        import_module(name)
    gc.freeze()  # so that processes leave in peace what they share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while listening in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(connection)
            os._exit(0)
        connection.close()
    shutil.rmtree(folder)


def answer(connection):
    """Say the number of the command's process, and when it has ended its status; it is killed with who asked for it."""
    message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    # It ends without undoing what was imported, which takes a second.
    process = multiprocessing.get_context("fork").Process(target=begin, args=(json.loads(message), streams))
    process.start()
    connection.send(process.pid.to_bytes(8))
    if connection in wait([connection, process.sentinel]):
        process.kill()
    process.join()
    with suppress(BrokenPipeError):
        connection.send(process.exitcode.to_bytes(8, signed=True))


def begin(asked, streams):
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = asked["words"]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # Anew, for the server's own know what they were: files, in which they could seek.
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8") for number in (1, 2))
    try:
        sys.exit(run(sys.argv[0]))
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out


def run(name):
    """The command of the words in sys.argv."""
    if name == "python":
        _, option, what, *arguments = sys.argv
        sys.argv = [what if option == "-m" else option, *arguments]
        if option == "-m":
            import_module("runpy").run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(what, {"__name__": "__main__"})  # noqa: S102  the option -c
        return 0
    if name == "meloformer":
        return import_module("fairseq_meloformer.cli").main()
    return import_module(f"fairseq_cli.{name.removeprefix('fairseq-').replace('-', '_')}").cli_main()


def ask(address, words):
    """Have the server run a command; its exit status."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(address)
        asked = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
        socket.send_fds(connection, [json.dumps(asked).encode()], [0, 1, 2])
        process = int.from_bytes(connection.recv(8))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(process, number))
        return int.from_bytes(connection.recv(8), signed=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.socket(fileno=int(sys.argv[2])), sys.argv[3])
        sys.exit()
    status = ask(sys.argv[1], sys.argv[2:])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
