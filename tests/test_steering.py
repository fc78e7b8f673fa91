"""
What an operator may change, on every SQL database: try again, give up.
"""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from spark_batchintory import CommitUnknown, ConfigurationError, LeaseLost, open_inventory, steering

COLS = {"uid": "id", "item": "path", "weight": "size"}
FILES = {"meta_table_name": "files", "meta_table_cols": COLS}
HOUR = 3600


@pytest.fixture
def inventory(sql_url):
    """
    An inventory whose meta table `files` lists ten files: uids 1 to 10.
    """
    engine = sa.create_engine(sql_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE files (id INTEGER PRIMARY KEY, path VARCHAR(100), size INTEGER)"))
        values = ", ".join(f"({uid}, '/landing/{uid}.json', 1)" for uid in range(1, 11))
        connection.execute(sa.text(f"INSERT INTO files VALUES {values}"))
    engine.dispose()
    with open_inventory(sql_url) as opened:
        opened.url = sql_url
        yield opened


def acts(inventory):
    """
    What the inventory's log of acts says, read behind its back.
    """
    engine = sa.create_engine(inventory.url)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT batch_id, act, actor, reason FROM inventory_act ORDER BY id"))
        found = [tuple(row) for row in rows]
    engine.dispose()
    return found


def fail(inventory, **arguments):
    """
    A batch of three items that failed, and is not due for half an hour at least.
    """
    batch = inventory.acquire_batch("bronze", batch_count=3, retry_delay=HOUR, **arguments, **FILES)
    batch.failed("boom")
    return batch


class TestRetry:
    def test_makes_failed_batches_due_at_once(self, inventory):
        """
        P4: what waited for its delay is handed out next, as attempt 2 with the same items; attempts are not reset.
        """
        failed = fail(inventory)

        (changed,) = inventory.retry("bronze", reason="disk was full")

        again = inventory.acquire_batch("bronze", batch_count=3, **FILES)
        assert (changed.id, changed.status, changed.attempt) == (failed.id, "failed", 1)
        assert (again.id, again.attempt, list(again)) == (failed.id, 2, list(failed))

    def test_gives_a_dead_batch_more_attempts(self, inventory):
        """
        Behaviour: a dead batch gets `max_attempts` more, and is dead again after that many failures.
        """
        dead = fail(inventory, max_attempts=1)

        (changed,) = inventory.retry("bronze", "dead")

        assert (changed.status, changed.max_attempts) == ("queued", 2)
        again = inventory.acquire_batch("bronze", batch_count=3, **FILES)
        assert (again.id, again.attempt) == (dead.id, 2)
        again.failed("boom")
        assert [row.id for row in inventory.batches("bronze", "dead")] == [dead.id]

    def test_dry_run_writes_nothing(self, inventory):
        """
        Behaviour: what would change is shown, and nothing is.
        """
        failed = fail(inventory)
        before = list(inventory.batches("bronze"))

        (shown,) = inventory.retry("bronze", dry_run=True)

        assert (shown.id, shown.due_at < failed_row(before).due_at) == (failed.id, True)
        assert list(inventory.batches("bronze")) == before
        assert acts(inventory) == []

    def test_leaves_what_is_due_already(self, inventory):
        """
        Behaviour: calling again changes nothing, and does not move a batch back in the line.
        """
        fail(inventory)
        inventory.retry("bronze")
        before = list(inventory.batches("bronze"))

        answer = inventory.retry("bronze")

        assert not answer
        assert "due already" in answer.notes[0]
        assert list(inventory.batches("bronze")) == before

    def test_works_in_turns_of_bounded_size(self, inventory, monkeypatch):
        """
        P6: however many batches are dead, each turn changes a bounded number, and all are changed.
        """
        monkeypatch.setattr(steering, "_AT_ONCE", 2)
        dead = [fail(inventory, max_attempts=1).id for _ in range(3)]

        changed = inventory.retry("bronze", "dead")

        assert [row.id for row in changed] == dead
        assert [row.status for row in inventory.batches("bronze")] == ["queued"] * 3

    def test_is_written_down_with_who_and_why(self, inventory):
        """
        P7: each change by an operator is kept with batch, act, actor and reason.
        """
        failed = fail(inventory)

        inventory.retry("bronze", reason="disk was full")

        ((batch_id, act, actor, reason),) = acts(inventory)
        assert (batch_id, act, reason) == (failed.id, "retry", "disk was full")
        assert "@" in actor

    def test_of_a_job_that_is_not_there_is_refused(self, inventory):
        """
        Behaviour: a typing error is answered with the nearest name, and nothing is recorded for the wrong one.
        """
        fail(inventory)

        with pytest.raises(ConfigurationError, match="'bronze'"):
            inventory.retry("bronce")
        assert [row.job for row in inventory.status()] == ["bronze"]

    def test_of_one_name_over_two_meta_tables_asks_which(self, inventory):
        """
        Behaviour: nothing is changed by guess.
        """
        engine = sa.create_engine(inventory.url)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE others AS SELECT * FROM files"))
        engine.dispose()
        fail(inventory)
        fail_other = inventory.acquire_batch("bronze", retry_delay=HOUR, meta_table_name="others", meta_table_cols=COLS)
        fail_other.failed("boom")

        with pytest.raises(ConfigurationError, match=r"'files', 'others'.*meta_table_name"):
            inventory.retry("bronze")
        assert [row.id for row in inventory.retry("bronze", meta_table_name="others")] == [fail_other.id]

    @pytest.mark.parametrize("status", ["running", "succeeded", "nonsense"])
    def test_is_for_failed_and_dead_batches_only(self, inventory, status):
        """
        Behaviour: other statuses are refused in words that help.
        """
        fail(inventory)

        with pytest.raises(ConfigurationError, match="failed"):
            inventory.retry("bronze", status)


class TestCancel:
    def test_fences_the_worker_out(self, inventory):
        """
        P3: the owner of a batch that was cancelled can change nothing any more.
        """
        batch = inventory.acquire_batch("bronze", batch_count=3, **FILES)

        (row,) = inventory.cancel(batch.id, reason="wrong schema")

        with pytest.raises(LeaseLost):
            batch.succeeded()
        assert (row.status, row.token) == ("cancelled", None)
        assert [row.status for row in inventory.batches("bronze")] == ["cancelled"]
        assert [(row.outcome, row.error) for row in inventory.attempts(batch.id)] == [("cancelled", "wrong schema")]
        assert [(act, reason) for _, act, _, reason in acts(inventory)] == [("cancel", "wrong schema")]

    def test_does_not_block_the_job(self, inventory):
        """
        P1: the rest of the job goes on, and what was cancelled stays visible.
        """
        failed = fail(inventory)
        inventory.cancel(failed.id)

        assert inventory.acquire_batch("bronze", **FILES).batch_id_start == 4
        assert [row.outcome for row in inventory.attempts(failed.id)] == ["failed"]

    def test_twice_changes_nothing_more(self, inventory):
        """
        Behaviour: repeating a cancel is harmless.
        """
        batch = inventory.acquire_batch("bronze", **FILES)
        inventory.cancel(batch.id)

        answer = inventory.cancel(batch.id)

        assert not answer
        assert "cancelled already" in answer.notes[0]
        assert len(acts(inventory)) == 1

    def test_of_a_batch_that_succeeded_is_refused(self, inventory):
        """
        Behaviour: what was published is not taken back.
        """
        batch = inventory.acquire_batch("bronze", **FILES)
        batch.succeeded()

        with pytest.raises(ConfigurationError, match="succeeded"):
            inventory.cancel(batch.id)

    def test_of_a_batch_that_is_not_there_says_which_is_the_newest(self, inventory):
        """
        Behaviour: the error says what there is.
        """
        batch = inventory.acquire_batch("bronze", **FILES)

        with pytest.raises(ConfigurationError, match=f"the newest has the id {batch.id}"):
            inventory.cancel(batch.id + 1)


class _Interrupted:
    """
    The store itself, whose first turn goes wrong: before it is applied, or after.
    """

    def __init__(self, backend, error, *, applied):
        self._backend = backend
        self._error = error
        self._applied = applied
        self.turns = 0

    def transact(self, key, decide):
        self.turns += 1
        if self.turns > 1:
            return self._backend.transact(key, decide)
        if self._applied:
            self._backend.transact(key, decide)
        raise self._error

    def __getattr__(self, name):
        return getattr(self._backend, name)


@pytest.mark.parametrize("applied", [True, False])
def test_lost_reply_is_looked_up(inventory, applied):
    """
    P8: whether or not the lost COMMIT was applied, the change is made once and its result is told.
    """
    failed = fail(inventory)
    running = inventory.acquire_batch("bronze", **FILES)

    retried = steering.retry(_Interrupted(inventory.backend, CommitUnknown("gone"), applied=applied), "bronze")
    cancelled = steering.cancel(_Interrupted(inventory.backend, CommitUnknown("gone"), applied=applied), running.id)

    assert [row.id for row in retried] == [failed.id]
    assert [row.status for row in cancelled] == ["cancelled"]
    assert [act for _, act, _, _ in acts(inventory)] == ["retry", "cancel"]


def test_batch_that_changes_meanwhile_is_read_again(inventory):
    """
    P3: a cancel that crosses the owner's own end of the attempt is decided on what the batch is then.
    """
    batch = inventory.acquire_batch("bronze", **FILES)
    store = _Interrupted(inventory.backend, LeaseLost("the owner failed it meanwhile"), applied=False)

    assert [row.status for row in steering.cancel(store, batch.id)] == ["cancelled"]
    assert store.turns == 2


def failed_row(rows):
    (row,) = rows
    return row
