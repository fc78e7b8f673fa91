"""
P1: holes wherever they are, with filters and bounds, and late items that are heavy or cannot be used.
"""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from spark_batchintory import ItemError

from .lateness import HOUR, acquire, assert_all_is_done, flat, gaps, idle, late, open_gaps, peak_of, settle
from .stage import Stage, drain


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn.
    """
    with Stage(sql_url) as stage:
        yield stage


@pytest.fixture
def server(server_url):
    """
    An empty database of each kind that has writers beside one another.
    """
    with Stage(server_url) as stage:
        yield stage


@pytest.fixture
def lite(tmp_path):
    """
    An empty SQLite database, where the kind of database does not matter.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        yield stage


def settle_after(inventory, expected):
    """
    Hand out what is expected, and close what is open.
    """
    assert drain(inventory, "daily") == expected
    settle(inventory)


class TestWhereHolesAre:
    @pytest.mark.parametrize(("arguments", "first"), [({}, 1), ({"batch_id_min": 1}, 1), ({"batch_id_min": -7}, -7)])
    def test_at_the_very_start(self, server, arguments, first):
        """
        P1: uid 1 is open when the job begins; nothing tells that ids begin with it, and still it is handed out.
        """
        server.files([2, 3])
        writer = server.session().add(1)
        inventory = server.open()
        assert drain(inventory, "daily", **arguments) == [[2, 3]]
        idle(inventory, **arguments)
        assert gaps(inventory) == [(first, 1, None)]
        writer.commit()

        assert drain(inventory, "daily", **arguments) == [[1]]
        assert_all_is_done(server, inventory)

    @pytest.mark.parametrize(
        ("there", "come"),
        [
            pytest.param([2, 3], [1], id="start"),
            pytest.param([1, 4, 6, 9, 10, 20], [2, 3, 5, 8, 11], id="several in a row"),
            pytest.param([1, 2, 5, 6], [3, 4], id="between two batches"),
            pytest.param(list(range(1, 300, 3)), [3, 150, 299], id="steps of three"),
            pytest.param([1, 1_000_001], [2, 500_000, 1_000_000], id="a million wide"),
        ],
    )
    def test_that_fill_although_they_were_settled(self, stage, there, come):
        """
        P1, P6: a hole that is closed as dead, which on SQLite is every hole at once, and fills all the same: the audit
        hands out what came, each row once, and keeps no list of what did not.
        """
        stage.files(there)
        inventory = stage.open()
        drain(inventory, "daily", batch_count=2)
        settle(inventory)
        stage.add(*come)

        assert flat(drain(inventory, "daily", batch_count=2)) == come
        assert_all_is_done(stage, inventory)
        assert stage.rows("SELECT COUNT(*) FROM inventory_gap")[0] <= 2 * len(there)

    def test_negative_ids_before_the_first(self, stage):
        """
        P1: where ids begin is not known; what appears below the first batch of an unbounded job is late.
        """
        stage.files([-3, 5])
        inventory = stage.open()
        drain(inventory, "daily")
        settle(inventory)
        stage.add(-10, 0)

        assert flat(drain(inventory, "daily")) == [-10, 0]
        assert_all_is_done(stage, inventory)

    def test_several_in_a_row(self, server):
        """
        P1: holes next to one another, from different writers, end in every possible way.
        """
        server.files([1, 4, 6, 9, 10, 20])
        writers = {uid: server.session().add(uid) for uid in (2, 3, 5, 7, 8, 11, 19)}
        inventory = server.open()
        acquire(inventory).succeeded()
        idle(inventory, 2)
        for uid in (3, 7, 19):
            writers[uid].rollback()
        for uid in (8, 11):
            writers[uid].commit()
        assert flat(drain(inventory, "daily")) == [8, 11]
        for uid in (2, 5):
            writers[uid].commit()

        assert flat(drain(inventory, "daily")) == [2, 5]
        settle(inventory)
        assert_all_is_done(server, inventory)

    def test_at_the_end_only(self, server):
        """
        P1: what is missing above the frontier is no hole: it is claimed in its turn, or between two batches later.
        """
        server.files(range(1, 11))
        writer = server.session().add(11)
        inventory = server.open()
        assert drain(inventory, "daily") == [list(range(1, 11))]
        assert gaps(inventory) == []
        server.add(12)
        assert drain(inventory, "daily") == [[12]]
        assert gaps(inventory) == [(11, 11, None)]
        writer.commit()

        assert drain(inventory, "daily") == [[11]]
        assert_all_is_done(server, inventory)

    def test_between_two_batches(self, server):
        """
        P1: a hole that lies at the edge of batches belongs to the one above it.
        """
        server.files([1, 2, 5, 6])
        writer = server.session().add(3, 4)
        inventory = server.open()
        assert drain(inventory, "daily", batch_count=2) == [[1, 2], [5, 6]]
        writer.commit()

        assert drain(inventory, "daily", batch_count=2) == [[3, 4]]
        assert_all_is_done(server, inventory)

    def test_ids_in_steps_of_three(self, stage):
        """
        P6: an auto-increment that counts in threes leaves no list of holes; a row off the grid is handed out.
        """
        stage.files(range(1, 3_000, 3))
        inventory = stage.open()
        assert len(drain(inventory, "daily", batch_count=100)) == 10
        assert len(inventory.gaps("daily")) <= 20
        settle(inventory)
        stage.add(500, 1_001)

        assert flat(drain(inventory, "daily")) == [500, 1_001]
        settle(inventory)
        assert_all_is_done(stage, inventory)

    def test_ids_in_steps_of_three_with_a_row_that_came_before_the_first_look(self, stage):
        """
        P1, P2: among uids that ranges hold already, only the one that came late is handed out, once.
        """
        stage.files(range(1, 60, 3))
        inventory = stage.open()
        acquire(inventory).succeeded()
        stage.add(2)

        assert drain(inventory, "daily") == [[2]]
        settle(inventory)
        assert_all_is_done(stage, inventory)

    def test_ids_in_steps_of_three_with_a_row_that_is_still_open(self, server):
        """
        P1: a late one on the grid, in a stretch that is full of holes which nobody will fill.
        """
        server.files([uid for uid in range(1, 3_000, 3) if uid != 1_501])
        writer = server.session().add(1_501)
        inventory = server.open()
        drain(inventory, "daily", batch_count=100)
        idle(inventory, 3)
        assert any(gap.uid_from <= 1_501 <= gap.uid_to for gap in open_gaps(inventory))
        writer.commit()

        assert drain(inventory, "daily", batch_count=100) == [[1_501]]
        settle(inventory)
        assert_all_is_done(server, inventory)

    def test_a_hole_a_million_wide(self, stage):
        """
        P6: it is one gap, costs no more than a narrow one, and the row that comes in its middle is handed out.
        """
        stage.files([1, 1_000_001, 10**15])
        inventory = stage.open()
        used = peak_of(lambda: drain(inventory, "daily"))
        assert [gap[:2] for gap in gaps(inventory)] == [(2, 1_000_000), (1_000_002, 10**15 - 1)]
        stage.add(500_000)

        used = max(used, peak_of(lambda: settle_after(inventory, [[500_000]])))
        assert used < 20_000_000
        assert_all_is_done(stage, inventory)

    def test_a_hole_a_million_wide_that_fills_with_many_rows(self, stage):
        """
        P1, P6: 25,000 rows come late into one hole: all are handed out once, within the limits, and the gap is closed.
        """
        stage.files([1, 1_000_001])
        inventory = stage.open()
        drain(inventory, "daily")
        stage.add(*range(3, 1_000_000, 40))
        handed = []
        used = peak_of(lambda: handed.extend(drain(inventory, "daily", batch_count=2_000)))

        assert flat(handed) == list(range(3, 1_000_000, 40))
        assert max(map(len, handed)) <= 2_000
        assert len(handed) <= 30
        assert used < 200_000_000
        assert settle(inventory, acquires=8) <= 8
        assert_all_is_done(stage, inventory)

    def test_a_writer_deep_in_a_hole_that_has_filled(self, server):
        """
        P1: behind 15,000 rows that came late into one hole another is still open; the gap is not dead while it is.
        """
        server.files([1, 1_000_001])
        writer = server.session().add(900_000)
        inventory = server.open()
        drain(inventory, "daily")
        idle(inventory, 1)
        server.add(*range(3, 600_000, 40))
        drain(inventory, "daily", batch_count=5_000)
        idle(inventory)
        assert any(gap.uid_from <= 900_000 <= gap.uid_to for gap in open_gaps(inventory))
        writer.commit()

        assert drain(inventory, "daily", batch_count=5_000) == [[900_000]]
        settle(inventory, acquires=8)
        assert_all_is_done(server, inventory)

    def test_ids_at_the_ends_of_64_bits(self, stage):
        """
        P1, P6: a hole that spans all there can be, and rows at its very ends.
        """
        lowest, highest = -(2**63), 2**63 - 1
        stage.files([lowest + 1, highest])
        inventory = stage.open()
        drain(inventory, "daily")
        settle(inventory)
        stage.add(lowest, highest - 1, 0)

        assert flat(drain(inventory, "daily")) == [lowest, 0, highest - 1]
        settle(inventory)
        assert_all_is_done(stage, inventory)


class TestFilters:
    def test_a_row_that_does_not_match_is_no_gap(self, stage):
        """
        Behaviour: with a filter, a uid that is there and does not match is neither missing nor late.
        """
        stage.files([(uid, "x", uid % 2) for uid in range(1, 30)])
        inventory = stage.open()
        assert [len(uids) for uids in drain(inventory, "daily", meta_filter="weight = 1")] == [15]

        settle(inventory, meta_filter="weight = 1")
        assert late(inventory) == []
        assert inventory.audit("daily").clean

    def test_a_late_row_that_matches_and_one_that_does_not(self, server):
        """
        P1: of three rows that come late, two match the filter; those are handed out, the third never.
        """
        server.files([(uid, "x", 1) for uid in (1, 3, 5, 7)])
        inventory = server.open()
        writer = server.session().add((2, "x", 0), (4, "x", 1))
        drain(inventory, "daily", meta_filter="weight = 1")
        idle(inventory, 3, meta_filter="weight = 1")
        writer.commit()
        server.add((6, "x", 1))

        handed = drain(inventory, "daily", meta_filter="weight = 1")
        assert flat(handed) == [4, 6]
        settle(inventory, meta_filter="weight = 1")
        idle(inventory, meta_filter="weight = 1")
        assert inventory.audit("daily").clean

    def test_a_late_row_among_what_was_rejected_above_the_frontier(self, server):
        """
        P1: the filter rejected everything above uid 1, so nothing was claimed there, and it is not read again; a row
        that comes late among it is handed out, once, though a range that holds it is claimed afterwards.
        """
        server.files([(1, "x", 1), *((uid, "x", 0) for uid in range(2, 50) if uid != 30)])
        writer = server.session().add((30, "x", 1))
        inventory = server.open()
        arguments = {"meta_filter": "weight = 1"}
        assert drain(inventory, "daily", **arguments) == [[1]]
        idle(inventory, 2, **arguments)
        assert any(gap.uid_from <= 30 <= gap.uid_to for gap in open_gaps(inventory))
        writer.commit()

        assert drain(inventory, "daily", **arguments) == [[30]]
        server.add((51, "x", 1))
        assert drain(inventory, "daily", **arguments) == [[51]]
        settle(inventory, **arguments)
        idle(inventory, **arguments)
        assert sorted(server.handed_out("daily")) == [1, 30, 51]
        server.assert_tiled("daily")
        assert inventory.audit("daily").clean

    def test_a_filter_that_rejects_everything(self, server):
        """
        P1: a job that has claimed nothing yet, but has looked at all, still hears of a row that comes late.
        """
        server.files([(uid, "x", 0) for uid in range(1, 10) if uid != 5])
        writer = server.session().add((5, "x", 1))
        inventory = server.open()
        idle(inventory, 3, meta_filter="weight = 1")
        assert any(gap.uid_from <= 5 <= gap.uid_to for gap in open_gaps(inventory))
        writer.commit()

        assert drain(inventory, "daily", meta_filter="weight = 1") == [[5]]
        idle(inventory, meta_filter="weight = 1")
        assert server.handed_out("daily") == [5]

    def test_a_row_that_comes_to_match_later(self, stage):
        """
        Behaviour: a filter on a column that changes proves nothing; what matches now is handed out all the same.
        """
        stage.files([(uid, "x", uid % 2) for uid in range(1, 10)])
        inventory = stage.open()
        drain(inventory, "daily", meta_filter="weight = 1")
        settle(inventory, meta_filter="weight = 1")
        stage.execute("UPDATE files SET weight = 1 WHERE uid = 4")

        assert drain(inventory, "daily", meta_filter="weight = 1") == [[4]]
        assert inventory.audit("daily").clean

    def test_a_filter_that_keeps_few(self, server):
        """
        P1, P6: one in a thousand of 60,000 rows matches; a row that commits late among those that do not, and one
        whose id was reserved long before, are found, though asking the filter again about all others is dear.
        """
        few = {"meta_filter": "weight = 1", "batch_count": 10}
        server.files([(uid, "x", int(uid % 1_000 == 0)) for uid in range(60_000) if uid not in (30_500, 40_700)])
        writer = server.session().add((30_500, "late", 1))
        inventory = server.open()
        assert len(drain(inventory, "daily", **few)) == 6
        writer.commit()
        server.add((40_700, "later", 1), (40_701 + 60_000, "x", 0))
        seen = []
        for _ in range(12):
            server.clock.advance(HOUR)
            seen += drain(inventory, "daily", **few)

        assert flat(seen) == [30_500, 40_700]
        assert inventory.audit("daily").clean

    def test_a_filter_that_is_an_expression(self, stage):
        """
        API: late items are found with a SQLAlchemy expression as with text, percent signs and colons in it included.
        """
        stage.files([(uid, "100%:a" if uid % 2 else "b", 1) for uid in (1, 2, 5)])
        condition = sa.column("item") == "100%:a"
        inventory = stage.open()
        drain(inventory, "daily", meta_filter=condition)
        settle(inventory, meta_filter=condition)
        stage.add((3, "100%:a", 1), (4, "b", 1))

        assert drain(inventory, "daily", meta_filter=condition) == [[3]]
        assert inventory.audit("daily").clean


class TestBounds:
    def test_below_the_lowest_bound_nothing_is_late(self, stage):
        """
        API: what lies below every minimum that was ever given is not this job's business.
        """
        stage.files(range(100, 110))
        inventory = stage.open()
        drain(inventory, "daily", batch_id_min=100)
        settle(inventory, batch_id_min=100)
        stage.add(99, 1, -7)

        idle(inventory, batch_id_min=100)
        idle(inventory)
        assert inventory.audit("daily").clean
        assert late(inventory) == []

    def test_a_bound_that_is_lowered(self, stage):
        """
        API: the lowest minimum counts: what lies between the old one and the new becomes late, and is handed out.
        """
        stage.files(range(1, 110))
        inventory = stage.open()
        drain(inventory, "daily", batch_id_min=100)

        handed = drain(inventory, "daily", batch_id_min=95, batch_count=3)
        assert flat(handed) == [95, 96, 97, 98, 99]
        idle(inventory, batch_id_min=100)
        idle(inventory)
        assert sorted(stage.handed_out("daily")) == list(range(95, 110))
        assert inventory.audit("daily").clean

    def test_a_maximum_is_no_bound_for_late_items(self, stage):
        """
        API: a maximum is a ceiling of its call; late items lie below the frontier, which an earlier call has reached.
        """
        stage.files([*range(1, 50), *range(60, 70)])
        inventory = stage.open()
        drain(inventory, "daily", batch_id_max=65)
        settle(inventory, batch_id_max=65)
        stage.add(55)

        assert drain(inventory, "daily", batch_id_max=65) == [[55]]
        assert drain(inventory, "daily") == [[66, 67, 68, 69]]
        assert_all_is_done(stage, inventory)

    def test_what_a_raised_minimum_set_aside_is_not_late(self, stage):
        """
        API: the range between frontier and a raised minimum is set aside, visibly; what comes into it later is late.
        """
        stage.files([1, 2, 10, 12, 20])
        inventory = stage.open()
        drain(inventory, "daily", batch_id_max=2)
        assert drain(inventory, "daily", batch_id_min=20) == [[20]]
        idle(inventory)
        assert [row.kind.value for row in inventory.batches("daily")] == ["range", "aside", "range"]
        stage.add(11)

        assert drain(inventory, "daily") == [[11]]
        assert inventory.audit("daily").clean

    def test_what_comes_below_a_raised_minimum_where_nothing_was(self, server):
        """
        API: a minimum that was raised past a stretch without rows sets nothing aside; what commits there later is late.
        """
        server.files([1, 2, 20])
        writer = server.session().add(10)
        inventory = server.open()
        drain(inventory, "daily", batch_id_max=2)
        assert drain(inventory, "daily", batch_id_min=20) == [[20]]
        writer.commit()

        assert drain(inventory, "daily", batch_id_min=20) == [[10]]
        assert_all_is_done(server, inventory)

    def test_a_backfill_between_two_bounds(self, server):
        """
        API: a job with both bounds hands out what comes late between them, and nothing beside them.
        """
        server.files([1, 5, 10, 15, 20, 25])
        writer = server.session().add(4, 9, 19, 24)
        inventory = server.open()
        bounds = {"batch_id_min": 5, "batch_id_max": 20}
        assert drain(inventory, "daily", **bounds) == [[5, 10, 15, 20]]
        idle(inventory, 2, **bounds)
        writer.commit()

        assert flat(drain(inventory, "daily", **bounds)) == [9, 19]
        settle(inventory, **bounds)
        assert sorted(server.handed_out("daily")) == [5, 9, 10, 15, 19, 20]
        assert inventory.audit("daily").clean


class TestHeavyLateItems:
    def late_one(self, stage):
        stage.files([(1, "a", 1), (4, "b", 1)])
        inventory = stage.open()
        drain(inventory, "daily", batch_weight=5)
        stage.add((2, "heavy", 9), (3, "light", 2))
        return inventory

    def test_alone(self, stage):
        """
        P6: a late item heavier than the limit is a batch of its own.
        """
        inventory = self.late_one(stage)

        assert sorted(drain(inventory, "daily", batch_weight=5)) == [[2], [3]]
        assert_all_is_done(stage, inventory)

    def test_set_aside(self, stage):
        """
        P6: asked to, it is a dead batch of one, visible, once; the others are handed out.
        """
        inventory = self.late_one(stage)

        assert drain(inventory, "daily", batch_weight=5, oversize="set_aside") == [[3]]
        idle(inventory, batch_weight=5, oversize="set_aside")
        rows = [(row.batch_id_start, row.kind.value, row.status.value) for row in inventory.batches("daily")]
        assert sorted(rows) == [(1, "range", "succeeded"), (2, "late", "dead"), (3, "late", "succeeded")]
        assert inventory.audit("daily").clean

    def test_fail(self, stage):
        """
        P6: asked to, it is an error that names it; nothing is lost by it, and a call that says otherwise gets both.
        """
        inventory = self.late_one(stage)

        with pytest.raises(ItemError, match="uid 2"):
            drain(inventory, "daily", batch_weight=5, oversize="fail")
        handed = drain(inventory, "daily", batch_weight=5)
        assert sorted(stage.handed_out("daily")) == [1, 2, 3, 4]
        assert [2] in handed
        assert_all_is_done(stage, inventory)

    def test_fail_takes_nothing_from_a_worker_that_has_claimed(self, stage):
        """
        P2, P6: a busy acquire that looks in passing keeps the batch it has claimed, whatever is late and too heavy.
        """
        inventory = self.late_one(stage)
        stage.add(*range(10, 40))
        seen = []
        for _ in range(5):
            stage.clock.advance(HOUR)
            batch = acquire(inventory, batch_weight=5, oversize="fail")
            seen += batch.uids
            batch.succeeded()

        assert [uid for uid in seen if uid >= 10] == list(range(10, 10 + len([uid for uid in seen if uid >= 10])))
        assert stage.rows("SELECT COUNT(*) FROM inventory WHERE status = 'running'") == [0]

    @pytest.mark.parametrize("weight", [None, -1, "NaN"])
    def test_a_late_weight_that_cannot_be_used(self, lite, weight):
        """
        API: an unusable weight counts as oversize, late as well as in time; without a limit nobody looks at it.
        """
        lite.files([(1, "a", 1), (4, "b", 1)], weight="NUMERIC")
        inventory = lite.open()
        for job in ("daily", "free"):
            drain(inventory, job)
        lite.add((2, "odd", weight), (3, "fine", 1))

        assert sorted(drain(inventory, "daily", batch_weight=5)) == [[2], [3]]
        assert drain(inventory, "free") == [[2, 3]]

    def test_a_late_row_that_cannot_be_used(self, stage):
        """
        Behaviour: a late row without a location is an error that names it, not a batch, and not a loop.
        """
        stage.files([1, 4])
        inventory = stage.open()
        drain(inventory, "daily")
        stage.execute("INSERT INTO files VALUES (2, NULL, 1)")

        with pytest.raises(ItemError, match="uid 2"):
            drain(inventory, "daily")
        stage.execute("UPDATE files SET item = 'mended' WHERE uid = 2")
        assert drain(inventory, "daily") == [[2]]
