"""
What the processes of `processes` do: workers that call the library as anybody would, until something happens to them.
"""

from __future__ import annotations

import base64
import ctypes
import os
import pickle
import random
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

import spark_batchintory as bi
from spark_batchintory import discovery
from spark_batchintory.backends import sql_sessions

from .processes import Channel
from .stage import MINUTE, Wire
from .syncing import point


class Fatal(Wire):
    """
    Sends its own process a signal at one point of the protocol, before the statement goes out or after it was answered.
    """

    def __init__(self, which: int = signal.SIGKILL) -> None:
        super().__init__()
        self._which = which
        self._where: tuple[str, str] | None = None

    def arm(self, name: str, when: str) -> None:
        """
        From now on, the first time that this point is come to.
        """
        self._where = (name, when)

    def hear(self, statement: Any, values: Any) -> None:
        self._meet(point(str(statement)), "before")

    def ending(self, how: str) -> None:
        self._meet(point(how), "before")

    def answered(self, statement: str) -> None:
        self._meet(point(statement), "after")

    def _meet(self, name: str | None, when: str) -> None:
        if self._where == (name, when):
            self._where = None
            os.kill(os.getpid(), self._which)


class Sink:
    """
    Where a batch goes: a table that a transaction id makes idempotent, as Delta does, and files of each attempt.
    """

    def __init__(self, url: str, folder: str, fatal: str | None = None) -> None:
        self._engine = sa.create_engine(url, poolclass=NullPool)
        self._folder = folder
        self._fatal = fatal

    def write(self, batch: bi.Batch) -> None:
        """
        Write all of a batch both ways, unless death comes in between.
        """
        self._perhaps("items read")
        folder = Path(batch.output_path(self._folder))
        folder.mkdir(parents=True, exist_ok=True)
        for uid in batch.uids:
            (folder / str(uid)).touch()
            self._perhaps("half of the files")
        transaction = {"app": batch.delta_options()["txnAppId"]}
        with self._engine.begin() as connection:
            if connection.execute(sa.text("SELECT COUNT(*) FROM sink_txn WHERE app = :app"), transaction).scalar_one():
                return
            connection.execute(sa.text("INSERT INTO sink_txn VALUES (:app)"), transaction)
            for uid in batch.uids:
                connection.execute(sa.text("INSERT INTO sink VALUES (:job, :uid)"), {"job": batch.job, "uid": uid})
                self._perhaps("half of the rows")
            self._perhaps("before the commit")
        self._perhaps("after the commit")

    def _perhaps(self, name: str) -> None:
        if name == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def opened(url: str, wire: Wire | None = None) -> Any:
    """
    An inventory on the server's own clock, connected, that knows its tables.
    """
    inventory = bi.open_inventory(url)
    if wire is not None:
        wire.listen(inventory.backend.database)
    inventory.plan("nobody's", "files")
    return inventory


def told(call: Any) -> str:
    """
    What comes of a call, in a word.
    """
    try:
        call()
    except bi.BatchintoryError as error:
        return type(error).__name__
    return "done"


def take(inventory: Any, job: str, **how: Any) -> Any:
    """
    The next three files; nobody beats for them.
    """
    return inventory.acquire_batch(job, "files", **{"batch_count": 3, "heartbeat": False, **how})


def work(channel: Channel, url: str, job: str, folder: str, lease: float, phase: str, where: list[str]) -> None:
    """
    Acquire, write, succeed; die at a point of the claim, of the work, or of the end.
    """
    wire = Fatal()
    inventory = opened(url, wire)
    if phase in ("claim", "rescue"):
        wire.arm(*where)
    batch = take(inventory, job, lease=lease)
    Sink(url, folder, where[0] if phase == "work" else None).write(batch)
    if phase == "end":
        wire.arm(*where)
    batch.succeeded()
    channel.tell("survived")


def carry_on(channel: Channel, url: str, jobs: list[str], folder: str) -> None:
    """
    Do what is left of some jobs; tells id, attempt and uids of each batch by job.
    """
    inventory, sink = opened(url), Sink(url, folder)
    done: dict[str, list[Any]] = {job: [] for job in jobs}
    for job, batches in done.items():
        while (batch := take(inventory, job)) is not None:
            sink.write(batch)
            batch.succeeded()
            batches.append([batch.id, batch.attempt, batch.uids])
    channel.tell(done)


def hold(channel: Channel, url: str, job: str, folder: str, **how: Any) -> None:
    """
    Acquire a batch, and do with it what one is told, word by word.
    """
    inventory = opened(url)
    batch = take(inventory, job, **how)
    channel.tell([batch.id, batch.attempt, batch.uids])
    doing = {
        "succeeded": batch.succeeded,
        "failed": batch.failed,
        "give_back": batch.give_back,
        "check": batch.check,
        "write": lambda: Sink(url, folder).write(batch),
        "beat": lambda: _beaten(inventory, batch),
    }
    while (word := channel.hear(None)) is not None:
        channel.tell(len(inventory.held()) if word == "held" else told(doing[word]))


def _beaten(inventory: Any, batch: Any) -> None:
    if inventory.backend.beat(batch.id, batch.token, MINUTE) is None:
        batch.lease_lost()
        batch.check()


def freeze(channel: Channel, url: str, job: str, turn: str, idle: float) -> None:
    """
    Stand still in the middle of a turn, before its COMMIT; the server puts up with that for `idle` seconds.
    """
    sql_sessions.IDLE_LIMIT = idle
    wire = Fatal(signal.SIGSTOP)
    inventory = opened(url, wire)
    if turn == "claim":
        wire.arm("commit", "before")
    batch = take(inventory, job)
    if turn == "succeed":
        wire.arm("commit", "before")
    outcome = told(batch.succeeded)
    channel.tell([outcome, batch.uids, batch.attempt])


def meet(beside: Channel) -> None:
    """
    Wait until the other one is here as well.
    """
    beside.tell("here")
    assert beside.hear() == "here"


def own(channel: Channel, beside: Channel, url: str, rounds: int) -> None:
    """
    Round by round, succeed with a batch whose lease is over, at the instant at which somebody rescues it.

    Who is too fast waits a little longer the next time, so that the two keep meeting.
    """
    inventory, outcomes, pause = opened(url), [], 0.0
    batches = [take(inventory, f"job {number}", lease=0.001) for number in range(rounds)]
    for batch in batches:
        meet(beside)
        time.sleep(max(pause, 0.0))
        outcomes.append(told(batch.succeeded))
        pause += 0.0001 if outcomes[-1] == "done" else -0.0001
    channel.tell([outcome == "done" for outcome in outcomes])


def rescue(channel: Channel, beside: Channel, url: str, rounds: int) -> None:
    """
    The other one of these two.
    """
    inventory, outcomes = opened(url), []
    for number in range(rounds):
        meet(beside)
        batch = take(inventory, f"job {number}")
        outcomes.append(batch is not None and batch.attempt == 2)
    channel.tell(outcomes)


def starve(channel: Channel, url: str, lease: float, chunks: int) -> None:
    """
    Hold the interpreter for two beats' time, again and again, for longer than a lease; tells how much others ran.
    """
    inventory = opened(url)
    batch = take(inventory, "daily", batch_count=None, lease=lease, heartbeat=True)
    channel.tell("begun")
    ticks, is_over = [0], threading.Event()

    def tick() -> None:
        while not is_over.wait(0.001):
            ticks[0] += 1

    other = threading.Thread(target=tick)
    other.start()
    meanwhile = [_holding_the_interpreter(2 * lease / 5, ticks, batch) for _ in range(chunks)]
    is_over.set()
    other.join()
    batch.check()
    channel.tell([meanwhile, told(batch.succeeded)])


def _holding_the_interpreter(seconds: float, ticks: list[int], batch: Any) -> int:
    """
    How often the other thread came to run meanwhile; afterwards waits for the next beat.
    """
    sleeping = ctypes.PyDLL(None).usleep  # unlike CDLL, PyDLL calls without letting go of the interpreter
    until, before = batch.lease_expires_at, ticks[0]
    sleeping(int(seconds * 1_000_000))
    came = ticks[0] - before
    give_up = time.monotonic() + 30
    while batch.lease_expires_at == until:
        assert time.monotonic() < give_up, "no beat ever came"
        time.sleep(0.001)
    return came


def swallow(channel: Channel, url: str, poison: int, lease: float) -> None:
    """
    Work through a few batches of one file; the one with the poison kills whoever holds it.
    """
    inventory = opened(url)
    for _ in range(3):
        batch = take(inventory, "daily", batch_count=1, lease=lease)
        if batch is None:
            break
        if poison in batch.uids:
            os.kill(os.getpid(), signal.SIGKILL)
        batch.succeeded()
    channel.tell("survived")


def crowd(channel: Channel, url: str, seed: int, heaviest: int, highest: int) -> None:
    """
    One of many: batches of random weight, below random ceilings, until all is done; tells what they were.
    """
    dice, inventory, seen = random.Random(seed), opened(url), []
    channel.tell("here")
    channel.hear()
    while True:
        limit, ceiling = dice.randrange(1, heaviest), dice.choice([None, dice.randrange(highest)])
        limits = {"batch_count": None, "batch_weight": limit, "batch_id_max": ceiling}
        batch = take(inventory, "daily", **limits, retry_delay=0, max_attempts=99)
        if batch is None and ceiling is None:
            break
        if batch is not None:
            seen.append([batch.uids, batch.attempt, limit, str(batch.weight)])
            getattr(batch, dice.choice(["succeeded", "succeeded", "failed", "give_back"]))()
    channel.tell(seen)


def change(channel: Channel, url: str, tries: int) -> None:
    """
    One who comes to the same job with another filter; tells what he was told.
    """
    inventory = opened(url)
    channel.tell("here")
    channel.hear()
    channel.tell([told(lambda: take(inventory, "daily", meta_filter="weight > 2")) for _ in range(tries)])


def fork(channel: Channel, url: str, ends: list[str]) -> None:
    """
    Acquire, fork, and end the batch first in the child and then here; tells what came of both.
    """
    inventory = opened(url)
    batch = take(inventory, "daily", heartbeat=True)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os.write(writing, told(getattr(batch, ends[0])).encode())
        os._exit(0)
    os.waitpid(child, 0)
    first = os.read(reading, 100).decode()
    later = take(inventory, "daily")
    channel.tell([first, told(getattr(batch, ends[1])), later.uids])


def execute(channel: Channel, pickled: str) -> None:
    """
    What an executor does with a batch that was sent to it.
    """
    batch = pickle.loads(base64.b64decode(pickled))
    ends = [batch.succeeded, batch.failed, batch.give_back, batch.check, batch.delta_options]
    channel.tell([[list(item) for item in batch], batch.attempt, [told(end) for end in ends]])


def on_delta(channel: Channel, path: str, url: str, where: tuple[str, str]) -> None:
    """
    Claim a batch on a Delta table, beat, and end it; to be killed before or after one of the commits.
    """
    counted = {"write": 0}
    inventory = _delta(path, url)
    table = inventory.backend._table

    def deadly(name: str, call: Any) -> Any:
        def called(*args: Any) -> Any:
            counted["write"] += name == "write"
            point = f"write {counted['write']}" if name == "write" else name
            if tuple(where) == (point, "before"):
                os.kill(os.getpid(), signal.SIGKILL)
            found = call(*args)
            if tuple(where) == (point, "after"):
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return called

    table._create, table.write = deadly("create", table._create), deadly("write", table.write)
    inventory.status()
    batch = inventory.acquire_batch("daily", "files", batch_count=3, heartbeat=False)
    table.beat = deadly("beat", table.beat)
    inventory.backend.beat(batch.id, batch.token, MINUTE)
    batch.succeeded()


def drain_delta(channel: Channel, path: str, url: str) -> None:
    """
    Work through what there is on a Delta table; tells the uids.
    """
    found: list[int] = []
    for batch in _delta(path, url).acquire_batches("daily", "files", batch_count=2, heartbeat=False):
        found += batch.uids
        batch.succeeded()
    channel.tell(found)


def _delta(path: str, url: str) -> Any:
    from spark_batchintory.backends.delta_inventory import DeltaInventory
    from spark_batchintory.backends.delta_rs import RsDeltaTable
    from spark_batchintory.backends.sql_engine import Database
    from spark_batchintory.backends.sql_meta import SqlMeta
    from spark_batchintory.connections import parse_connection
    from spark_batchintory.settings import load_settings

    meta = SqlMeta(Database(parse_connection(url)))
    return bi.Inventory(DeltaInventory(RsDeltaTable(path)), meta, load_settings(), shared=True)


def scan(channel: Channel, url: str, folder: str, table: str, page: int, die_after: int | None = None) -> None:
    """
    Register files in pages, once told to; perhaps until the process dies before a page. Tells how many they were.
    """
    inventory = bi.open_inventory(url)
    files = inventory.meta.tables.file_table(table)
    files.page_size = page
    append, pages = files.append, iter(range(1_000_000))

    def deadly(found: Any) -> Any:
        if next(pages) == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return append(found)

    files.append = deadly
    channel.tell("here")
    channel.hear()
    scanned = discovery.register_files(folder, files, min_age=timedelta(0))
    channel.tell([scanned.registered, scanned.left.get("known", 0)])
