"""
What "supported" means for a store of batches: one behavioural suite that every `inventory.InventoryBackend` must pass.

A store joins in some twenty lines: subclass `InventoryContract` in a test module and provide two fixtures, ``connect``
and ``raw``::

    class TestMyInventory(InventoryContract):
        @pytest.fixture
        def connect(self, tmp_path, clock):
            return lambda: MyInventory(tmp_path, clock=clock)

        @pytest.fixture
        def raw(self, tmp_path):
            return MyRawStore(tmp_path)

The suite speaks the port's words only (turns, steps, beats) and decides itself what a step holds, so that a store
cannot pass with the help of the policy above it. What is written is compared with what the store really holds, read
behind the backend's back (`steps.RawStore`): a broken writer must not hide behind a broken reader. Time is a
`SteppedClock` that all backends of a test share; nothing sleeps.

Call ``pytest.register_assert_rewrite("spark_batchintory.testing")`` in the top-level ``conftest.py``, before anything
imports this package, to see the values in a failed assertion.
"""

from __future__ import annotations

import pytest

from spark_batchintory.errors import ConfigurationError
from spark_batchintory.inventory import InventoryBackend
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.inventory_facts import FactsContract
from spark_batchintory.testing.inventory_gaps import GapsContract
from spark_batchintory.testing.inventory_looking import LookingContract
from spark_batchintory.testing.inventory_names import NamesContract
from spark_batchintory.testing.inventory_published import PublishedContract
from spark_batchintory.testing.inventory_publishing import PublishingContract
from spark_batchintory.testing.inventory_races import RacesContract
from spark_batchintory.testing.inventory_ranges import BulkContract, RangesContract
from spark_batchintory.testing.inventory_redos import RedosContract
from spark_batchintory.testing.inventory_serving import ServingContract
from spark_batchintory.testing.inventory_turns import TurnsContract
from spark_batchintory.testing.inventory_values import ValuesContract
from spark_batchintory.testing.steps import JOB, Connect, RawStore, at_once, claim, succeed

__all__ = ["InventoryContract"]


class PreparingContract:
    """
    Opening a store: on first use, again, by many at once, and where something else lies already.
    """

    def test_prepare_can_be_repeated(self, connect: Connect, raw: RawStore) -> None:
        """
        API: tables are created on first use; every later use finds them, with what is in them, under the same uuid.
        """
        first = connect()
        identity = first.prepare()
        succeed(first, claim(first))
        before = (raw.jobs(), raw.batches(), raw.attempts(), raw.publications())

        assert identity
        assert first.prepare() == identity
        assert connect().prepare() == identity
        assert (raw.jobs(), raw.batches(), raw.attempts(), raw.publications()) == before

    def test_a_race_of_first_users_is_harmless(self, connect: Connect, raw: RawStore) -> None:
        """
        P2: of many who open an empty store at once all succeed, and they mean the same inventory.
        """
        identities = at_once(connect, 8, lambda backend: backend.prepare(), warm=False)

        assert len(set(identities)) == 1
        assert raw.jobs() == []
        assert claim(connect()).id == raw.batches()[0]["id"]

    def test_a_foreign_table_is_left_alone(self, connect: Connect, raw: RawStore) -> None:
        """
        API: a table of that name which is somebody else's is an error that names it, and stays as it is.
        """
        raw.plant_foreign_table()

        with pytest.raises(ConfigurationError, match="inventory"):
            connect().prepare()
        assert raw.foreign_rows() == 1

    @pytest.mark.parametrize("version", [0, 999])
    def test_tables_of_another_version_are_refused(
        self, inventory: InventoryBackend, connect: Connect, raw: RawStore, version: int
    ) -> None:
        """
        Behaviour: a released schema is migrated, never broken; a library that does not know it keeps its hands off.
        """
        newest = inventory.standing().newest
        raw.pretend_version(version)

        with pytest.raises(ConfigurationError, match=rf"version {version}\b.* {newest}\b.*(upgrade|INVENTORY_)"):
            connect().prepare()
        assert connect().standing().version == version

    def test_what_stands_there(self, connect: Connect, raw: RawStore) -> None:
        """
        API: what `migrate` has to do is told without doing it.
        """
        connect().prepare()

        standing = connect().standing()
        assert standing.version == standing.newest
        assert not standing.is_ancestors

    def test_an_empty_inventory_answers(self, inventory: InventoryBackend) -> None:
        """
        P7: nothing is there yet, and every question has an answer that says so.
        """
        assert list(inventory.jobs()) == []
        assert list(inventory.batches()) == []
        assert list(inventory.batches(job_id=1, limit=5)) == []
        assert list(inventory.attempts(1)) == []
        assert list(inventory.touching(JOB.meta_table, 0)) == []
        assert (inventory.job(JOB), inventory.find(1), inventory.find_token("none")) == (None, None, None)
        assert inventory.beat(1, "none", inventory.default_lease) is None
        assert inventory.counts(1).batches == {}

    def test_a_closed_backend_can_be_closed_again(self, connect: Connect) -> None:
        """
        Interface: `close` is harmless on a backend that was never used, and twice.
        """
        unused, used = connect(), connect()
        used.prepare()
        for backend in (unused, used, used):
            backend.close()


class InventoryContract(
    PreparingContract,
    TurnsContract,
    PublishingContract,
    NamesContract,
    ServingContract,
    ValuesContract,
    LookingContract,
    FactsContract,
    GapsContract,
    RangesContract,
    BulkContract,
    RedosContract,
    PublishedContract,
    RacesContract,
):
    """
    What every inventory must do; a subclass provides `connect` and `raw` (`steps.Connect`, `steps.RawStore`).
    """

    @pytest.fixture
    def clock(self) -> SteppedClock:
        """
        The inventory's clock, shared by every backend of the test.
        """
        return SteppedClock()

    @pytest.fixture
    def inventory(self, connect: Connect) -> InventoryBackend:
        """
        A backend on an empty store, prepared.
        """
        backend = connect()
        backend.prepare()
        return backend

    @pytest.fixture
    def another(self, inventory: InventoryBackend, connect: Connect) -> InventoryBackend:
        """
        A second backend on the same store, as another process would have.
        """
        return connect()
