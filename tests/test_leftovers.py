"""
What looks for leftovers after every test, looked at itself: each kind of leak is found, and what ends in time is none.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from .leftovers import Leftovers, resources

ROOT = Path(__file__).parents[1]


@pytest.fixture
def leftovers(monkeypatch):
    """
    One that knows of no wider fixture, and does not wait for long.
    """
    monkeypatch.setattr("tests.leftovers.GRACE", 0.2)
    return Leftovers()


class TestLeaks:
    def test_a_thread(self, leftovers):
        """
        API: a thread that goes on after a test is named.
        """
        before, end = resources(), threading.Event()
        thread = threading.Thread(target=end.wait, name="forgotten")
        thread.start()
        assert leftovers.left(before) == ["thread forgotten"]
        end.set()
        thread.join()
        assert leftovers.left(before) == []

    def test_a_file(self, leftovers, tmp_path):
        """
        API: a file that stays open is named, also if it took the number of one that was closed.
        """
        with open(tmp_path / "closed", "w") as closed:
            before, number = resources(), closed.fileno()
        with open(tmp_path / "open", "w") as file:
            assert file.fileno() == number
            (left,) = leftovers.left(before)
            assert left == f"descriptor {number} → {tmp_path / 'open'}"
        assert leftovers.left(before) == []

    def test_a_connection(self, leftovers, tmp_path):
        """
        API: connections are found, those of SQLite by their files and those of servers by their sockets.
        """
        before = resources()
        with closing(sqlite3.connect(tmp_path / "test.db")) as connection:
            connection.execute("CREATE TABLE files (uid INTEGER)")
            assert [left for left in leftovers.left(before) if "test.db" in left]
        with closing(socket.socket()):
            assert [left for left in leftovers.left(before) if "socket" in left]
        assert leftovers.left(before) == []

    def test_a_process(self, leftovers):
        """
        API: a child that lives on is named, and so is one that ended and that nobody waited for.
        """
        before = resources()
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            assert f"process {child.pid}" in leftovers.left(before)
            child.kill()
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            assert f"process {child.pid}" in leftovers.left(before)
        assert leftovers.left(before) == []

    def test_what_is_about_to_end_is_waited_for(self, monkeypatch):
        """
        A thread that ends by itself is no leak, however late it is given a core.
        """
        monkeypatch.setattr("tests.leftovers.GRACE", 60)
        before = resources()
        threading.Timer(0.1, lambda: None).start()
        assert Leftovers().left(before) == []


def test_looking_is_cheap():
    """
    Two looks per test, which nobody notices: less than 2 ms.
    """
    took = []
    for _ in range(20):
        started = time.perf_counter()
        resources()
        took.append(time.perf_counter() - started)
    assert 2 * min(took) < 0.002


LEAKING = """
import os, threading
import pytest

@pytest.fixture(scope="session")
def server():
    number = os.open("/dev/null", os.O_RDONLY)
    yield number
    os.close(number)

@pytest.fixture
def url(request):
    return request.getfixturevalue("server")

def test_starts_what_all_want(url):
    pass

def test_leaves_something():
    os.open("/dev/zero", os.O_RDONLY)

def test_leaves_nothing(url):
    pass
"""


def test_a_test_that_leaves_something_fails(tmp_path):
    """
    API: the fixture itself: red for the test that leaves something and for no other, and a server of the run that a
    test starts in its middle is none of that test's.
    """
    (tmp_path / "test_leaking.py").write_text(LEAKING)
    how = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "--rootdir", str(tmp_path), "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *how, str(tmp_path / "test_leaking.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "3 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "ERROR at teardown of test_leaves_something" in done.stdout
    assert "/dev/zero" in done.stdout
    assert "/dev/null" not in done.stdout.replace(os.devnull + " ", "")
