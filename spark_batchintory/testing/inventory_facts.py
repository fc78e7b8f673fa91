"""
What a store tells of itself, for `doctor`: without writing, and before there is anything.
"""

from __future__ import annotations

from datetime import timedelta

from spark_batchintory.inventory import InventoryBackend
from spark_batchintory.testing.clock import SteppedClock
from spark_batchintory.testing.steps import Connect, RawStore, claim, everything, succeed


class FactsContract:
    """
    `facts`.
    """

    def test_of_a_store_that_is_not_made_yet(self, connect: Connect) -> None:
        """
        API, `doctor`: that nothing is there is told, and is so afterwards; nobody has to make anything to be told.
        """
        first, second = connect().facts(), connect().facts()

        assert first.missing
        for facts in (first, second):
            assert list(facts.missing) == list(facts.tables.values())
        assert first.version is None
        assert not first.is_foreign

    def test_of_a_store_that_is_well(
        self, inventory: InventoryBackend, another: InventoryBackend, clock: SteppedClock
    ) -> None:
        """
        API, `doctor`: all tables and indexes are there, of the version that is expected; one who may all may all.
        """
        facts = another.facts()

        assert (list(facts.missing), dict(facts.indexes), dict(facts.untold)) == ([], {}, {})
        assert not facts.is_foreign
        assert facts.version == facts.expected
        assert facts.rights is None or {"insert", "select", "update"} == frozenset.union(*facts.rights.values())
        assert facts.now in (None, clock())
        assert facts.written_by == facts.engine
        said = {name.lower(): value for name, value in facts.variables.items()}
        for name, wanted in facts.wanted.items():
            assert said[name.lower()].replace("-", " ").lower() == wanted.lower()

    def test_nothing_is_written(self, inventory: InventoryBackend, another: InventoryBackend, raw: RawStore) -> None:
        """
        API, `doctor`: it never writes.
        """
        succeed(inventory, claim(inventory))
        claim(inventory)
        before = everything(raw)

        assert another.facts().expected == inventory.facts().version
        assert everything(raw) == before

    def test_of_tables_of_another_version(self, inventory: InventoryBackend, connect: Connect, raw: RawStore) -> None:
        """
        API, `doctor`: what `prepare` refuses is told.
        """
        raw.pretend_version(999)

        facts = connect().facts()
        assert (facts.version, facts.expected) == ("999", inventory.facts().expected)

    def test_of_a_table_that_is_somebody_elses(self, connect: Connect, raw: RawStore) -> None:
        """
        API, `doctor`: what `prepare` refuses is told.
        """
        raw.plant_foreign_table()

        assert connect().facts().is_foreign

    def test_dates_of_the_last_write(self, inventory: InventoryBackend, another: InventoryBackend) -> None:
        """
        API, `doctor`: a store without a clock tells when it was written last, by the storage's and the writer's clock.
        """
        claim(inventory)
        facts = another.facts()

        assert (facts.now is None) == (facts.written_at is not None) == (facts.allowed_skew is not None)
        if facts.written_at is not None and facts.writer_at is not None:
            assert abs(facts.written_at - facts.writer_at) < timedelta(minutes=1)
