"""
A Spark session for the demo alone: two cores, nothing on the screen, and gone afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from spark_batchintory.errors import MissingDependencyError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_HOW_TO_GET_JAVA = (
    "Spark needs Java 17 or later, and there is none in JAVA_HOME or, where that is not set, on the PATH: install it "
    "(Debian, Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17), or set JAVA_HOME"
)


_CONNECT = ("SPARK_API_MODE", "SPARK_CONNECT_MODE_ENABLED", "SPARK_LOCAL_REMOTE", "SPARK_REMOTE")
COMPILED_ONCE = "-XX:TieredStopAtLevel=1"
"""A JVM of a minute or two does not live to see what compiling its code a second time would save."""


def require_java() -> None:
    """
    Make sure that Spark will find a Java it can run on: in ``JAVA_HOME`` if that is set, else on the path.

    Raises
    ------
    MissingDependencyError
        There is none, or it is too old; says how to get one.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=os.path.join(home, "bin") if home else None)
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr if java else ""
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < 17:
        raise MissingDependencyError(_HOW_TO_GET_JAVA)


@contextmanager
def spark_session(folder: Path, log: Path, confs: Mapping[str, str]) -> Iterator[SparkSession]:
    """
    A session that keeps its files in `folder` and writes its messages to `log`; its JVM has ended afterwards.

    Parameters
    ----------
    confs
        What it is set up with besides.

    Raises
    ------
    MissingDependencyError
        Spark did not start, and was to fetch jars.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    # A host that cannot resolve its own name, as in some containers, would keep Spark from starting.
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    folder.mkdir()
    conf = SparkConf(loadDefaults=False).setAll(list({**_settings(folder), **confs}.items()))
    with log.open("ab") as messages, _without_connect(), ExitStack() as ending:
        gateway = _gateway(conf, messages)
        ending.callback(_end_jvm, gateway, SparkContext)
        with warnings.catch_warnings():
            # Imports pandas if it is there, and warns of its version. Nothing here uses it.
            warnings.simplefilter("ignore", FutureWarning)
            context = SparkContext(conf=conf, gateway=gateway)
        ending.callback(context.stop)
        context.setLogLevel("ERROR")
        yield SparkSession(context)


@contextmanager
def _without_connect() -> Iterator[None]:
    """
    In an environment that is made for Connect the demo has a Spark of its own all the same.
    """
    kept = {name: os.environ.pop(name) for name in _CONNECT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _gateway(conf: Any, messages: IO[bytes]) -> Any:
    """
    The way to a new JVM, which fetches its jars before it is there.
    """
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway

    try:
        return launch_gateway(conf, popen_kwargs={"stdout": messages, "stderr": messages})  # type: ignore[no-untyped-call]  # pyspark's has no types
    except PySparkRuntimeError as error:
        if (packages := conf.get("spark.jars.packages")) is None:
            raise
        raise MissingDependencyError(
            f"Spark did not start: it needs {packages}, which it fetches from Maven Central when it first does, and "
            "finds in its cache after that"
        ) from error


def _settings(folder: Path) -> dict[str, str]:
    java = {"user.timezone": "UTC", "java.io.tmpdir": folder, "derby.system.home": folder}
    options = [COMPILED_ONCE, *(f'"-D{name}={value}"' for name, value in java.items())]
    return {
        "spark.master": "local[2]",
        "spark.app.name": "spark-batchintory demo",
        "spark.driver.extraJavaOptions": " ".join(options),
        "spark.hadoop.fs.defaultFS": "file:///",
        "spark.local.dir": str(folder),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


def _end_jvm(gateway: Any, context: Any) -> None:
    # Stopping the context leaves the JVM to the end of the process, and its folder would be gone before it.
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(timeout=60)
    context._gateway = context._jvm = None
