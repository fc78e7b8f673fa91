"""
Which items an acquire hands out: ranges, bounds, weights, filters, and tables it must refuse. On every database.
"""

from __future__ import annotations

import json
import random
from datetime import date
from decimal import Decimal

import pytest
import sqlalchemy as sa

from spark_batchintory import BatchintoryError, ConfigurationError, ItemError, MetaTable

from .stage import Stage, Wire, drain

LOWEST, HIGHEST = -(2**63), 2**63 - 1
FLOAT = "DOUBLE PRECISION"
FILTERS = {
    "weight > 3": [3, 4, 5],
    "item LIKE '%.json' OR uid = 5": [1, 5],
    "item LIKE '100:%'": [3],
    "weight = 9 -- the heavy ones": [4],
    "uid % 2 = 0": [2, 4],
    "item <> 'x' OR 1 = 1": [1, 2, 3, 4, 5],
    sa.column("weight") > 3: [3, 4, 5],
    sa.column("item").like("%.json"): [1],
    sa.column("uid").in_([1, 4, 77]): [1, 4],
    sa.column("weight").between(2, 5) & (sa.column("uid") != 3): [2, 5],
    sa.column("added", sa.Date) >= date(2024, 2, 28): [4, 5],
}


@pytest.fixture
def stage(sql_url):
    """
    An empty database of each kind in turn.
    """
    with Stage(sql_url) as stage:
        yield stage


@pytest.fixture
def lite(tmp_path):
    """
    An empty SQLite database, where the kind of database does not matter.
    """
    with Stage(f"sqlite:///{tmp_path / 'lite.db'}") as stage:
        yield stage


class TestRanges:
    def test_every_uid_is_handed_out_once_and_in_order(self, stage):
        """
        P1, P2: negative uids and 0 are uids like others, holes are no obstacle, and ranges tile.
        """
        stage.files([-70, -3, -2, 0, 1, 2, 5, 100])
        inventory = stage.open()

        assert drain(inventory, "daily", batch_count=3) == [[-70, -3, -2], [0, 1, 2], [5, 100]]
        assert drain(inventory, "daily", batch_count=3) == []
        stage.add(101, 102)
        assert drain(inventory, "daily") == [[101, 102]]
        stage.assert_tiled("daily")

    def test_the_ends_of_64_bits_are_uids(self, stage):
        """
        P1: nothing overflows at the smallest and largest uid a column can hold, nor in bounds that name them.
        """
        stage.files([LOWEST, LOWEST + 1, 0, HIGHEST - 1, HIGHEST])
        inventory = stage.open()

        assert drain(inventory, "open", batch_count=2) == [[LOWEST, LOWEST + 1], [0, HIGHEST - 1], [HIGHEST]]
        assert drain(inventory, "bounded", batch_id_min=LOWEST, batch_id_max=HIGHEST, batch_count=4) == [
            [LOWEST, LOWEST + 1, 0, HIGHEST - 1],
            [HIGHEST],
        ]
        stage.assert_tiled("open")

    @pytest.mark.parametrize(
        ("limits", "expected"),
        [
            ({}, [[1, 2, 3, 4, 5]]),
            ({"batch_count": 2}, [[1, 2], [3, 4], [5]]),
            ({"batch_count": 5}, [[1, 2, 3, 4, 5]]),
            ({"batch_weight": 7}, [[1, 2], [3, 4], [5]]),
            ({"batch_weight": 100, "batch_count": 4}, [[1, 2, 3, 4], [5]]),
            ({"batch_weight": 4, "batch_count": 9}, [[1], [2], [3], [4], [5]]),
        ],
    )
    def test_limits_are_maxima(self, lite, limits, expected):
        """
        P6: neither the weight nor the count of a batch exceeds its limit, and each batch is as full as it can be.
        """
        lite.files([(1, "a", 4), (2, "b", 3), (3, "c", 4), (4, "d", 3), (5, "e", 4)])

        assert drain(lite.open(), "daily", **limits) == expected

    def test_a_backlog_longer_than_any_page_is_one_batch_if_nobody_limits_it(self, stage):
        """
        API: without limits the whole backlog, also where it is read in several pages; half of it by weight.
        """
        stage.files(range(1, 20_001))
        inventory = stage.open()

        assert [len(uids) for uids in drain(inventory, "all")] == [20_000]
        assert [len(uids) for uids in drain(inventory, "halves", batch_weight=10_000)] == [10_000, 10_000]

    @pytest.mark.parametrize(
        ("bounds", "expected"),
        [
            ({"batch_id_min": 0}, [0, 1, 7]),
            ({"batch_id_min": -5, "batch_id_max": -5}, [-5]),
            ({"batch_id_max": 0}, [-9, -5, 0]),
            ({"batch_id_max": -1}, [-9, -5]),
            ({"batch_id_min": 7}, [7]),
            ({"batch_id_min": 7, "batch_id_max": 7}, [7]),
            ({"batch_id_min": 8}, []),
            ({"batch_id_max": -10}, []),
            ({"batch_id_min": 2, "batch_id_max": 6}, []),
        ],
    )
    def test_bounds_are_inclusive(self, lite, bounds, expected):
        """
        API: both bounds are in, also at uid 0, below it, and where the minimum is the newest uid.
        """
        lite.files([-9, -5, 0, 1, 7])

        assert flat(drain(lite.open(), "daily", batch_count=2, **bounds)) == expected

    def test_a_maximum_is_a_ceiling_of_its_call(self, lite):
        """
        API: the next call without it goes on above, and loses nothing.
        """
        lite.files([1, 2, 3, 4, 5])
        inventory = lite.open()

        assert drain(inventory, "daily", batch_id_max=2) == [[1, 2]]
        assert drain(inventory, "daily", batch_id_max=2) == []
        assert drain(inventory, "daily", batch_id_max=4) == [[3, 4]]
        assert drain(inventory, "daily") == [[5]]
        lite.assert_tiled("daily")

    def test_a_backfill_has_its_own_progress_and_an_end(self, stage):
        """
        API: a closed scope under its own job is worked off until None, beside the incremental job and new files.
        """
        stage.files(range(1, 10))
        inventory = stage.open()
        scope = {"batch_id_min": 3, "batch_id_max": 7, "batch_count": 2}

        assert inventory.acquire_batch("daily", "files", batch_count=4).uids == [1, 2, 3, 4]
        assert inventory.acquire_batch("backfill", "files", **scope).uids == [3, 4]
        stage.add(10)
        assert drain(inventory, "backfill", **scope) == [[5, 6], [7]]
        assert inventory.acquire_batch("backfill", "files", **scope) is None
        assert drain(inventory, "daily") == [[5, 6, 7, 8, 9, 10]]

    def test_a_minimum_above_the_frontier_sets_the_range_between_aside(self, stage):
        """
        P1, P7: what a raised minimum skips is a cancelled row with its uids, once, and ranges still tile.
        """
        stage.files([1, 2, 3, 5, 6, 8, 9])
        inventory = stage.open()
        inventory.acquire_batch("daily", "files", batch_count=2).succeeded()

        assert drain(inventory, "daily", batch_id_min=8, batch_count=1) == [[8], [9]]
        aside = stage.rows("SELECT status, uids, batch_count, batch_id_start FROM inventory WHERE kind = 'aside'")
        assert aside == [("cancelled", "r:3,5-6", 3, 3)]
        assert stage.rows("SELECT logging FROM inventory WHERE kind = 'aside' AND logging LIKE '%batch_id_min%'")
        assert sorted(stage.handed_out("daily")) == [1, 2, 3, 5, 6, 8, 9]
        stage.assert_tiled("daily")

    @pytest.mark.parametrize("condition", [None, "weight = 1"], ids=["all", "filtered"])
    def test_a_minimum_that_nothing_reaches_yet_loses_nothing(self, lite, condition):
        """
        P1: whether or not there was something above a raised minimum, what lies below it is set aside or handed out.
        """
        lite.files([1, 2, 3, 4, (9, "rejected", 5)])
        inventory = lite.open()
        inventory.acquire_batch("daily", "files", batch_count=2, meta_filter=condition).succeeded()

        inventory.acquire_batch("daily", "files", batch_id_min=10, meta_filter=condition)
        lite.add(11)
        drain(inventory, "daily", meta_filter=condition)

        assert {1, 2, 3, 4, 11} <= set(lite.handed_out("daily"))
        lite.assert_tiled("daily")

    def test_the_lowest_minimum_is_kept(self, lite):
        """
        API: of all minima of a job the lowest counts; none at the beginning is the lowest of all.
        """
        lite.files([1, 5, 6, 7, 8])
        inventory = lite.open()
        for job, minima in {"down": (7, 5, 6), "open": (None, 5, 6)}.items():
            for minimum in minima:
                inventory.acquire_batch(job, "files", batch_id_min=minimum, batch_count=1)

        assert lite.rows("SELECT job, lowest_bound FROM inventory_job ORDER BY job") == [("down", 5), ("open", None)]

    def test_jobs_and_tables_do_not_disturb_each_other(self, stage):
        """
        Progress belongs to (meta table, job), both compared to the letter.
        """
        stage.files([1, 2])
        stage.files([7, 8], name="others")
        inventory = stage.open()

        for job in ("daily", "Daily", "daily "):
            assert drain(inventory, job) == [[1, 2]]
        assert drain(inventory, "daily", "others") == [[7, 8]]


class TestWeights:
    def test_an_oversize_item_goes_alone(self, stage):
        """
        P6: by default one item over the weight is a batch of its own, and those around it stay within the limit.
        """
        stage.files([(1, "a", 2), (2, "b", 3), (3, "huge", 99), (4, "c", 5), (5, "d", 1)])

        assert drain(stage.open(), "daily", batch_weight=5) == [[1, 2], [3], [4], [5]]
        assert stage.rows("SELECT weight FROM files WHERE uid = 3") == [99]
        assert [Decimal(w) for w in stage.rows("SELECT batch_weight FROM inventory ORDER BY id")] == [5, 99, 5, 1]

    def test_an_oversize_item_can_be_an_error(self, lite):
        """
        API: `fail` names uid, item and weight when the item is reached, and nothing is claimed by that call.
        """
        lite.files([(1, "a", 2), (2, "huge", 99), (3, "b", 1)])
        inventory = lite.open()

        assert inventory.acquire_batch("daily", "files", batch_weight=5, oversize="fail").uids == [1]
        before = lite.everything()
        with pytest.raises(ItemError, match=r"uid 2.*huge.*99"):
            inventory.acquire_batch("daily", "files", batch_weight=5, oversize="fail")
        assert lite.everything() == before
        assert drain(inventory, "daily", batch_weight=99, oversize="fail") == [[2], [3]]

    def test_an_oversize_item_can_be_set_aside(self, stage):
        """
        P1, P7: `set_aside` records it as a dead batch of one, with the reason, and goes on within the same call.
        """
        stage.files([(1, "huge", 99), (2, "a", 2), (3, "huge too", 98), (4, "b", 5)])

        assert drain(stage.open(), "daily", batch_weight=5, oversize="set_aside") == [[2], [4]]
        dead = stage.rows("SELECT uids, attempt, token FROM inventory WHERE status = 'dead' ORDER BY id")
        assert dead == [("r:1", 0, None), ("r:3", 0, None)]
        assert stage.rows("SELECT COUNT(*) FROM inventory WHERE status = 'dead' AND logging LIKE '%oversize%'") == [2]
        stage.assert_tiled("daily")

    def test_a_table_full_of_oversize_items_is_set_aside_in_one_call(self, lite):
        """
        P1, P6: hundreds in a row neither stop the call with None before the good item nor are forgotten.
        """
        lite.files([*((uid, "huge", 9) for uid in range(250)), 250])

        assert drain(lite.open(), "daily", batch_weight=5, oversize="set_aside") == [[250]]
        assert lite.rows("SELECT COUNT(*) FROM inventory WHERE status = 'dead'") == [250]

    @pytest.mark.parametrize("oversize", ["alone", "set_aside"])
    def test_unusable_weights_never_stop_a_job(self, stage, oversize):
        """
        API: NULL, NaN and negative weights count as oversize; every item is handed out or set aside, once.
        """
        nan = float("nan") if stage.kind == "postgresql" else None
        stage.files([(1, "a", 1), (2, "b", None), (3, "c", -4), (4, "d", nan), (5, "e", 1), (6, "f", 1)], weight=FLOAT)

        batches = drain(stage.open(), "daily", batch_weight=5, oversize=oversize)

        alone = [[2], [3], [4]] if oversize == "alone" else []
        assert batches == [[1], *alone, [5, 6]]
        assert sorted(stage.handed_out("daily")) == [1, 2, 3, 4, 5, 6]
        weights = stage.rows("SELECT batch_weight FROM inventory WHERE batch_id_start IN (2, 3, 4)")
        assert weights == [None, None, None]

    def test_an_unusable_weight_can_be_an_error(self, lite):
        """
        API: with `fail`, an unusable weight is refused like one that is too large.
        """
        lite.files([(1, "a", None)])

        with pytest.raises(ItemError, match=r"uid 1.*None"):
            lite.open().acquire_batch("daily", "files", batch_weight=5, oversize="fail")

    def test_text_as_weight_never_stops_a_job(self, stage):
        """
        API: a weight column of text holds no usable weight; each item goes alone, and limits of count still hold.
        """
        stage.files([(1, "a", "12"), (2, "b", "heavy"), (3, "c", "")], weight="VARCHAR(20)")

        assert drain(stage.open(), "by weight", batch_weight=50) == [[1], [2], [3]]
        assert drain(stage.open(), "by count", batch_count=2) == [[1, 2], [3]]

    def test_weights_are_not_looked_at_without_a_limit(self, lite):
        """
        API: without `batch_weight` a bad weight changes nothing, and the batch's own weight says that it is not known.
        """
        lite.files([(1, "a", None), (2, "b", -4), (3, "c", 1)])

        batch = lite.open().acquire_batch("daily", "files", oversize="fail")

        assert (batch.uids, batch.weights, batch.weight) == ([1, 2, 3], [None, -4, 1], None)

    def test_a_table_without_weights(self, lite):
        """
        API: the weight column may be None; then batches are cut by count.
        """
        lite.files([1, 2, 3])
        inventory = lite.open()

        batch = inventory.acquire_batch("daily", "files", {"weight": None}, batch_count=2)

        assert (batch.uids, batch.weights, batch.weight) == ([1, 2], [None, None], None)
        with pytest.raises(ConfigurationError, match="batch_weight"):
            inventory.acquire_batch("daily", "files", {"weight": None}, batch_weight=2)

    def test_decimals_are_summed_exactly(self, stage):
        """
        API: ten tenths are one, be they NUMERIC or, on SQLite, floats; with float sums the tenth would not fit.
        """
        stage.files([(uid, "a", "0.1") for uid in range(1, 22)], weight="NUMERIC(20, 9)")
        inventory = stage.open()

        batch = inventory.acquire_batch("daily", "files", batch_weight=1)

        assert (batch.count, batch.weight) == (10, 1)
        assert len(inventory.acquire_batch("daily", "files", batch_weight=Decimal("0.3"))) == 3
        assert [Decimal(w) for w in stage.rows("SELECT batch_weight FROM inventory")] == [1, Decimal("0.3")]

    def test_floats_count_as_the_decimals_they_print_as(self, lite):
        """
        API: 0.1 + 0.2 fits into 0.3.
        """
        lite.files([(1, "a", 0.1), (2, "b", 0.2), (3, "c", 0.1)], weight=FLOAT)

        assert drain(lite.open(), "daily", batch_weight=0.3) == [[1, 2], [3]]

    def test_huge_weights_are_summed_exactly(self, stage):
        """
        API: 10**18 + 1 is not 10**18, and a sum beyond 64 bits is as exact as any.
        """
        stage.files([(uid, "a", 10**18 + 1) for uid in range(1, 41)])
        inventory = stage.open()

        assert len(inventory.acquire_batch("a", "files", batch_weight=9 * 10**18 + 8)) == 8
        batch = inventory.acquire_batch("b", "files", batch_weight=30 * (10**18 + 1))
        assert (batch.count, batch.weight) == (30, 30 * 10**18 + 30)
        assert Decimal(stage.rows("SELECT batch_weight FROM inventory WHERE job = 'b'")[0]) == 30 * 10**18 + 30

    def test_a_weight_of_nothing_is_a_weight(self, lite):
        """
        API: items of weight 0 share a batch however small the limit.
        """
        lite.files([(1, "a", 0), (2, "b", 0), (3, "c", 1)])

        assert drain(lite.open(), "daily", batch_weight=0) == [[1, 2], [3]]


class TestScope:
    def test_only_what_a_filter_keeps_is_in_scope(self, stage):
        """
        API: a condition as text in the database's dialect, or a SQLAlchemy expression; signs in it mean themselves.
        """
        stage.execute("CREATE TABLE files (uid BIGINT, item VARCHAR(20), weight BIGINT, added DATE)")
        for uid, item, weight in [(1, "a.json", 1), (2, "b.csv", 2), (3, "100:3", 4), (4, "c.jsn", 9), (5, "", 5)]:
            day = f"2024-02-{24 + uid}"
            stage.execute("INSERT INTO files VALUES (:u, :i, :w, :d)", u=uid, i=item, w=weight, d=day)
        inventory = stage.open()

        kept = {text: flat(drain(inventory, str(text), batch_count=2, meta_filter=text)) for text in FILTERS}

        assert kept == FILTERS

    def test_items_are_handed_out_once_whatever_the_filter_rejects(self, lite):
        """
        P1: matching files that come in between runs of rejected ones, in many small pages, are each in one batch.
        """
        dice = random.Random(20240229)
        inventory = [lite.open()]
        lite.files()
        uids = iter(range(-40, 10**6, 3))
        added = []
        for _ in range(40):
            fresh = [(next(uids), "a", dice.choice([0, 0, 0, 7])) for _ in range(dice.randrange(1, 12))]
            lite.add(*fresh)
            added += fresh
            inventory[0].acquire_batch("daily", "files", batch_count=dice.randrange(1, 4), meta_filter="weight = 7")
        drain(inventory[0], "daily", batch_count=3, meta_filter="weight = 7")

        assert lite.handed_out("daily") == [uid for uid, _, weight in added if weight == 7]
        lite.assert_tiled("daily")

    def test_what_a_filter_rejects_is_looked_at_once(self, stage):
        """
        P6: `scanned_through` remembers the rejected; the next acquire begins above them, and new files still come.
        """
        stage.files([1, *((uid, "other", 5) for uid in range(2, 500))])
        wire = Wire()
        inventory = stage.open(wire=wire)

        assert drain(inventory, "daily", meta_filter="weight = 1") == [[1]]
        assert stage.rows("SELECT frontier, scanned_through FROM inventory_job") == [(1, 499)]
        wire.bound.clear()
        assert inventory.acquire_batch("daily", "files", meta_filter="weight = 1") is None
        pages = [values for values in wire.bound if values and 499 in plain(values)]
        assert pages, "the next page begins where the last one ended"
        stage.add((500, "other", 5), 501)
        assert drain(inventory, "daily", meta_filter="weight = 1") == [[501]]
        stage.assert_tiled("daily")

    @pytest.mark.parametrize(
        ("first", "then"),
        [
            ({}, {"meta_filter": "weight = 1"}),
            ({"meta_filter": "weight = 1"}, {}),
            ({"meta_filter": "weight = 1"}, {"meta_filter": "weight < 2"}),
            ({}, {"meta_table_cols": {"item": "weight"}}),
            ({}, {"meta_table_cols": {"weight": None}}),
        ],
    )
    def test_a_scope_that_changes_under_a_job_is_refused(self, lite, first, then):
        """
        API: another filter or column map would change what "done" means; it is refused with both in the message.
        """
        lite.files([1, 2, 3, 4])
        inventory = lite.open()
        inventory.acquire_batch("daily", "files", batch_count=1, **first)
        before = lite.everything()

        with pytest.raises(ConfigurationError, match=r"'daily'.*accept_change=True"):
            inventory.acquire_batch("daily", "files", batch_count=1, **then)
        assert lite.everything() == before
        assert inventory.acquire_batch("daily", "files", batch_count=1, accept_change=True, **then).uids == [2]
        assert inventory.acquire_batch("daily", "files", batch_count=1, **then).uids == [3]
        with pytest.raises(ConfigurationError):
            inventory.acquire_batch("daily", "files", batch_count=1, **first)

    def test_a_retry_is_read_by_the_columns_it_was_claimed_with(self, lite):
        """
        P4: a new column map applies to new batches; one that comes back holds what it held.
        """
        lite.execute("CREATE TABLE files (uid INT, item TEXT, copy TEXT, weight INT)")
        lite.execute("INSERT INTO files VALUES (1, 'a', 'A', 1), (2, 'b', 'B', 1)")
        inventory = lite.open()
        inventory.acquire_batch("daily", "files", batch_count=1).give_back()

        moved = {"meta_table_cols": {"item": "copy"}, "accept_change": True}
        again = inventory.acquire_batch("daily", "files", batch_count=1, **moved)

        assert (again.items, again.attempt) == (["a"], 2)
        assert inventory.acquire_batch("daily", "files", batch_count=1, **moved).items == ["B"]

    def test_a_filter_that_is_no_sql_is_refused(self, stage):
        """
        API: wrong arguments are a `ConfigurationError`; no error of a driver comes through, and nothing is claimed.
        """
        stage.files([1])
        inventory = stage.open()

        for condition in ("weight >", "wieght > 3", "weight > 3)"):
            with pytest.raises(ConfigurationError, match="files"):
                inventory.acquire_batch("daily", "files", meta_filter=condition)
        assert stage.rows("SELECT COUNT(*) FROM inventory") == [0]

    @pytest.mark.parametrize(
        "condition", ["1=1) OR (1=1", "1=1 OR (1=1", "weight > 0)", "item = ')' OR uid = 1) OR (1=1"]
    )
    def test_a_filter_cannot_leave_its_parentheses(self, stage, condition):
        """
        P2: a filter that closes our parenthesis would take the bounds of the range out of force.
        """
        stage.files([1, 2, 3])
        inventory = stage.open()
        with pytest.raises(ConfigurationError, match="parentheses do not match"):
            inventory.acquire_batch("daily", "files", meta_filter=condition, batch_count=1)
        assert stage.rows("SELECT COUNT(*) FROM inventory") == [0]

    @pytest.mark.parametrize(
        "condition", ["item <> ':)' /* ( */", "(uid = 1) OR (uid IN (2, 3)) -- :-(", "item <> '('"]
    )
    def test_parentheses_in_quotes_and_comments_are_none(self, stage, condition):
        """
        P1: a filter that is one is taken.
        """
        stage.files([1, 2, 3])
        assert drain(stage.open(), "daily", meta_filter=condition, batch_count=2) == [[1, 2], [3]]

    def test_a_filter_cannot_smuggle_in_statements(self, stage):
        """
        Names and values are bound or quoted: a filter is one condition.
        """
        stage.files([1])
        with pytest.raises(BatchintoryError):
            stage.open().acquire_batch("daily", "files", meta_filter="1 = 1); DROP TABLE files; SELECT (1")
        assert stage.rows("SELECT uid FROM files") == [1]

    def test_a_meta_table_can_be_passed_as_a_value(self, lite):
        """
        API: `MetaTable` stands for name, columns and filter; what the call says itself goes before.
        """
        lite.execute("CREATE TABLE files (id INT, path TEXT, size INT)")
        lite.execute("INSERT INTO files VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
        table = MetaTable("files", {"uid": "id", "item": "path", "weight": "size"}, "size > 1")
        inventory = lite.open()

        assert [*inventory.acquire_batch("value", meta_table=table)] == [(2, "b", 2), (3, "c", 3)]
        assert inventory.acquire_batch("value and filter", meta_table=table, meta_filter="size = 3").uids == [3]


class TestTables:
    def test_a_missing_table_is_named_with_its_neighbours(self, stage):
        """
        API: the error names the table and what it may have meant; nothing is claimed.
        """
        stage.files([1])
        inventory = stage.open()

        with pytest.raises(ConfigurationError, match=r"'flies'.*'files'"):
            inventory.acquire_batch("daily", "flies")
        with pytest.raises(ConfigurationError, match=r"'nowhere\.files'"):
            inventory.acquire_batch("daily", "nowhere.files")
        assert stage.rows("SELECT COUNT(*) FROM inventory") == [0]

    def test_a_missing_column_is_named_with_those_there_are(self, stage):
        """
        API: table, role and column are named; SQLite would take a quoted unknown column for a text.
        """
        stage.files([1])
        inventory = stage.open()

        for role in ("uid", "item", "weight"):
            with pytest.raises(ConfigurationError, match=rf"'files'.*'nix'.*{role}.*'item'"):
                inventory.acquire_batch("daily", "files", {role: "nix"})
        assert stage.rows("SELECT COUNT(*) FROM inventory") == [0]

    def test_a_uid_column_that_holds_no_numbers_is_refused(self, stage):
        """
        API: table and column are named, before anything is read.
        """
        inventory = stage.open()
        for name, kind in {"short": "VARCHAR(20)", "long": "TEXT", "days": "DATE"}.items():
            stage.files(name=f"{name}_files", uid=kind)
            with pytest.raises(ConfigurationError, match=f"'uid' of meta table '{name}_files'"):
                inventory.acquire_batch("daily", f"{name}_files")

    def test_a_uid_that_is_no_whole_number_is_refused(self, stage):
        """
        API: the column and the value are named, nothing is claimed; NUMERIC that holds whole numbers is fine.
        """
        stage.files([(1, "a", 1), (2, "b", 1)], uid="NUMERIC(20, 2)")
        inventory = stage.open()
        assert drain(inventory, "whole") == [[1, 2]]

        stage.add((Decimal("2.5") if stage.kind != "sqlite" else 2.5, "c", 1))
        with pytest.raises(ItemError, match=r"'uid' of meta table 'files'.*2\.5"):
            inventory.acquire_batch("daily", "files")
        assert stage.rows("SELECT COUNT(*) FROM inventory WHERE job = 'daily'") == [0]

    def test_text_in_a_uid_column_of_sqlite_is_refused(self, lite):
        """
        API: SQLite keeps text in INTEGER columns; the value is named and nothing is claimed.
        """
        lite.files([1, ("x17", "b", 1)], uid="INTEGER")

        with pytest.raises(ItemError, match=r"'uid' of meta table 'files'.*x17"):
            lite.open().acquire_batch("daily", "files")
        assert lite.rows("SELECT COUNT(*) FROM inventory") == [0]

    def test_a_uid_beyond_64_bits_is_refused(self, mariadb_database):
        """
        API: an unsigned column can hold more than the inventory; the uid is named and nothing is claimed.
        """
        mariadb_database.files([1, 2**63], uid="BIGINT UNSIGNED")

        with pytest.raises(ItemError, match=r"'uid' of meta table 'files'.*9223372036854775808"):
            mariadb_database.open().acquire_batch("daily", "files")
        assert mariadb_database.rows("SELECT COUNT(*) FROM inventory") == [0]

    def test_uids_of_an_unsigned_column(self, mariadb_database):
        """
        P1: MariaDB's unsigned columns are read from the start, with bounds below zero as well.
        """
        mariadb_database.files([0, 1, 2], uid="BIGINT UNSIGNED")
        inventory = mariadb_database.open()

        assert drain(inventory, "daily", batch_count=2) == [[0, 1], [2]]
        assert drain(inventory, "bounded", batch_id_min=-5) == [[0, 1, 2]]

    def test_a_duplicate_uid_is_named(self, stage):
        """
        API: table, column and uid are named, and nothing is claimed.
        """
        stage.files([1, 2, 3, (3, "again", 1), 4], uid="BIGINT")

        with pytest.raises(ItemError, match=r"uid 3 .*'uid' of meta table 'files'"):
            stage.open().acquire_batch("daily", "files")
        assert stage.rows("SELECT COUNT(*) FROM inventory") == [0]

    @pytest.mark.parametrize("first", [1024, 16384])
    @pytest.mark.parametrize("limits", [{}, {"batch_weight": 10**9}], ids=["all", "by weight"])
    def test_a_duplicate_uid_is_found_wherever_a_page_ends(self, lite, first, limits):
        """
        P1: of two rows with one uid, none is lost because the other was the last one of a page.
        """
        lite.files([*range(1, first + 1), (first, "again", 1), first + 1], uid="BIGINT")

        with pytest.raises(ItemError, match=f"uid {first} "):
            lite.open().acquire_batch("daily", "files", **limits)

    def test_a_null_uid_is_an_error(self, stage):
        """
        P1: no range could ever hold such a row, so that it must not be passed over in silence.
        """
        stage.files([1, (None, "lost", 1)], uid="BIGINT")

        with pytest.raises(ItemError, match=r"'uid' of meta table 'files' holds NULL"):
            stage.open().acquire_batch("daily", "files")
        assert stage.rows("SELECT COUNT(*) FROM inventory") == [0]

    def test_a_null_location_is_an_error(self, lite):
        """
        API: table, column and uid are named, nothing is claimed; a filter that leaves the row out helps.
        """
        lite.files([1, (2, None, 1), 3])
        inventory = lite.open()

        with pytest.raises(ItemError, match=r"uid 2 .*'files'.*'item'"):
            inventory.acquire_batch("daily", "files")
        assert lite.rows("SELECT COUNT(*) FROM inventory") == [0]
        assert drain(inventory, "filtered", meta_filter="item IS NOT NULL") == [[1, 3]]

    def test_a_table_that_is_made_anew_between_claims(self, stage):
        """
        P1: a catalogue that is dropped and loaded again with other types is read as it is then, in the next claim.
        """
        stage.files(range(1, 40), "nightly")
        inventory = stage.open()
        for _ in range(12):  # often enough for a driver to prepare the statement
            inventory.acquire_batch("daily", "nightly", batch_count=2).succeeded()
        stage.execute("DROP TABLE nightly")
        stage.files(range(1, 40), "nightly", uid="NUMERIC(20, 0) PRIMARY KEY", weight="VARCHAR(10)")

        assert inventory.acquire_batch("daily", "nightly", batch_count=2).uids == [25, 26]

    def test_uids_of_an_exact_column_are_read_again(self, stage):
        """
        P4: a uid is a whole number however the column is declared, in later attempts as in the first.
        """
        stage.files([1, 2, 3, 5, 90], "exact", uid="NUMERIC(20, 0) PRIMARY KEY")
        inventory = stage.open()
        for uids in ([1, 2], [3, 5], [90]):
            inventory.acquire_batch("daily", "exact", batch_count=2).give_back()
            again = inventory.acquire_batch("daily", "exact", batch_count=2)
            assert (again.uids, again.attempt) == (uids, 2)
            again.succeeded()

    def test_odd_names_are_only_names(self, stage):
        """
        Names and values are bound or quoted, never pasted: spaces, quotes, percent signs, reserved words.
        """
        name, cols = "odd ;\"'`%s:name", {"uid": "the uid", "item": "50%", "weight": "select"}
        columns = [
            sa.Column(column, sa.String(50) if role == "item" else sa.BigInteger) for role, column in cols.items()
        ]
        table = sa.Table(name, sa.MetaData(), *columns)
        items = ["it's", 'a "b"', "c\\d", "100%s", ":x", "日本/ä.json"]
        stage.make(table, [dict(zip(cols.values(), (uid, item, 1), strict=True)) for uid, item in enumerate(items)])
        inventory = stage.open()
        job = "job'); DROP TABLE inventory; -- %s :x"

        batch = inventory.acquire_batch(job, name, cols, "run %s '1'", batch_weight=4)
        batch.give_back()
        again = inventory.acquire_batch(job, name, cols, batch_weight=4)

        assert (again.attempt, again.items, again.meta_table, again.job) == (2, items[:4], name, job)
        assert inventory.acquire_batch(job, name, cols).items == items[4:]

    def test_views_and_tables_of_other_schemas(self, stage):
        """
        API: `schema.table` names a table elsewhere on the server, and a view is as good as a table.
        """
        schema = {"sqlite": "main", "postgresql": "landing"}.get(stage.kind) or sa.make_url(stage.url).database
        if stage.kind == "postgresql":
            stage.execute("CREATE SCHEMA landing")
        stage.files([1, 2, 3], name=f"{schema}.files")
        stage.execute(f"CREATE VIEW {schema}.odd AS SELECT * FROM {schema}.files WHERE uid <> 2")
        inventory = stage.open()

        assert drain(inventory, "daily", f"{schema}.files") == [[1, 2, 3]]
        assert drain(inventory, "daily", f"{schema}.odd") == [[1, 3]]

    def test_locations_arrive_as_text(self, stage):
        """
        API: JSON and numbers as item are spelled as JSON spells them, in every attempt.
        """
        stage.execute("CREATE TABLE files (uid BIGINT, item JSON, weight BIGINT)")
        stage.execute("INSERT INTO files VALUES (1, :item, 1)", item='{"path": "/a"}')
        inventory = stage.open()

        batch = inventory.acquire_batch("daily", "files")
        batch.give_back()

        assert [json.loads(item) for item in batch.items] == [{"path": "/a"}]
        assert inventory.acquire_batch("daily", "files").items == batch.items


@pytest.fixture
def mariadb_database(mariadb_url):
    """
    An empty database of MariaDB, for what only it can hold.
    """
    from spark_batchintory.testing.servers import drop_database, fresh_database

    url = fresh_database(mariadb_url)
    with Stage(url) as stage:
        yield stage
    drop_database(url)


def flat(batches):
    """
    The uids of all batches, in their order.
    """
    return [uid for uids in batches for uid in uids]


def plain(values):
    """
    Bound values as a list, whatever style of parameters a driver has.
    """
    return list(values.values()) if isinstance(values, dict) else list(values)
