"""
Processes that wait in line for a job's turn: they save tries, and hold up nobody for long.
"""

from __future__ import annotations

import threading

import pytest

from spark_batchintory.backends import waiting_line
from spark_batchintory.backends.waiting_line import in_line


def test_the_next_one_waits_until_the_turn_is_over(tmp_path, monkeypatch):
    """
    Behaviour: two turns of one job follow each other where they would race; other jobs do not wait.
    """
    monkeypatch.setattr(waiting_line, "PATIENCE", 60.0)
    seen = []

    def turn():
        with in_line(tmp_path, "daily"):
            seen.append("second")

    with in_line(tmp_path, "daily"):
        thread = threading.Thread(target=turn)
        thread.start()
        with in_line(tmp_path, "weekly"):
            thread.join(0.2)
            seen.append("first")
    thread.join()

    assert seen == ["first", "second"]


def test_one_that_is_stopped_holds_up_nobody_for_long(tmp_path, monkeypatch):
    """
    P2: the line is a courtesy; after a while one goes without it.
    """
    monkeypatch.setattr(waiting_line, "PATIENCE", 0.05)
    with in_line(tmp_path, "daily"), in_line(tmp_path, "daily"):
        pass


def test_an_error_within_is_the_callers_and_ends_the_turn(tmp_path):
    """
    P8: what a turn raises arrives as it is, whatever its kind, and the next one need not wait.
    """
    with pytest.raises(OSError, match="away"), in_line(tmp_path, "daily"):
        raise OSError("away")

    with in_line(tmp_path, "daily"):
        pass


@pytest.mark.parametrize("nothing", ["folder", "locks"])
def test_where_no_file_can_be_locked_nobody_waits(tmp_path, monkeypatch, nothing):
    """
    P2: Windows, read-only folders and some network file systems have no line.
    """
    folder = tmp_path
    if nothing == "locks":
        monkeypatch.setattr(waiting_line, "fcntl", None)
    else:
        folder = tmp_path / "file" / "line"
        (tmp_path / "file").touch()
    with in_line(folder, "daily"), in_line(folder, "daily"):
        pass
