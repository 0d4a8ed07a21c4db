"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Something that came from outside (a file, a flag, a prompt) cannot be used.

    The message says what must hold, what came, where, and what to do. The command line prints it without a traceback.
    """
