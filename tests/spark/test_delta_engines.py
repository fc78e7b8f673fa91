"""
One Delta inventory in the hands of Spark, then of delta-rs, and back: all its history goes with it.
"""

from __future__ import annotations

import pytest

import spark_batchintory as bi
from spark_batchintory.errors import ConfigurationError
from tests.stage import Stage


def test_there_and_back_with_all_history(delta, delta_rs_runtime, tmp_path):
    """
    One table, one engine at a time: the other reads everything and is refused when it claims.
    """
    path = tmp_path / "inventory"
    with Stage(f"sqlite:///{tmp_path / 'files.db'}") as stage:
        stage.files(range(1, 10))
        kinds = {
            "spark": {"conn": f"delta:{path}", "meta": stage.url, "spark": delta},
            "delta-rs": {"conn": f"delta+rs:{path}", "meta": stage.url},
        }
        done = []
        for engine, other in (("spark", "delta-rs"), ("delta-rs", "spark"), ("spark", "delta-rs")):
            with bi.open_inventory(**kinds[engine]) as inventory:
                inventory.maintain(engine=engine)
                with inventory.acquire_batch("daily", "files", batch_count=2) as batch:
                    done.append((batch.id, batch.uids))
            with bi.open_inventory(**kinds[other]) as inventory:
                with pytest.raises(ConfigurationError, match=f"written by {engine}"):
                    inventory.acquire_batch("daily", "files")
                seen = inventory.batches("daily", "succeeded").to_dicts()
                assert [(row["id"], row["batch_id_start"]) for row in seen] == [(id, uids[0]) for id, uids in done]
                assert len(inventory.trace(uid=1).to_dicts()) == 1
        assert [uids for _, uids in done] == [[1, 2], [3, 4], [5, 6]]
