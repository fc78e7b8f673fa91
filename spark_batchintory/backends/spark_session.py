"""
The Spark session that Delta inventories and Spark meta tables work in: the caller's, or the active one.

Also the sessions that this package itself starts: for its command line, and what one for the demo is set up with.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from ..errors import ConfigurationError, MissingDependencyError
from .delta_table import COMPACT_SIZE

Sessions = Callable[[], Any]
"""Returns the session to work in, whenever it is asked."""


SMALL_COMMITS = {
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.merge.repartitionBeforeWrite.enabled": "false",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.databricks.delta.optimize.minFileSize": str(COMPACT_SIZE),
}
"""What small commits want, on our own sessions only: compiling code for ten rows costs more than a commit, and so does
planning anew between the stages. All of them together halve a claim (2.5 → 1.2 s)."""


def sessions(given: Any) -> Sessions:
    """
    What returns `given`, or, if that is None, the session that is active when it is asked.

    A function that returns a session is asked in its place.
    """
    if given is None:
        return active_session
    return given if callable(given) else lambda: given


def active_session() -> Any:
    """
    The active session, classic or Connect; in a thread that has none, which is any but the first, the default one.

    Raises
    ------
    MissingDependencyError
        There is no pyspark.
    ConfigurationError
        There is no session.
    """
    session = _active_or_default()
    if session is None:
        raise ConfigurationError(
            "there is no Spark session here: start one, or pass it as open_inventory(…, spark=spark)"
        )
    return session


def is_active() -> bool:
    """
    Whether there is a session; none is started, and pyspark is not loaded, to find that out.
    """
    return importlib.util.find_spec("pyspark") is not None and _active_or_default() is not None


def started_session() -> Any:
    """
    The active session, or else one that this process starts: with Delta, if delta-spark is installed, and silent.

    What ``spark-defaults.conf`` and ``SPARK_REMOTE`` say holds as for any other session.

    Raises
    ------
    MissingDependencyError
        There is no pyspark.
    ConfigurationError
        Spark did not start; says what it said last.
    """
    if (session := _active_or_default()) is not None:
        return session
    confs = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    if "SPARK_REMOTE" not in os.environ and importlib.util.find_spec("delta") is not None:
        confs.update(SMALL_COMMITS | delta_confs("the command line"))
    builder = _spark_session_class().builder.appName("spark-batchintory")
    for name, value in confs.items():
        builder = builder.config(name, value)
    with tempfile.TemporaryFile() as log:
        try:
            with _output_to(log), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Connect's: of pandas, and of confs that its server is started with
                return builder.getOrCreate()
        except Exception as error:  # of Java, of py4j, of Connect: why is in what was printed
            log.seek(0)
            said = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
            raise ConfigurationError(f"Spark did not start: {' '.join((said or [str(error)])[-1].split())}") from error


def _active_or_default() -> Any:
    if "pyspark" not in sys.modules and importlib.util.find_spec("pyspark") is not None:
        return None  # nobody can have started one, and to find that out costs a second less than loading it
    try:
        return _spark_session_class().active()
    except RuntimeError:  # pyspark's own kind of it: there is neither
        return None


def _spark_session_class() -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingDependencyError.of("pyspark", "spark", "a Delta inventory, or a meta table in Spark,") from error
    return SparkSession


@contextmanager
def _output_to(log: IO[bytes]) -> Iterator[None]:
    """
    Standard output and error go to `log`: a JVM inherits the descriptors of the moment it starts, and keeps them.
    """
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in kept:
            os.dup2(log.fileno(), number)
        yield
    finally:
        for number, duplicate in kept.items():
            os.dup2(duplicate, number)
            os.close(duplicate)


def delta_confs(purpose: str) -> dict[str, str]:
    """
    What a new session of open-source Spark is set up with to have Delta tables, the jars it will fetch among it.

    Parameters
    ----------
    purpose
        What needs it, for the message.

    Raises
    ------
    MissingDependencyError
        There is no pyspark, or no delta-spark.
    """
    try:
        from delta import configure_spark_with_delta_pip
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingDependencyError.of("delta-spark", "delta", purpose) from error
    # Which jars go with which Spark is Delta's own affair; it tells a builder only, and a builder tells nobody.
    builder = configure_spark_with_delta_pip(SparkSession.builder)
    return {
        "spark.jars.packages": builder._options["spark.jars.packages"],
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }
