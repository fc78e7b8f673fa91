"""
`spark-batchintory register-files` as a user meets it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spark_batchintory import cli, open_inventory


@pytest.fixture
def landing(tmp_path, monkeypatch):
    """
    A folder with two files and one that Spark never reads, and a SQLite inventory that the settings name.
    """
    for name in [name for name in os.environ if name.startswith(("SPARK_BATCHINTORY_", "PYBATCHINTORY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPARK_BATCHINTORY_INVENTORY_CONN", f"sqlite:///{tmp_path / 'inventory.db'}")
    folder = tmp_path / "landing"
    folder.mkdir()
    for name in ("a.json", "b.csv", "_SUCCESS"):
        (folder / name).write_text("x")
    return folder


def run(*arguments):
    return CliRunner().invoke(cli.app, ["register-files", *map(str, arguments)], prog_name="spark-batchintory")


def test_registering(landing, tmp_path):
    """
    API: 0 if something was registered, 3 if there is nothing new; the notes go to standard error.
    """
    young = run(landing, "files")
    assert (young.exit_code, "young" in young.stderr) == (3, True)

    first = run(landing, "files", "--min-age", "0", "--json")
    assert first.exit_code == 0
    registered, hidden = json.loads(first.stdout)
    assert registered == {"outcome": "registered", "files": 2, "bytes": 2, "example": f"file://{landing}/a.json"}
    assert (hidden["outcome"], hidden["files"]) == ("hidden", 1)

    again = run(landing, "files", "--min-age", "0")
    assert again.exit_code == 3
    assert again.stdout.splitlines()[0].split() == ["outcome", "files", "bytes", "example"]

    with open_inventory(f"sqlite:///{tmp_path / 'inventory.db'}") as inventory:
        assert inventory.acquire_batch("x", "files", heartbeat=False).uids == [1, 2]


def test_options(landing):
    """
    API: pattern, dry run, and what becomes of rewritten files.
    """
    assert run(landing, "files", "*.json", "--min-age", "0", "--dry-run").exit_code == 0
    assert run(landing, "files", "*.json", "--min-age", "0").exit_code == 0
    (landing / "a.json").write_text("xyz")
    assert run(landing, "files", "*.json", "--min-age", "0").exit_code == 3
    assert run(landing, "files", "*.json", "--min-age", "0", "--rewritten", "new").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere", "files"], 1),
        ([".", "files", "/x"], 1),
        ([], 2),
        (["."], 2),
        ([".", "files", "--rewritten", "x"], 2),
    ],
)
def test_wrong_calls(landing, monkeypatch, arguments, code):
    """
    API: 1 refused, in one line; 2 a wrong call.
    """
    monkeypatch.chdir(landing)
    refused = run(*arguments)

    assert refused.exit_code == code
    assert code == 2 or refused.stderr.count("\n") == 1


def test_a_delta_table_by_its_path_needs_no_jvm(landing, tmp_path):
    """
    API: no JVM for what lies at a path, nor is pyspark loaded.
    """
    script = (
        "import sys; from spark_batchintory.cli import app\n"
        "try: app(sys.argv[1:], prog_name='x')\n"
        "except SystemExit as end: print(end.code, 'pyspark' in sys.modules)"
    )
    settings = {"SPARK_BATCHINTORY_INVENTORY_CONN": f"delta+rs:{tmp_path / 'inventory'}"}
    call = ["register-files", "landing", f"delta.`{tmp_path}/files`", "--min-age", "0"]
    for expected in ("0 False", "3 False"):
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", script, *call],
            cwd=tmp_path,
            env={**os.environ, **settings, "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.stdout.splitlines()[-1] == expected, ended.stderr
