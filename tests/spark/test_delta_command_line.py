"""
The command line on a Delta inventory: it has no session, and starts one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import spark_batchintory as bi

ROOT = Path(__file__).parents[2]


def test_status_without_a_session(delta, tmp_path):
    """
    P7, API: what happened is seen from a shell too, as JSON and nothing else on standard output, and Spark says nothing
    on standard error, where the notes are.
    """
    rows = "SELECT id AS uid, 'a' AS item, 1 AS weight FROM range(1, 4)"
    delta.sql(f"CREATE TABLE delta.`{tmp_path}/files` USING delta AS {rows}")
    conn = f"delta:{tmp_path}/inventory"
    with bi.open_inventory(conn, spark=delta) as inventory:
        inventory.acquire_batch("daily", f"delta.`{tmp_path}/files`", batch_count=2, heartbeat=False).succeeded()
    environment = {name: value for name, value in os.environ.items() if "BATCHINTORY_" not in name}
    environment |= {"PYTHONPATH": str(ROOT), "SPARK_BATCHINTORY_INVENTORY_CONN": conn}
    command = [sys.executable, "-W", "error", "-c", "from spark_batchintory.cli import main; main()"]
    ended = subprocess.run(
        [*command, "status", "--json"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280
    )

    assert ended.returncode == 0
    assert [line[:7] for line in ended.stderr.splitlines()] == ["daily: "]
    (row,) = json.loads(ended.stdout)
    assert (row["job"], row["head"], row["frontier"], row["succeeded"]) == ("daily", 3, 2, 1)


def test_a_thread_without_a_session_takes_the_default_one(delta, tmp_path):
    """
    API: the functions of the package work in every thread of a notebook, although a session is active in one only.
    """
    delta.sql("CREATE OR REPLACE TEMPORARY VIEW listed AS SELECT id AS uid, 'a' AS item, 1 AS weight FROM range(1, 4)")
    planned = []
    with bi.open_inventory(f"sqlite:///{tmp_path}/i.db", meta="spark:") as inventory:
        thread = Thread(target=lambda: planned.extend(inventory.plan("daily", "listed").to_dicts()))
        thread.start()
        thread.join()
    delta.sql("DROP VIEW listed")

    assert [(row["batch_id_start"], row["batch_id_end"]) for row in planned] == [(1, 3)]
