"""
Clocks that are wrong: real processes a day ahead and a day behind, and at the hour when summer time begins and ends.
"""

from __future__ import annotations

import calendar
import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import spark_batchintory as bi

from .stage import LEASE, MINUTE, Stage

DAY = timedelta(days=1)

WORKER = """
import json, os, sys, time
import spark_batchintory as bi

def set_clock(target):
    ahead = float(os.environ["FAKETIME"]) + target - time.time()
    os.environ["FAKETIME"] = f"{ahead:+.0f}"

switch = float(sys.argv[2]) if len(sys.argv) > 2 else None
if switch:
    set_clock(switch - 5)
with bi.open_inventory(sys.argv[1]) as inventory:
    begun, before = time.time(), time.localtime().tm_isdst
    first = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    second = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    if switch:
        set_clock(switch + 5)
    third = inventory.acquire_batch("daily", "files", batch_count=3, retry_delay=600, heartbeat=False)
    first.succeeded()
    third.failed("boom")
    fourth = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    print(json.dumps({
        "time": begun, "dst": [before, time.localtime().tm_isdst],
        "uids": [first.uids, second.uids, third.uids, fourth.uids],
        "began": [str(one.processing_start) for one in (first, second, third, fourth)],
        "ends": [str(one.lease_expires_at) for one in (second, fourth)],
        "now": str(inventory.backend.now()),
    }))
"""


@pytest.fixture
def faketime():
    """
    Debian's program that gives a process another clock.
    """
    path = shutil.which("faketime")
    if path is None:
        why = "these tests need faketime: install it with the system's packages"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    return path


def told_by(faketime, url, clock, *arguments, **environment):
    """
    What a worker on another clock did and saw.
    """
    command = [faketime, "-f", clock, sys.executable, "-W", "error", "-c", WORKER, url, *arguments]
    paths = {
        "PYTHONPATH": str(Path(bi.__file__).parents[1]),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    done = subprocess.run(
        command, env={**os.environ, **paths, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return {**told, **{name: [datetime.fromisoformat(text) for text in told[name]] for name in ("began", "ends")}}


def real(inventory):
    """
    The inventory on its own clock.
    """
    inventory.backend._clock = None
    return inventory


def test_a_worker_whose_clock_is_a_day_off(server_url, faketime):
    """
    Behaviour, worker's clock a day off: a day ahead it rescues no live batch and retries nothing early, a day behind
    its lease ends no earlier; times and leases are the server's.
    """
    with Stage(server_url) as stage:
        stage.files(range(1, 41))
        inventory = real(stage.open())
        held = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
        for shift, first in ((DAY, 4), (-DAY, 16)):
            begun = inventory.backend.now()
            told = told_by(faketime, stage.url, f"{shift.total_seconds():+.0f}")
            over = inventory.backend.now()

            seen = datetime.fromtimestamp(told["time"]) - datetime.now()  # noqa: DTZ005, DTZ006  # how far it is off
            assert abs(seen - shift) < timedelta(hours=1)
            assert told["uids"] == [list(range(at, at + 3)) for at in range(first, first + 12, 3)]
            assert begun <= min(told["began"]) <= max(told["began"]) <= over
            assert all(begun + LEASE <= end <= over + LEASE for end in told["ends"])
            failed = stage.rows("SELECT due_at FROM inventory WHERE status = 'failed' ORDER BY id")[-1]
            assert begun + 5 * MINUTE <= failed <= over + 15 * MINUTE
        assert stage.rows("SELECT COUNT(*) FROM inventory_attempt WHERE outcome = 'lost'") == [0]
        held.succeeded()
        stage.assert_tiled("daily")


def test_a_lease_of_a_worker_that_is_behind_can_be_rescued(server_url, faketime):
    """
    P1: what a worker of yesterday or of tomorrow leaves behind is due when the server's clock says so, not a day later.
    """
    with Stage(server_url) as stage:
        stage.files(range(1, 13))
        told_by(faketime, stage.url, "+86400")
        inventory = stage.open()
        stage.clock.advance(real(stage.open()).backend.now() + LEASE + MINUTE - stage.clock())

        rescued = inventory.acquire_batch("daily", "files", heartbeat=False)

        assert (rescued.uids, rescued.attempt) == ([4, 5, 6], 2)


SWITCHES = {"spring": (2026, 3, 29), "autumn": (2026, 10, 25)}


@pytest.mark.parametrize("season", SWITCHES)
def test_the_switch_of_summer_time(sql_url, faketime, season):
    """
    Behaviour, DST: a worker in Berlin goes through the switch with batches in hand. All times are naive UTC: nothing
    jumps by an hour, no lease is cut short or made longer.
    """
    switch = calendar.timegm((*SWITCHES[season], 1, 0, 0))
    with Stage(sql_url) as stage:
        stage.files(range(1, 13))
        told = told_by(faketime, stage.url, "+0", str(switch), TZ="Europe/Berlin")

        assert told["dst"] == ([0, 1] if season == "spring" else [1, 0])
        assert told["began"] == sorted(told["began"])
        assert told["began"][-1] - told["began"][0] < timedelta(minutes=2)
        assert [end - begun for end, begun in zip(told["ends"], told["began"][1::2], strict=True)] == [LEASE, LEASE]
        assert stage.rows("SELECT COUNT(*) FROM inventory_attempt WHERE outcome = 'lost'") == [0]


def test_sqlite_asks_the_machine(tmp_path, faketime):
    """
    Behaviour, worker's clock a day off, on SQLite: cannot happen, since its clock is that of the machine, and all who
    share a file share that. Nobody asks Python; only who is shown another clock by the system itself sees another one.
    """
    with Stage(f"sqlite:///{tmp_path / 'test.db'}") as stage:
        stage.files(range(1, 13))
        now = real(stage.open()).backend.now()
        told = told_by(faketime, stage.url, "+86400")

        assert abs(datetime.fromisoformat(told["now"]) - now - DAY) < timedelta(minutes=5)


def test_sqlite_does_not_ask_python(tmp_path, monkeypatch):
    """
    Behaviour: what Python says the time is, and in which zone, changes nothing.
    """
    with Stage(f"sqlite:///{tmp_path / 'test.db'}") as stage:
        stage.files(range(1, 13))
        inventory = real(stage.open())
        held = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
        monkeypatch.setattr("time.time", lambda: 4e9)
        monkeypatch.setenv("TZ", "Asia/Kathmandu")

        batch = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)

        assert batch.uids == [4, 5, 6]
        assert timedelta(0) <= batch.processing_start - held.processing_start < MINUTE
        assert batch.lease_expires_at - batch.processing_start == LEASE
