"""
P6: what an acquire costs depends on the batch, never on the size of the meta table, the backlog or the history.

Counted, not timed: statements that go over the wire, SQLite's virtual machine steps, the rows that PostgreSQL's
plans touch and that MariaDB's storage engine hands out.
"""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from spark_batchintory.backends.sql_engine import Database

from .stage import LEASE, MINUTE, Stage, Wire, drain

FINISHED = 3_000
BACKLOG = 20_000


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn.
    """
    with Stage(sql_url) as stage:
        yield stage


def acquire(inventory, job="daily", **arguments):
    """
    Ten files, for a minute.
    """
    return inventory.acquire_batch(job, "files", batch_count=10, heartbeat=False, **arguments)


def with_history(stage, job="daily"):
    """
    Let the job have thousands of batches, as copies of the one it has: half finished, half waiting for a retry.
    """
    (last,) = stage.rows("SELECT MAX(id) FROM inventory WHERE job = :job", job=job)
    columns = [column["name"] for column in sa.inspect(stage._engine).get_columns("inventory")]
    columns.remove("id")  # the database's to give
    changed = {"claim_number": ":number", "token": ":token", "publish_number": ":number"}
    changed |= dict.fromkeys(("range_lo", "batch_id_start", "batch_id_end"), ":low")
    values = ", ".join(changed.get(name, name) for name in columns)
    rows = [{"number": 10_000 + n, "low": -10_000 - n, "token": f"t{n}", "last": last} for n in range(FINISHED)]
    copy = f"INSERT INTO inventory ({', '.join(columns)}) SELECT {values} FROM inventory WHERE id = :last"
    attempts = (
        "INSERT INTO inventory_attempt (batch_id, attempt, token, started, ended, outcome) "
        "SELECT id, 1, token, processing_start, processing_start, 'succeeded' FROM inventory WHERE id > :last"
    )
    with stage._engine.begin() as connection:
        connection.execute(sa.text(copy), rows)
        connection.execute(sa.text(attempts), {"last": last})
        waiting = "UPDATE inventory SET status = 'failed', due_at = '2099-01-01 00:00:00.000000' WHERE id > :last"
        connection.execute(sa.text(f"{waiting} AND id % 2 = 0"), {"last": last})


def calls(inventory, stage):
    """
    The steps of a worker's day: each is one call, to be counted; looks for late items are counted apart.
    """
    held = []
    stage.execute("UPDATE inventory_job SET look_at = '2099-01-01 00:00:00.000000'")
    yield "claim", lambda: held.append(acquire(inventory))
    yield "succeeded", lambda: held.pop().succeeded()
    yield "claim 2", lambda: held.append(acquire(inventory))
    yield "failed", lambda: held.pop().failed("boom")
    stage.clock.advance(60 * MINUTE)
    yield "retry", lambda: held.append(acquire(inventory))
    stage.clock.advance(LEASE + MINUTE)
    yield "rescue", lambda: held.append(acquire(inventory))
    yield "give back", lambda: held.pop().give_back()
    yield "queued", lambda: held.append(acquire(inventory))
    yield "by weight", lambda: inventory.acquire_batch("daily", "files", batch_weight=10, heartbeat=False)


def measured(inventory, stage, counter):
    """
    What each call costs by `counter`, which counts up.
    """
    costs = {}
    for name, call in calls(inventory, stage):
        before = counter()
        call()
        costs[name] = counter() - before
    return costs


def test_statements_are_few_and_always_as_many(stage):
    """
    P6: a claim is at most seven statements and a finish at most six, however long the history and the backlog.
    """
    stage.files(range(100))
    wire = Wire()
    inventory = stage.open(wire=wire)
    acquire(inventory).succeeded()
    fresh = measured(inventory, stage, lambda: len(wire.said))
    drain(inventory, "daily")
    stage.clock.advance(LEASE + MINUTE)
    drain(inventory, "daily")
    with_history(stage)
    stage.add(*range(100, 100 + BACKLOG))
    old = measured(inventory, stage, lambda: len(wire.said))

    assert old == fresh
    begin = 3 if stage.kind == "sqlite" else 0  # BEGIN IMMEDIATE and how long to wait for it
    assert max(count - begin for name, count in old.items() if name in ("claim", "by weight")) <= 7
    assert max(count - begin for name, count in old.items() if name in ("succeeded", "failed", "give back")) <= 6


class TestSqlite:
    @pytest.fixture
    def lite(self, tmp_path):
        """
        An empty SQLite database, and a counter of its virtual machine's steps.
        """
        with Stage(f"sqlite:///{tmp_path / 'cost.db'}") as stage:
            yield stage

    def open(self, stage):
        """
        An inventory whose connections count, in tens of steps.
        """
        steps = [0]

        def count():
            steps[0] += 1

        inventory = stage.open()
        sa.event.listen(
            inventory.backend.database.engine, "connect", lambda raw, _: raw.set_progress_handler(count, 10)
        )
        return inventory, lambda: steps[0]

    def test_work_depends_on_the_batch(self, lite):
        """
        P6: thousands of finished batches and a backlog of 20,000 cost nothing; without an index they would, tenfold.
        """
        lite.files(range(100))
        inventory, steps = self.open(lite)
        acquire(inventory).succeeded()
        fresh = measured(inventory, lite, steps)
        lite.clock.advance(LEASE + MINUTE)
        drain(inventory, "daily")
        with_history(lite)
        lite.add(*range(1_000, 1_000 + BACKLOG))
        old = measured(inventory, lite, steps)
        del fresh["by weight"], old["by weight"]  # of the small table it read all there was: half a page

        for name, cost in old.items():
            assert cost <= 1.5 * fresh[name] + 20, f"{name}: {fresh[name]} became {cost} (tens of steps)"

    def test_what_a_filter_rejects_is_looked_at_once(self, lite):
        """
        P6: 20,000 rows that never match are read once to claim and once to settle, not by every acquire.
        """
        lite.files([*((uid, "x", 0) for uid in range(BACKLOG)), BACKLOG])
        inventory, steps = self.open(lite)
        inventory.status()
        costs = []
        for uids in ([BACKLOG], None, None, None, None):
            before = steps()
            batch = acquire(inventory, meta_filter="weight = 1")
            costs.append(steps() - before)
            assert (batch and batch.uids) == uids

        assert min(costs[:2]) > 5_000
        assert max(costs[2:]) < 500

    def test_heavy_backlogs_are_not_weighed(self, lite):
        """
        P6: a limit by weight reads one page beyond the batch, not the backlog.
        """
        lite.files(range(BACKLOG))
        inventory, steps = self.open(lite)
        inventory.status()
        costs = []
        for _ in range(5):
            before = steps()
            assert len(inventory.acquire_batch("daily", "files", batch_weight=10, heartbeat=False)) == 10
            costs.append(steps() - before)

        assert max(costs) < BACKLOG / 4
        assert max(costs) <= 1.2 * min(costs) + 50


def test_no_statement_touches_many_rows(postgres_url):
    """
    P6: PostgreSQL finds the rows of every statement of a worker's day by an index, with thousands all around.
    """
    from spark_batchintory.testing.servers import drop_database, fresh_database

    url = fresh_database(postgres_url)
    with Stage(url) as stage:
        stage.files(range(BACKLOG))
        wire = Wire()
        inventory = stage.open(wire=wire)
        acquire(inventory).succeeded()
        with_history(stage)
        for table in ("files", "inventory", "inventory_attempt", "inventory_publication", "inventory_job"):
            stage.execute(f"ANALYZE {table}")
        wire.said.clear()
        wire.bound.clear()
        measured(inventory, stage, lambda: 0)
        said = dict(zip(wire.said, wire.bound, strict=True))

        touched = {}
        database: Database = inventory.backend.database
        with database.reading("explaining, which rolls back") as transaction:
            for statement, values in said.items():
                if re.match(r"\W*(SELECT|UPDATE|WITH)", statement):
                    transaction.cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
                    (((plan,),),) = transaction.cursor.fetchall()
                    touched[statement] = rows_of(plan["Plan"])

        assert len(touched) >= 5
        assert max(touched.values()) <= 1_100, touched  # a page is 1,024 rows, where only a weight ends the batch
    drop_database(url)


def rows_of(node):
    """
    How many rows a plan touched at most at one place, those it threw away included.
    """
    seen = node["Actual Rows"] + sum(count for name, count in node.items() if name.startswith("Rows Removed"))
    return max([seen * node["Actual Loops"], *map(rows_of, node.get("Plans", []))])


def test_the_storage_engine_hands_out_few_rows(mariadb_url):
    """
    P6: MariaDB counts the rows it reads for a session: tens for a batch of ten, with thousands all around.
    """
    from spark_batchintory.testing.servers import drop_database, fresh_database

    url = fresh_database(mariadb_url)
    with Stage(url) as stage:
        stage.files(range(BACKLOG))
        inventory = stage.open()
        acquire(inventory).succeeded()
        with_history(stage)
        stage.execute("ANALYZE TABLE files, inventory, inventory_attempt, inventory_publication, inventory_job")
        database: Database = inventory.backend.database

        def read():
            with database.reading("counting") as transaction:
                transaction.cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
                return sum(int(count) for _, count in transaction.cursor.fetchall())

        idle = -read() + read()
        costs = measured(inventory, stage, read)
        del costs["by weight"]  # reads a page of 1,024, whatever the backlog

        assert max(costs.values()) - idle < 100, costs
    drop_database(url)
