"""
The short soak on each database and in each other setting: workers are killed and stopped, and nothing is lost or twice.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from soak.terms import SHORT, SHORT_ITEMS

ROOT = Path(__file__).parents[1]
RUNS = [
    ("plain", "sqlite"),
    ("plain", "postgresql"),
    ("plain", "mariadb"),
    ("plain", "delta-rs"),
    ("serializable", "postgresql"),
    ("serializable", "mariadb"),
    ("two-servers", "postgresql"),
    ("two-servers", "mariadb"),
    ("pooled", "postgresql"),
]
NEEDED = {"postgresql": "postgres_url", "mariadb": "mariadb_url"}


def run(*arguments):
    """
    The soak in a process of its own, as `make soak` starts it: its exit code and what it printed.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "soak", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if "BATCHINTORY" not in name},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("setting", "database"), RUNS, ids=["-".join(one) for one in RUNS])
def test_the_short_soak(request, setting, database):
    """
    P1 to P5: kills, stops past the lease, late rows and refused zombies really happened, and nothing is lost or twice.

    Behaviour: SERIALIZABLE, meta and inventory on two servers, and transaction pooling break none of it.
    """
    servers = ["postgresql", "mariadb"] if setting == "two-servers" else [database]
    for name in [NEEDED[one] for one in servers if one in NEEDED] + ["pgbouncer_url"] * (setting == "pooled"):
        request.getfixturevalue(name)  # skips where there is no such server

    code, output = run("--short", "--database", database, "--setting", setting)

    first, last = output.splitlines()[0], output.splitlines()[-1]
    assert code == 0, output
    assert re.fullmatch(rf"soak database={database} setting={setting} seed=\d+ items={SHORT_ITEMS}", first), output
    told = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", last)}
    assert told["violations"] == 0
    assert told["rows"] >= SHORT_ITEMS
    assert all(told[name] >= getattr(SHORT, name) > 0 for name in ("kills", "rescues", "refused", "late"))
    assert told["succeeded"] == told["publications"] == told["batches"] - told["dead"]


def test_a_soak_that_did_too_little_fails():
    """
    A run that is over before anybody was disturbed proves nothing, and says so by its exit code.
    """
    code, output = run("--database", "sqlite", "--seed", "5", "--seconds", "1")

    assert output.startswith("soak database=sqlite setting=plain seed=5 items=100000\n")
    assert (code, "100 were demanded" in output, "Traceback" in output) == (1, True, False), output


def test_a_setting_that_means_nothing_is_refused():
    """
    SQLite has no sessions to pool; a run that would only seem to test it is not begun.
    """
    code, output = run("--database", "sqlite", "--setting", "pooled")

    assert (code, "postgresql only" in output) == (2, True)
