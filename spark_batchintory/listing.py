"""
Have Spark list many files without a task for each.

For more than 32 paths Spark starts a job of up to 10,000 tasks that only lists them, a few milliseconds each. Two
confs, which it reads from the session when a frame is analysed (InMemoryFileIndex and
HadoopFSUtils.parallelListLeafFiles), bound that. They are held around the analysis and left as they were: the first who
wants one in a session sets it, the last who does puts back what was there, so that threads which share a session
neither lack nor leave one.

A session may refuse to set confs, as serverless ones do; then listing is slow, and as right as before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FEW = 32
"""So many paths, or folders, Spark lists by itself on the driver (its own threshold)."""

_DISCOVERY = "spark.sql.sources.parallelPartitionDiscovery."

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """
    A conf that somebody holds: what was there before, and how many hold it.
    """

    before: str | None
    holders: int = 1


_lock = threading.Lock()
_held: WeakKeyDictionary[SparkSession, dict[str, _Held]] = WeakKeyDictionary()


@contextmanager
def bounded_listing(session: SparkSession, paths: Sequence[str]) -> Iterator[bool]:
    """
    Keep Spark from starting one task per path to list many of them; yields whether it is kept from that.

    A local disk is listed by the driver alone. Elsewhere a call takes tens of milliseconds, so that some tasks share
    the work: one for 50 paths, at least 16.
    """
    if len(paths) <= FEW:
        yield True
        return
    if all(path.startswith("file:/") for path in paths):
        key, value = f"{_DISCOVERY}threshold", 10**9
    else:
        key, value = f"{_DISCOVERY}parallelism", min(max(len(paths) // 50, 16), 1000)
    with _holding(session, key, value) as is_held:
        yield is_held


@contextmanager
def listing_tasks(session: SparkSession, tasks: int) -> Iterator[None]:
    """
    Have Spark, and Delta's VACUUM, list folders by `tasks` tasks, where 10,000 are the default however few there are.
    """
    with _holding(session, f"{_DISCOVERY}parallelism", tasks):
        yield


@contextmanager
def _holding(session: SparkSession, key: str, value: int) -> Iterator[bool]:
    is_held = _hold(session, key, value)
    try:
        yield is_held
    finally:
        if is_held:
            _let_go(session, key)


def _hold(session: SparkSession, key: str, value: int) -> bool:
    with _lock:
        held = _held.setdefault(session, {})
        if key in held:  # with a value of another batch: only the speed of listing depends on it
            held[key].holders += 1
            return True
        try:
            before = session.conf.get(key, None)
            session.conf.set(key, str(value))
        except Exception as error:  # each platform refuses in its own way
            _log.debug("conf %s was refused: %s", key, error)
            return False
        held[key] = _Held(before)
        return True


def _let_go(session: SparkSession, key: str) -> None:
    with _lock:
        held = _held[session]
        held[key].holders -= 1
        if held[key].holders:
            return
        before = held.pop(key).before
        session.conf.unset(key) if before is None else session.conf.set(key, before)


def keep_listing(frame: DataFrame) -> DataFrame:
    """
    The same rows, from a plan that the server keeps, so that it lists the files no more.

    A Connect server of Spark 3.5 analyses a frame's plan anew with every call, and lists its files each time; later
    ones remember what they analysed. Leaves a temporary view in the session, of a name that begins with
    ``_batchintory``, for as long as the session lasts: the frame is read through it. Its hidden column ``_metadata``
    is gone.
    """
    name = f"_batchintory_{uuid4().hex}"
    frame.createOrReplaceTempView(name)
    return frame.sparkSession.table(name)


def lists_each_time(session: SparkSession) -> bool:
    """
    Whether a frame of this session is analysed anew with every call.
    """
    return is_served(session) and session.version.startswith("3.")


def is_served(session: SparkSession) -> bool:
    """
    Whether a server analyses the frames of this session (Spark Connect), and may forget what it listed for them.
    """
    return hasattr(session, "_client")
