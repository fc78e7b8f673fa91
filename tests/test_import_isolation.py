"""
What `import spark_batchintory` does not do. Each test runs it in an interpreter of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["pyspark", "py4j", "psycopg", "psycopg2", "pymysql", "typer", "rich", "jinja2", "tenacity", "pandas", "numpy"]
HEAVY += ["pyarrow", "deltalake", "delta", "grpc", "google", "pytest", "hypothesis", "IPython", "tqdm", "chispa"]

SPIES = """
import builtins, json, os, sys, threading, warnings
warnings.simplefilter("error")
import pydantic_settings, sqlalchemy
import email.message, importlib.metadata, importlib.resources  # what those load lazily is not ours
opened, sockets, started, before = [], [], [], {*os.environ.items()}
sys.addaudithook(lambda event, arguments: spy(event, arguments))
def spy(event, arguments):
    path = arguments[0] if arguments else None
    if event == "open" and isinstance(path, (str, bytes)):
        opened.append(os.fsdecode(path))
    elif event.startswith(("socket.", "sqlite3.", "subprocess.", "os.system", "os.fork", "os.mkdir", "os.putenv")):
        sockets.append(event)
real_start = threading.Thread.start
threading.Thread.start = lambda self: (started.append(self.name), real_start(self))[1]
engines = []
real_engine = sqlalchemy.create_engine
sqlalchemy.create_engine = lambda *a, **k: (engines.append(str(a)), real_engine(*a, **k))[1]
import spark_batchintory
print(json.dumps({
    "modules": sorted(sys.modules),
    "opened": opened, "calls": sockets, "threads": started, "engines": engines,
    "environment": sorted(map(str, {*os.environ.items()} ^ before)),
    "alive": [thread.name for thread in threading.enumerate()],
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """
    What an import did, in an empty folder.
    """
    folder = tmp_path_factory.mktemp("empty")
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(root)!r}){SPIES}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result: dict[str, list[str]] = json.loads(done.stdout)
    result["left"] = [path.name for path in folder.iterdir()]
    return result


def test_the_spies_see(seen: dict[str, list[str]]) -> None:
    """
    The test itself: the package was imported, from this tree, and its files were seen to be opened.
    """
    assert "spark_batchintory" in seen["modules"]
    assert any("spark_batchintory" in path for path in seen["opened"])


@pytest.mark.parametrize("library", HEAVY)
def test_importing_does_not_import(seen: dict[str, list[str]], library: str) -> None:
    """
    Structure: neither Spark nor a driver nor what only some commands need is loaded by an import.
    """
    assert [name for name in seen["modules"] if name == library or name.startswith(library + ".")] == []


def test_importing_opens_nothing_but_code(seen: dict[str, list[str]]) -> None:
    """
    Structure: no settings file, no database, no log is touched before something is called.
    """
    code = (".py", ".pyc", ".so", ".dist-info", ".pth", ".pyd", "METADATA", "entry_points.txt")

    assert [path for path in seen["opened"] if not path.endswith(code) and ".pyc." not in path] == []
    assert seen["left"] == []


def test_importing_connects_to_nothing(seen: dict[str, list[str]]) -> None:
    """
    Structure: no engine, no socket, no process, and the environment as it was.
    """
    assert (seen["engines"], seen["calls"], seen["environment"]) == ([], [], [])


def test_importing_starts_no_thread(seen: dict[str, list[str]]) -> None:
    """
    Structure: heartbeats belong to batches, not to the module.
    """
    assert (seen["threads"], seen["alive"]) == ([], ["MainThread"])


def test_the_core_works_without_spark(tmp_path: Path) -> None:
    """
    Behaviour: claiming, batches and status run where pyspark cannot even be imported.
    """
    script = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"pyspark", "py4j", "delta", "pandas", "numpy", "pyarrow"}:
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Nothing())
import sqlalchemy as sa
import spark_batchintory as bi
engine = sa.create_engine("sqlite:///meta.db")
with engine.begin() as connection:
    connection.exec_driver_sql("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)")
    connection.exec_driver_sql("INSERT INTO files VALUES (0, 'a', 1), (1, 'b', 2), (2, 'c', 3)")
engine.dispose()
with bi.open_inventory("sqlite:///meta.db") as inventory:
    with inventory.acquire_batch("daily", "files", batch_weight=3) as batch:
        print(list(batch.uids), batch.delta_options()["txnVersion"])
    print(inventory.status().to_dicts()[0]["unclaimed_items"])
"""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(root)!r}){script}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("[0, 1] ")
    assert second == "1"
