"""
A Delta inventory on S3 through delta-rs: a commit is put only if it is not there yet, so that no claim is made twice.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter

import pytest

from .conftest import STORE

pytestmark = pytest.mark.skipif(STORE != "s3", reason="an inventory on S3")

WORK = """
import json, sys, spark_batchintory as bi
with bi.open_inventory(sys.argv[1], meta=sys.argv[2]) as inventory:
    held = []
    for batch in inventory.acquire_batches("daily", "files", batch_count=1):
        with batch:
            held += batch.uids
    print(json.dumps(held))
"""


def test_two_processes_claim_every_item_once(store, tmp_path):
    """
    P1, P2: nothing is lost and nothing is claimed twice, with credentials from the environment and none in the URL.
    """
    with sqlite3.connect(tmp_path / "files.db") as db:
        db.execute("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)")
        db.executemany("INSERT INTO files VALUES (?, 'x', 1)", [(n,) for n in range(1, 31)])
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_ALLOW_HTTP": "true",
    }
    command = [sys.executable, "-c", WORK, "delta+rs:s3://landing/inventory", f"sqlite:///{tmp_path / 'files.db'}"]

    workers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [worker.communicate(timeout=250) for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0], told
    held = [json.loads(printed) for printed, _ in told]
    assert Counter(uid for uids in held for uid in uids) == Counter(range(1, 31))
    assert all(held)
