"""
The real pybatchintory 0.0.8, in a process and an environment of its own (`.ci/find-pybatchintory`).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


def ancestor_python() -> str:
    """
    The Python that has it; made if it is not there yet.
    """
    found = subprocess.run(
        [str(_ROOT / ".ci" / "find-pybatchintory")], stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    return found.stdout.strip()


class Ancestor:
    """
    A process that works with pybatchintory, when told to, on the database it was told of last.
    """

    def __init__(self, python: str) -> None:
        environment = {name: value for name, value in os.environ.items() if "BATCHINTORY" not in name}
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(_ROOT / "tests" / "ancestor_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONPATH": ""},
        )

    def configure(self, url: str, **settings: Any) -> None:
        """
        Work on the database at `url` from now on.
        """
        url = url.replace("postgresql+psycopg://", "postgresql+psycopg2://")
        self.call("configure", INVENTORY_CONN=url, **settings)

    def call(self, name: str, **arguments: Any) -> Any:
        """
        What it answers; its error as a `RuntimeError`.
        """
        self.say([name, arguments])
        return self.answer()

    def acquire(self, job: str = "daily", table: str = "files", **arguments: Any) -> Any:
        """
        A batch as ``pk, items, start, end``; None if there is none.
        """
        return self.call("acquire", job=job, meta_table_name=table, **arguments)

    def release(self, batch: Any, success: bool = True, **arguments: Any) -> None:
        """
        End a batch that this process acquired.
        """
        self.call("release", pk=batch["pk"], success=success, **arguments)

    def look(self, job: str = "daily", table: str = "files", **arguments: Any) -> None:
        """
        Acquire up to where it has looked for concurrent changes; `insert` goes on.
        """
        self.say(["acquire", {"job": job, "meta_table_name": table, "held": True, **arguments}])
        assert self._read() == "looked"

    def insert(self) -> Any:
        """
        Go on after `look`.
        """
        self.say("go on")
        return self.answer()

    def answer(self) -> Any:
        """
        The next answer; its error as a `RuntimeError`.
        """
        told = self._read()
        if "error" in told:
            raise RuntimeError(told["error"])
        return told["answer"]

    def say(self, line: Any) -> None:
        """
        One line of JSON.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"pybatchintory ended with exit code {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """
        End it.
        """
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(timeout=60)
