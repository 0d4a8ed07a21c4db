"""What an unsafe reader of pickles would run."""

import os
from pathlib import Path


class Malicious:
    """Unpickled by an unsafe reader, this leaves a folder behind."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)
