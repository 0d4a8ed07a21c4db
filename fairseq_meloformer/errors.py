"""The one error that is the user's to mend, and what the machine refuses, in words."""

import errno


class InputError(ValueError):
    """Something that came from outside (a file, a flag, a prompt) cannot be used.

    The message says what must hold, what came, where, and what to do. The command line prints it without a traceback.
    """


_REMEDIES = {
    errno.ENOSPC: "the disk is full: make room, then the same command goes on from here",
    errno.EDQUOT: "the disk quota is used up: make room, then the same command goes on from here",
    errno.EROFS: "it lies on a read-only file system: give a place that can be written to",
    errno.EACCES: "it may not be read or written: change its permissions, or give another place",
    errno.EPERM: "it may not be read or written: change its permissions, or give another place",
    errno.EEXIST: "a folder is needed, but a file stands in its place: move that, or give another place",
    errno.ENOTDIR: "a folder is needed, but a file stands in its place: move that, or give another place",
    errno.EISDIR: "a file is needed, but a folder stands in its place: move that, or give another place",
    errno.ENOENT: "there is no such file or folder",
    errno.ENAMETOOLONG: "its name is longer than the file system allows: give a shorter one",
}


def in_words(error: InputError | OSError) -> str:
    """An error that the user can do something about, in one sentence."""
    if isinstance(error, InputError) or error.errno is None:
        return str(error)
    return f"{error.filename or 'a file'}: {_REMEDIES.get(error.errno, error.strerror)}"
