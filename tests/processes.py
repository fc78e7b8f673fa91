"""
Processes that tests start, stop and kill: forked from one that has loaded everything and holds nothing open.

To start Python and load a driver takes half a second; to fork takes milliseconds. What a process does is a function of
`doomed`, which talks with the test through a `Channel`. All of them end with the test run, whatever becomes of it: the
one they are forked from ends when its door closes, and each of them when its channel does, or by an alarm.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_LIMIT = 60.0
_LIFE = 150
"""Seconds after which a process ends, whatever it waits for."""


class Channel:
    """
    Messages between two processes, each a value that JSON can hold.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def tell(self, message: Any) -> None:
        """
        Send a message.
        """
        self._end.sendall(json.dumps(message).encode())

    def hear(self, seconds: float | None = _LIMIT) -> Any:
        """
        The next message; None once the other side is gone.
        """
        self._end.settimeout(seconds)
        try:
            text = self._end.recv(200_000)
        except ConnectionResetError:  # gone, and did not read all that it was told
            return None
        return json.loads(text) if text else None

    def ask(self, message: Any) -> Any:
        """
        Send a message and return the answer.
        """
        self.tell(message)
        return self.hear()

    def close(self) -> None:
        """
        Be gone.
        """
        self._end.close()


class Child(Channel):
    """
    One process, as the test has it.
    """

    def __init__(self, end: socket.socket, pid: int, nursery: Nursery) -> None:
        super().__init__(end)
        self.pid = pid
        self._nursery = nursery
        self._status: int | None = None

    def kill(self) -> None:
        """
        SIGKILL, and gone.
        """
        os.kill(self.pid, signal.SIGKILL)
        assert self.ended() == signal.SIGKILL

    def stop(self) -> None:
        """
        SIGSTOP, and stopped.
        """
        os.kill(self.pid, signal.SIGSTOP)
        self.stopped()

    def stopped(self) -> None:
        """
        Wait until the process stands still, by whoever's hand.
        """
        status = self._nursery.ask({"wait": self.pid, "how": os.WUNTRACED})
        assert os.WIFSTOPPED(status), f"it ended in place of standing still: {status}"

    def go_on(self) -> None:
        """
        SIGCONT.
        """
        os.kill(self.pid, signal.SIGCONT)

    def ended(self) -> int:
        """
        Wait for the end, and return the signal that it died of; 0 if it came to its end.
        """
        if self._status is None:
            self._status = self._nursery.ask({"wait": self.pid, "how": 0})
            self.close()
        assert not os.WIFEXITED(self._status) or os.WEXITSTATUS(self._status) == 0, "it failed; see above"
        return os.WTERMSIG(self._status) if os.WIFSIGNALED(self._status) else 0


class Nursery(Channel):
    """
    The process that all others are forked from.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(ours)
        command = [sys.executable, "-W", "error", "-m", "tests.processes", str(theirs.fileno())]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        self._process = subprocess.Popen(command, cwd=_ROOT, env=environment, pass_fds=[theirs.fileno()])
        self._children: list[Child] = []
        theirs.close()

    def fork(self, task: str, beside: socket.socket | None = None, **arguments: Any) -> Child:
        """
        Have a process do a function of `doomed`; `beside` is an end of a socket that it shares with another one.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ends = [theirs.fileno(), *([beside.fileno()] if beside else [])]
        socket.send_fds(self._end, [json.dumps({"task": task, "arguments": arguments}).encode()], ends)
        theirs.close()
        self._children.append(Child(ours, self.hear(), self))
        return self._children[-1]

    def empty(self) -> None:
        """
        End every process that is left.
        """
        for child in self._children:
            if child._status is None:
                os.kill(child.pid, signal.SIGKILL)
                child.ended()
        self._children.clear()

    def close(self) -> None:
        """
        End every process that is left, and the one they come from.
        """
        self.empty()
        super().close()
        self._process.wait(timeout=_LIMIT)


def _serve(door: socket.socket) -> None:
    while True:
        text, ends, _, _ = socket.recv_fds(door, 200_000, 2)
        if not text:
            return
        asked = json.loads(text)
        if "wait" in asked:
            told = os.waitpid(asked["wait"], asked["how"])[1]
        else:
            told = os.fork()
            if told == 0:
                door.close()
                _live(ends, **asked)
            for end in ends:
                os.close(end)
        door.sendall(json.dumps(told).encode())


def _live(ends: list[int], task: str, arguments: dict[str, Any]) -> None:
    from . import doomed

    status = 1
    signal.alarm(_LIFE)
    try:
        channel, *beside = [Channel(socket.socket(fileno=end)) for end in ends]
        getattr(doomed, task)(channel, *beside, **arguments)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _load() -> None:
    """
    Import now, once for all of them, what the first use of each database would; nothing stays open.
    """
    import psycopg  # noqa: F401  # these only to have them loaded
    import pymysql  # noqa: F401  # likewise
    import sqlalchemy as sa
    import tenacity  # noqa: F401  # likewise

    from spark_batchintory import open_inventory

    from . import doomed  # noqa: F401  # likewise

    for url in ("postgresql+psycopg://nobody@/nowhere", "mysql+pymysql://nobody@nowhere/nothing"):
        sa.create_engine(url)
    with open_inventory("sqlite://") as inventory:
        with inventory.backend.database.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE files (uid INTEGER, item TEXT, weight INTEGER)")
            connection.exec_driver_sql("INSERT INTO files VALUES (1, '/f', 1)")
        inventory.acquire_batch("daily", "files", heartbeat=False).give_back()
        inventory.acquire_batch("daily", "files", heartbeat=False).succeeded()
        inventory.acquire_batch("daily", "files", heartbeat=False)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as door:
        _load()
        _serve(door)
