"""
The notebooks run from the first cell to the last, and are committed without what they printed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from traitlets.config import Config

from spark_batchintory.demo.session import COMPILED_ONCE

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# Without folders to look for kernels in, "python3" is the Python of this run, and not one the user has installed.
OWN_KERNEL = Config({"KernelSpecManager": {"kernel_dirs": []}})

HURRIED = {
    "spark.driver.extraJavaOptions": COMPILED_ONCE,
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""As in the session of the other tests: for a few rows compiling costs more than running. The demo does compile."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_notebook_is_committed_without_outputs(path: Path) -> None:
    """
    A diff of a notebook shows what somebody wrote, and no output, count, or name of somebody's kernel.
    """
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert code
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert [cell.id for cell in notebook.cells if cell.metadata] == []
    assert notebook.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}


@each_notebook
def test_notebook_runs_to_its_end(path: Path, notebook_run: NotebookRun) -> None:
    """
    Every cell runs without an error in a fresh kernel, and the kernel's processes, Spark's JVM among them, end with it.
    """
    notebook = notebook_run(path)

    assert [cell.id for cell in notebook.cells if cell.cell_type == "code" and not cell.execution_count] == []
    assert notebook_run.left_behind() == []


def test_quickstart_shows_what_it_says(notebook_run: NotebookRun) -> None:
    """
    The quickstart's cells show what the text between them says: bounded batches, a retry, everything once (P4, P5, P7).
    """
    notebook = notebook_run(ROOT / "notebooks" / "01_quickstart.ipynb")
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    shown = {name: _text(cell, "text/html", "text/plain") for name, cell in cells.items()}

    assert "Batch 1" in shown["acquire"]
    assert "20 events in <Batch 1 of job 'daily': uids 1–2, 2 items" in shown["read"]
    assert re.findall(r"uids? (\d(?:–\d)?),", shown["rest"]) == ["3–4", "5–6", "7"]
    assert shown["rest"].endswith("and then: None\n")
    assert shown["fail"].startswith("[8, 9]\n")
    assert "failed: the connection broke" in shown["fail"]
    assert "Uids 1 to 9; items: 7 done, 2 failed." in shown["strip"]
    assert "attempt 2, succeeded>" in shown["retry"]
    assert "Row(events=90, amount=2475)" in shown["published"]
    assert re.findall(r"\b(?:failed|succeeded)\b", _text(cells["trace"], "text/plain")) == ["failed", "succeeded"]


def test_recursion_shows_what_it_says(notebook_run: NotebookRun) -> None:
    """
    Three levels show what the text between the cells says: nobody waits, a late item and a redo arrive (P1, P4, P5).
    """
    notebook = notebook_run(ROOT / "notebooks" / "02_recursion.ipynb")
    shown = {cell.id: _text(cell, "text/plain") for cell in notebook.cells if cell.cell_type == "code"}

    assert re.findall(r"Summary\(succeeded=(\d), failed=0, items=(\d)", shown["jobs"]) == [
        ("3", "6"),
        ("2", "3"),
        ("1", "2"),
    ]
    assert "upstream:upstream:files:bronze:silver" in shown["status"]
    assert "/lake/bronze/batch-000000000001-" in shown["batch"]
    assert re.findall(r"uids of bronze: (\[\d\]) then silver gets: (.*)", shown["slow"]) == [
        ("[8]", "[4]"),
        ("[7]", "[5]"),
    ]
    assert "uid 9, 1 item" in shown["late"]
    assert re.findall(r"\b(?:range|late)\b", shown["late"]) == ["range", "late"]
    assert (shown["total"], shown["redone"].splitlines()[-1]) == ("605", "8228")
    assert shown["strip"].startswith("██▒▒██████\n")
    assert "publication 8 of bronze: batch 17 replaces 2\n" in shown["redone"]
    assert shown["newcomer"].startswith("[1, 3, 4, 5, 6, 7, 8]\n")
    assert "superseded" in shown["newcomer"]
    assert re.findall(r"^(?:bronze|silver|gold|report)\b", shown["trace"] + "\n" + shown["trace-up"], re.MULTILINE) == [
        "bronze",
        "silver",
        "report",
    ]


def test_delta_inventory_shows_what_it_says(notebook_run: NotebookRun) -> None:
    """
    With nothing but Delta tables: what failed after its append is there once, and the inventory's own table and history
    tell who did what (P4, P5, P7).
    """
    notebook = notebook_run(ROOT / "notebooks" / "03_delta_inventory.ipynb")
    shown = {cell.id: _text(cell, "text/plain") for cell in notebook.cells if cell.cell_type == "code"}

    assert "Batch 4294967297 of job 'daily': uids 1–2, 2 items" in shown["acquire"]
    assert "Summary(succeeded=2, failed=0, items=4" in shown["rest"]
    assert shown["fail"].startswith("[7]\n")
    assert "failed: the connection broke" in shown["fail"]
    assert shown["strip"].startswith("██████F\n")
    assert "attempt 2, succeeded>" in shown["retry"]
    assert "Row(events=70, amount=1540)" in shown["retry"]
    assert re.findall(r"\b(?:failed|succeeded)\b", shown["trace"]) == ["failed", "succeeded"]
    assert re.findall(r"\| +(\d)\|(succeeded)\| +(\d)\|", shown["table"]) == [
        ("1", "succeeded", "1"),
        ("1", "succeeded", "2"),
        ("1", "succeeded", "3"),
        ("2", "succeeded", "4"),
    ]
    assert len(re.findall(r"\|failed +\|.*ConnectionError: the connection broke", shown["attempts"])) == 1
    assert re.findall(r"\|(CREATE TABLE|MERGE) *\|", shown["history"])[:2] == ["CREATE TABLE", "MERGE"]
    assert re.findall(r"\|\d+\| +(\d)\| +(\d)\| +(\d)\|(running)\|", shown["travel"]) == [("1", "2", "1", "running")]


def test_backfill_shows_what_it_says(notebook_run: NotebookRun) -> None:
    """
    A backfill and a redo beside the daily job: neither waits, bounds hold, what was redone counts once (P1, P2, P5).
    """
    notebook = notebook_run(ROOT / "notebooks" / "04_backfill.ipynb")
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    shown = {name: _text(cell, "text/plain") for name, cell in cells.items()}
    drawn = {name: re.findall(r"Uids [^.]+\.", _text(cell, "text/html")) for name, cell in cells.items()}

    assert "batches: 4 (4 succeeded, 0 failed), items: 12" in shown["daily"]
    assert shown["backfill"].endswith("complete: False\n")
    assert "items: 2, weight: 2; complete" in shown["midway"]
    assert drawn["midway"] == [
        "Uids 1 to 14; items: 14 done.",
        "Uids 4 to 9; items: 2 done, 2 untouched, 2 running.",
    ]
    assert "items: 2, weight: 2; complete" in shown["complete"]
    assert shown["complete"].endswith("files in its sink: [4, 5, 6, 7, 8, 9]\n")
    assert re.search(r" daily .* 4 +6 +3 +3 .* redo ", shown["redo-plan"])
    assert shown["redo"].startswith("uids [4, 5, 6] once more, in place of batch 2\ntotal as it was: 1155\n")
    assert drawn["redo"] == ["Uids 1 to 15; items: 11 done, 1 untouched, 3 running.", "Uids 4 to 9; items: 6 done."]
    assert "total: 6765\n" in shown["redone"]
    assert drawn["redone"] == ["Uids 1 to 15; items: 15 done.", "Uids 4 to 9; items: 6 done."]
    assert re.findall(r"\| +(\d+)\| +(\d+)\| *(range|redo)\|", shown["batches"])[-2:] == [
        ("4", "6", "redo"),
        ("15", "15", "range"),
    ]


def test_workers_show_what_they_say(notebook_run: NotebookRun) -> None:
    """
    One of four processes is killed in the middle of a batch: another takes that over, and each file counts once (P1,
    P2, P5, P7).
    """
    notebook = notebook_run(ROOT / "notebooks" / "05_workers.ipynb")
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    shown = {name: _text(cell, "text/plain") for name, cell in cells.items()}

    (stuck,) = re.findall(r"killed in batch (\d+) with exit code -9\n", shown["kill"])
    assert " running" in _text(cells["kill"], "text/html").partition("</desc>")[0]
    assert f"rescued job=upper batch={stuck} attempt=2 " in shown["rest"]
    (lost, taken) = re.findall(r"([\w.-]+:\d+) .* (lost|succeeded) ", shown["rest"].partition("batch_id")[2])
    assert (lost[1], taken[1], lost[0] == taken[0]) == ("lost", "succeeded", False)
    assert re.match(r"90 files in \d+ folders that count\nand in one that does not: \d+\.txt", shown["once"])
    shares = re.findall(r":\d+: (\d+) files, in batches (.*)", shown["shares"])
    assert (len(shares), sum(int(files) for files, _ in shares)) == (4, 90)
    drawing = _text(cells["timeline"], "text/html")
    assert drawing.count("<rect") == sum(len(batches.split()) for _, batches in shares) + 1
    assert (
        drawing.count(f"batch {stuck}, attempt 1, lost") == drawing.count(f"batch {stuck}, attempt 2, succeeded") == 1
    )


def test_migration_shows_what_it_says(notebook_run: NotebookRun) -> None:
    """
    An inventory of pybatchintory is taken over, and its job goes on: what failed and what was abandoned come back (P1).
    """
    notebook = notebook_run(ROOT / "notebooks" / "06_migration.ipynb")
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    shown = {name: _text(cell, "text/plain") for name, cell in cells.items()}

    assert "(4, 13, 16, 'running', None)" in shown["old"]
    assert "spark-batchintory migrate" in shown["refused"]
    assert "this is what would be done; nothing was" in shown["look"]
    assert re.search(r"taken over +daily +files +16 +2 +1 +1 +0 +0", shown["migrate"])
    assert shown["before"].startswith("████FFFF████▒▒▒▒····\n")
    assert shown["loop"] == "batch 2 from 5 to 8 attempt 2\nbatch 5 from 17 to 20 attempt 1\n"
    assert "batch 4 from 13 to 16 attempt 2\n" in shown["rescue"]
    assert re.findall(r"Uids [^.]+\.", _text(cells["after"], "text/html")) == [
        "Uids 1 to 20; items: 8 done, 4 untouched, 4 running, 4 failed.",
        "Uids 1 to 20; items: 20 done.",
    ]
    assert shown["once"] == "8 files with pybatchintory, 12 since, each once\n"
    assert re.findall(r"\b(?:failed|succeeded)\b", shown["history"]) == ["failed", "succeeded"]


class NotebookRun:
    """
    Runs each notebook once per test run, in a kernel of its own, and knows the processes that were started for it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._executed: dict[Path, Any] = {}
        self._processes: set[psutil.Process] = set()

    def __call__(self, path: Path) -> Any:
        if path not in self._executed:
            self._executed[path] = self._execute(path)
        return self._executed[path]

    def left_behind(self) -> list[psutil.Process]:
        """
        Processes that did not end within a minute.
        """
        return psutil.wait_procs(self._processes, timeout=60)[1]

    def _execute(self, path: Path) -> Any:
        notebook = nbformat.read(path, as_version=4)
        before = set(psutil.Process().children(recursive=True))
        client = NotebookClient(
            notebook,
            timeout=120,
            kernel_name="python3",
            config=OWN_KERNEL,
            resources={"metadata": {"path": str(self._folder)}},
            on_cell_executed=lambda **_: self._processes.update(
                set(psutil.Process().children(recursive=True)) - before
            ),
        )
        client.execute()
        return notebook


@pytest.fixture(scope="module")
def notebook_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookRun]:
    """
    Execution in an empty folder, with no settings, profile or startup file of the user's; little is compiled.
    """
    folder = tmp_path_factory.mktemp("notebooks")
    confs = folder / "confs"
    confs.mkdir()
    (confs / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in HURRIED.items()))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("SPARK_BATCHINTORY_", "PYBATCHINTORY_"))]:
            patch.delenv(name)
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("SPARK_CONF_DIR", str(confs))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        ensure_event_loop()  # of this thread, which the client would make with its first notebook, and keep
        yield NotebookRun(folder)


def _text(cell: Any, *kinds: str) -> str:
    return "".join(_output_text(output, kinds) for output in cell.outputs)


def _output_text(output: Any, kinds: Sequence[str]) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return "".join(str(output.data.get(kind, "")) for kind in kinds)
