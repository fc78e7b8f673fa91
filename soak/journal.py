"""
What the processes of a run say they did: one file that all of them append to, a line of JSON for each event.

A line is one write and survives the death of who wrote it; one that was torn by a kill is left out. Its `at` is the
monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Journal:
    """
    The writing end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, event: str, **facts: Any) -> None:
        """
        Write down that `event` happened now.
        """
        line = json.dumps({"event": event, "pid": os.getpid(), "at": time.monotonic(), **facts})
        with self._path.open("ab", buffering=0) as file:
            file.write(f"\n{line}\n".encode())


class Tail:
    """
    The reading end, which goes on where it was.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.events: list[Event] = []

    def news(self) -> list[Event]:
        """
        Events since the last call; all so far are in `events`.
        """
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        found = [event for line in whole.split(b"\n") if line and (event := _parsed(line)) is not None]
        self.events += found
        return found


def _parsed(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
