"""
What a test leaves behind: threads, descriptors (files, connections, pipes) and child processes that were not there
before it.

What a wider fixture starts (a server of the run, the Spark session, an inventory of a module) stands until that fixture
ends, also when the first test that wants it starts it in its middle. Descriptors and children are read from /proc;
where there is none, threads alone are looked at.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Set
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

GRACE = 5.0
"""Seconds that a thread or a process which is ending already may take for it."""

_PROC = Path("/proc")


def resources() -> set[Any]:
    """
    Everything there is now; compares by identity, so that a number that is used again is another one.
    """
    return {*threading.enumerate(), *_descriptors(), *_processes()}


def _descriptors() -> Iterator[tuple[str, str]]:
    # Sockets and pipes are told by their inode, files by their path.
    if _PROC.exists():
        for number in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # the one that lists this folder
                yield number, os.readlink(f"/proc/self/fd/{number}")


def _processes() -> Iterator[int]:
    """
    Everybody's: whose child a process is, is asked of new ones only.
    """
    if _PROC.exists():
        yield from (int(name) for name in os.listdir(_PROC) if name.isdigit())


class Leftovers:
    """
    A plugin that knows what wider fixtures started; `before` and `check` belong around each test.
    """

    def __init__(self) -> None:
        self._standing: set[Any] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Any:
        """
        Whatever a fixture of more than one test starts is none of this test's.
        """
        if fixturedef.scope == "function":
            return (yield)
        before = resources()
        try:
            return (yield)
        finally:
            self._standing |= resources() - before

    def left(self, before: set[Any]) -> list[str]:
        """
        What is there and was not `before`, in words; waits for what is about to end, garbage included.
        """
        if self._new(before):
            gc.collect()
        deadline = time.monotonic() + GRACE
        while left := self._new(before):
            if time.monotonic() > deadline:
                return sorted(map(_told, left))
            time.sleep(0.01)
        return []

    def _new(self, before: set[Any]) -> set[Any]:
        new = resources() - before - self._standing
        return {one for one in new if (_is_ours(one) if isinstance(one, int) else not _is_sparks(one))}


def _is_ours(process: int) -> bool:
    """
    Whether it is a child of this process, other than the one by which Python watches over shared memory to the end.
    """
    try:
        state = (_PROC / str(process) / "stat").read_text()
    except OSError:  # gone
        return False
    parent = int(state.rpartition(")")[2].split()[1])
    return parent == os.getpid() and process != resource_tracker._resource_tracker._pid


def _is_sparks(one: Any) -> bool:
    """
    Whether it is the Spark session's: a connection to its JVM, which keeps those it ever needed at once, a thread by
    which a Connect client lets go of answers, or a jar.

    Spark puts its jars on Python's path, and `importlib.metadata` keeps open what it has looked into.
    """
    if isinstance(one, threading.Thread):
        return one in _connect_threads()
    if isinstance(one, tuple) and "/userFiles-" in one[1]:
        return True
    pyspark = sys.modules.get("pyspark")
    if pyspark is None or pyspark.SparkContext._gateway is None or not (isinstance(one, tuple) and "socket" in one[1]):
        return False
    with suppress(OSError), socket.socket(fileno=os.dup(int(one[0]))) as copy:
        return copy.family != socket.AF_UNIX and copy.getpeername()[0] in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    return False


def _connect_threads() -> Set[threading.Thread]:
    client = sys.modules.get("pyspark.sql.connect.client.reattach")
    iterator = getattr(client, "ExecutePlanResponseReattachableIterator", None)
    pool = getattr(iterator, "_release_thread_pool_instance", None)
    return getattr(pool, "_threads", frozenset())


def _told(one: Any) -> str:
    if isinstance(one, threading.Thread):
        return f"thread {one.name}"
    return f"process {one}" if isinstance(one, int) else f"descriptor {' → '.join(one)}"
