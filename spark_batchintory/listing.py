"""
Have Spark list many files without a task for each.

For more than 32 paths Spark starts a job of up to 10,000 tasks that only lists them. Two confs, which it reads from the
session when a frame is analysed, bound that. They are held around the analysis and left as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_DISCOVERY = "spark.sql.sources.parallelPartitionDiscovery."
_FEW = 32  # Spark's own threshold: up to here it lists on the driver

_log = logging.getLogger(__name__)


@contextmanager
def bounded_listing(session: SparkSession, paths: Sequence[str]) -> Iterator[None]:
    """
    Keep Spark from starting one task per path to list many of them, and leave the session's confs as they were.
    """
    with ExitStack() as restore:
        if len(paths) > _FEW:
            if all(path.startswith("file:/") for path in paths):
                _hold(session, f"{_DISCOVERY}threshold", 10**9, restore)
            else:
                _hold(session, f"{_DISCOVERY}parallelism", min(max(len(paths) // 50, 16), 1000), restore)
        yield


def _hold(session: SparkSession, key: str, value: int, restore: ExitStack) -> None:
    try:
        before = session.conf.get(key, None)
        session.conf.set(key, str(value))
    except Exception as error:
        # A platform may refuse it (serverless does), each in its own way; then listing is slow, and as right as before.
        _log.debug("conf %s was refused: %s", key, error)
        return
    restore.callback(session.conf.unset, key) if before is None else restore.callback(session.conf.set, key, before)
