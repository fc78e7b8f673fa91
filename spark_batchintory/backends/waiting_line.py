"""
Processes of one machine wait in line for a job's turn on a local disk, instead of racing and losing tries.

A courtesy, no guarantee: who may write is decided by the commit alone. So the wait is short, a process that is stopped
holds up nobody for longer, and where no file can be locked (Windows, some network file systems) nobody waits.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for before use

PATIENCE = 2.0
"""Seconds that one waits for those in front: some ten commits."""

_POLL = (0.002, 0.01)


@contextmanager
def in_line(folder: Path, name: str) -> Iterator[None]:
    """
    The place at the front of the line called `name`, whose file is made in `folder`; after `PATIENCE` without it.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            _wait(stack, folder, name)
        yield


def _wait(stack: ExitStack, folder: Path, name: str) -> None:
    if fcntl is None:
        return
    folder.mkdir(exist_ok=True)
    file = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    stack.callback(os.close, file)
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(random.uniform(*_POLL))
        else:
            stack.callback(fcntl.flock, file, fcntl.LOCK_UN)  # a child forked meanwhile has the file as well
            return
