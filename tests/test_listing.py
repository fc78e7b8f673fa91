"""
The confs that bound Spark's listing (`spark_batchintory.listing`): held while somebody lists, and left as they were.
"""

from __future__ import annotations

import threading

import pytest

from spark_batchintory.listing import bounded_listing

THRESHOLD = "spark.sql.sources.parallelPartitionDiscovery.threshold"
PARALLELISM = "spark.sql.sources.parallelPartitionDiscovery.parallelism"


class Session:
    """
    A session that has confs, and may refuse to set them.
    """

    def __init__(self, refuses: bool = False, **confs: str) -> None:
        self.conf = self
        self.confs = confs
        self.refuses = refuses

    def get(self, key, default=None):
        return self.confs.get(key, default)

    def set(self, key, value):
        if self.refuses:
            raise RuntimeError("CONFIG_NOT_AVAILABLE")
        self.confs[key] = value

    def unset(self, key):
        self.confs.pop(key, None)


def paths(count: int, prefix: str = "file:/d/") -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]


@pytest.mark.parametrize(
    ("many", "confs"),
    [
        (paths(32), {}),
        (paths(33), {THRESHOLD: "1000000000"}),
        (paths(33, "s3a://b/"), {PARALLELISM: "16"}),
        (paths(33, "/d/"), {PARALLELISM: "16"}),
        (paths(5_000, "s3a://b/"), {PARALLELISM: "100"}),
        (paths(90_000, "s3a://b/"), {PARALLELISM: "1000"}),
        ([*paths(40), "/no/scheme"], {PARALLELISM: "16"}),
    ],
)
def test_what_is_held_depends_on_how_many_and_where(many, confs):
    """
    P6: a local disk is listed by the driver, a store by a task for 50 paths, from 16 to 1,000; few paths need nothing.
    """
    session = Session()

    with bounded_listing(session, many):
        assert session.confs == confs
    assert session.confs == {}


@pytest.mark.parametrize("before", [{}, {THRESHOLD: "7"}])
def test_what_was_there_comes_back(before):
    """
    A session is left as it was found, also after an error.
    """
    session = Session(**before)

    with pytest.raises(KeyError), bounded_listing(session, paths(40)):
        raise KeyError
    assert session.confs == before


@pytest.mark.parametrize("before", [{}, {THRESHOLD: "7"}])
def test_two_who_overlap_neither_lack_nor_leave_it(before):
    """
    process(workers=4): the second begins before the first ends, and ends after it.
    """
    session, inside, leave = Session(**before), threading.Event(), threading.Event()
    seen = []

    def other():
        with bounded_listing(session, paths(40)):
            inside.set()
            leave.wait(20)
            seen.append(session.confs[THRESHOLD])

    with bounded_listing(session, paths(40)):
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(20)
    assert session.confs == {THRESHOLD: "1000000000"}
    leave.set()
    thread.join(20)
    assert (seen, session.confs) == (["1000000000"], before)


def test_sessions_are_counted_each_by_itself():
    """
    What one session holds is nothing to another.
    """
    one, other = Session(), Session()

    with bounded_listing(one, paths(40)):
        with bounded_listing(other, paths(40)):
            assert other.confs != {}
        assert (one.confs != {}, other.confs) == (True, {})


def test_a_session_that_refuses_is_told():
    """
    Setting confs is for speed only: where they are refused nothing fails, and nothing is put back that was not taken.
    """
    session = Session(refuses=True, **{PARALLELISM: "7", THRESHOLD: "8"})

    with bounded_listing(session, paths(40)) as is_bounded:
        assert session.confs == {PARALLELISM: "7", THRESHOLD: "8"}
    assert session.confs == {PARALLELISM: "7", THRESHOLD: "8"}
    assert not is_bounded
    with bounded_listing(session, paths(32)) as few, bounded_listing(Session(), paths(40)) as many:
        assert (few, many) == (True, True)
