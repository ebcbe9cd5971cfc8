"""Files about people that a command leaves on this machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, also where a file of this name was open to others. Raises `OSError`,
    before any of the content is there, when that file is another account's."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # or a terminal, a pipe
            os.fchmod(file.fileno(), 0o600)
            file.truncate(0)
        file.write(content)
