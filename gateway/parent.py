"""A process that another one started does not outlive it.

Whoever starts processes ends them; killed at once (`kill -9`, memory), it cannot, and they would go on: holding the
port of a server that nobody watches over any more, or a key in memory for nobody.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def end_with_it() -> None:
    """From now on this process is told to end (SIGTERM) once the one that started it is gone; for one that
    `multiprocessing` spawned. A server then stops listening at once and finishes what it is answering."""
    began_by = multiprocessing.parent_process()
    assert began_by is not None

    def watch() -> None:
        began_by.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
