"""
What every test shares: one Spark session, and the examples of README, docs and docstrings as tests.

Examples run in an empty folder and without settings from the environment; the names that a document defines are there
for its later examples. One that mentions `spark` gets the session of the run. A `text` block right below a `python`
block is what that prints. An example is left out only with a reason, in a comment above it:
``<!-- skip: next "needs a Databricks workspace" -->``.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, filterwarnings

import pytest
from hypothesis import settings
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.integration.pytest import SybilItem
from sybil.parsers.markdown import CodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

pytest.register_assert_rewrite("spark_batchintory.testing")
settings.register_profile("tests", deadline=None)  # a busy machine is no failure
settings.load_profile("tests")
import spark_batchintory as bi  # noqa: E402  # only what is imported after that line is rewritten
from spark_batchintory.backends.spark_session import delta_confs  # noqa: E402  # likewise
from spark_batchintory.demo.session import COMPILED_ONCE  # noqa: E402  # likewise
from spark_batchintory.errors import MissingDependencyError  # noqa: E402  # likewise

CONNECT = os.environ.get("SPARK_API_MODE") == "connect"

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


def pytest_configure(config: pytest.Config) -> None:
    """
    Bear with an older pyspark: what it leaves to the garbage collector until 4.2 (the socket of each collect, in 3.5 a
    file of the launch), and the use that 3.5 makes of distutils.
    """
    if _release("pyspark") < (4, 2):
        config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")
    if _scala() == "2.12":
        config.addinivalue_line("filterwarnings", "ignore:distutils Version classes:DeprecationWarning")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """
    With several workers (``-n 2``), leave a file to one of them, and all that may want Spark: one JVM is enough.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "spark" if _wants_spark(nodeid) and not CONNECT else nodeid.split("::", 1)[0]

    config.option.loadscopereorder = False  # the files as collected: those with Spark take longest, and begin early
    return ByFile(config, log)


def _wants_spark(nodeid: str) -> bool:
    file = nodeid.split("::", 1)[0]
    return file.startswith(("tests/spark/", "tests/stores/")) or file.endswith(".md")


@pytest.fixture(scope="session")
def jars() -> dict[str, str]:
    """
    What the session of a run needs besides: packages under ``spark.jars.packages``, and confs for them.
    """
    return {"spark.jars.packages": _spark_jar("avro")}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory, jars: dict[str, str]) -> Iterator[SparkSession]:
    """
    The one Spark session of a run: two cores, UTC, with Delta, everything it writes in a temporary folder.

    Classic, or a Connect session with its server in this process if the environment says ``SPARK_API_MODE=connect``.
    """
    from pyspark import SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    os.environ |= {"TZ": "UTC", "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    time.tzset()
    if CONNECT:
        os.environ["SPARK_TESTING"] = "1"  # a free port for the server, and the client finds it
        os.environ["PYARROW_IGNORE_TIMEZONE"] = "1"  # pandas' affair, of which 3.5 warns whoever connects
    plain, delta = _spark_settings(folder), _delta_settings()
    packages = [part["spark.jars.packages"] for part in (delta, jars) if "spark.jars.packages" in part]
    with _output_to(folder / "jvm.log"), _first_fetch(tmp_path_factory):
        try:
            wanted = plain | delta | jars | {"spark.jars.packages": ",".join(packages)}
            session = _session(SparkSession.builder, wanted)
        except PySparkRuntimeError:  # Delta's jars come over the network; who needs them says that they are not there
            session = _session(SparkSession.builder, plain)
    SparkContext._active_spark_context.setLogLevel("ERROR")
    yield session
    _end_jvm(session, SparkContext)


@contextmanager
def _first_fetch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """
    Let one worker of a run start its Spark at a time: two that fetch the same jars at once leave one without.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with open(shared / "spark.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing lets go
        yield


def _session(builder: Any, settings: dict[str, str]) -> SparkSession:
    builder = (builder.remote if CONNECT else builder.master)("local[2]").appName("spark_batchintory")
    for name, value in settings.items():
        builder = builder.config(name, value)
    with catch_warnings():
        if CONNECT:  # Connect sets on the session what only the server can be started with, and warns that it cannot
            filterwarnings("ignore", "Failed to set")
            filterwarnings("ignore", "Attempted to automatically find")  # and 3.5 looks for a build of its own first
        session: SparkSession = builder.getOrCreate()
    return session


def _delta_settings() -> dict[str, str]:
    """
    What makes the session read and write Delta tables; nothing if delta-spark is not installed.
    """
    try:
        confs = {**delta_confs("the tests"), "spark.databricks.delta.snapshotPartitions": "1"}
    except MissingDependencyError:
        return {}
    if CONNECT and _scala() == "2.12":  # later ones bring their server along
        confs["spark.jars.packages"] += f",{_spark_jar('connect')}"
    return confs


def _spark_jar(name: str) -> str:
    """
    A part of Spark that pyspark does not bring along; of 3.5.8 the one before it, which Maven Central has for certain.
    """
    release = version("pyspark")
    return f"org.apache.spark:spark-{name}_{_scala()}:{'3.5.7' if release == '3.5.8' else release}"


def _scala() -> str:
    return "2.12" if _release("pyspark") < (4,) else "2.13"


def _release(package: str) -> tuple[int, ...]:
    """
    Its version, as far as it is numbers; later than any if it is not installed.
    """
    try:
        return tuple(int(part) for part in version(package).split(".") if part.isdigit())
    except PackageNotFoundError:
        return (sys.maxsize,)


def _spark_settings(folder: Path) -> dict[str, str]:
    # No compiled code: for the few rows of a test compiling costs more than running. The demo does compile.
    # What Java compiles of Spark itself it compiles once, without the second time that takes most of a short test.
    java = {"user.timezone": "UTC", "java.io.tmpdir": folder, "derby.system.home": folder}
    return {
        "spark.driver.extraJavaOptions": " ".join(
            [COMPILED_ONCE, *(f"-D{name}={value}" for name, value in java.items())]
        ),
        "spark.local.dir": str(folder),
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    # The JVM inherits the descriptors 1 and 2 of the moment it starts, and keeps them: sys.stderr is nothing to it.
    kept = [os.dup(number) for number in (1, 2)]
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for number in (1, 2):
            os.dup2(target, number)
        yield
    finally:
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
        for descriptor in (*kept, target):
            os.close(descriptor)


def _end_jvm(session: SparkSession, context: Any) -> None:
    # stop() leaves the JVM to the end of the process, and its folder would be gone before it.
    gateway: Any = context._gateway
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(timeout=30)
    context._gateway = context._jvm = None


class _ReasonedSkips(SkipParser):
    def __call__(self, document: Document) -> Iterable[Region]:
        for region in super().__call__(document):
            action, reason = region.parsed
            if action != "end" and not reason:
                raise ValueError(f"{document.path}: 'skip: {action}' without a reason")
            yield region


def _run(example: Example) -> None:
    __tracebackhide__ = True
    printed = io.StringIO()
    with redirect_stdout(printed):
        PythonEvaluator()(example)
    example.namespace["_printed"] = example.region.end, printed.getvalue()


def _compare(example: Example) -> None:
    end, printed = example.namespace.get("_printed", (0, ""))
    if not example.document.text[end : example.region.start].strip("`\n"):
        assert printed.strip() == str(example.parsed).strip()


def _enter_empty_place(namespace: dict[str, Any]) -> None:
    folder, patch = tempfile.TemporaryDirectory(), pytest.MonkeyPatch()
    patch.chdir(folder.name)
    for name in [name for name in os.environ if name.startswith(("SPARK_BATCHINTORY_", "PYBATCHINTORY_"))]:
        patch.delenv(name)
    bi.configure()
    namespace["_place"] = folder, patch


def _leave_empty_place(namespace: dict[str, Any]) -> None:
    folder, patch = namespace.pop("_place")
    for inventory in [value for value in namespace.values() if isinstance(value, bi.Inventory)]:
        inventory.close()
    namespace.clear()  # a batch that the document left running would keep its inventory open
    bi.configure()  # what the document set is for no other, and its inventory lies in the folder
    patch.undo()
    folder.cleanup()
    gc.collect()
    beating = [thread.name for thread in threading.enumerate() if thread.name == "batchintory-heart"]
    assert not beating, f"the document left {len(beating)} inventories open that extend leases"


_place = {"setup": _enter_empty_place, "teardown": _leave_empty_place}
_pages = ["README.md", "docs/*.md", "docs/*/*.md"]
_modules = ["spark_batchintory/*.py", "spark_batchintory/*/*.py"]  # Sybil's ** is one level deep
_blocks = [CodeBlockParser("python", _run), CodeBlockParser("text", _compare), _ReasonedSkips()]
_documents = Sybil(_blocks, patterns=_pages, **_place)
_docstrings = Sybil([DocTestParser()], patterns=_modules, **_place)
pytest_collect_file = (_documents + _docstrings).pytest()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Give the Spark session to those examples that mention it, and to no other: it takes seconds to start.

    Tests with Spark come first: of two workers, the one that has them all must begin with them. On Connect there are no
    others.
    """
    if CONNECT:
        config.hook.pytest_deselected(items=[item for item in items if not _wants_spark(item.nodeid)])
        items[:] = [item for item in items if _wants_spark(item.nodeid)]
    items.sort(key=lambda item: not _wants_spark(item.nodeid))
    for item in items:
        if isinstance(item, SybilItem):
            item._traceback_filter = partial(_traceback, item)
            if re.search(r"\bspark\b", _source(item)):
                item.request_fixtures(["spark"])


def _source(item: SybilItem) -> str:
    region = item.example.region
    return item.example.document.text[region.start : region.end]


def _traceback(item: SybilItem, failure: pytest.ExceptionInfo[BaseException]) -> Any:
    # Sybil 10 takes it that every failure comes from inside an example; one of a fixture, or a warning that is an error
    # afterwards, would end the whole run with an IndexError.
    try:
        return SybilItem._traceback_filter(item, failure)
    except IndexError:
        return failure.traceback
