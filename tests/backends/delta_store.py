"""
A Delta inventory as any reader of the table sees it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.compute as pc

from spark_batchintory.backends.delta_inventory import DeltaInventory
from spark_batchintory.backends.delta_rows import BATCH_COLUMNS

JSON = {"job_result_item", "config", "replaces"}


def stepped(table: Any, clock: Any) -> DeltaInventory:
    """
    An inventory on `table`, whose storage dates files by the same clock, so that no clock has to be allowed for.

    Nobody waits in line: who comes first is to be decided by the commit.
    """
    table.storage_time = clock
    table.in_line = lambda job_key: nullcontext()
    return DeltaInventory(table, clock=clock, allowed=lambda lease: timedelta(0))


def another_name(path: str, number: int) -> str:
    """
    The same path, differently spelled for each number: what has another name shares no queue.
    """
    folder, name = path.rsplit("/", 1)
    return f"{folder}{'/.' * number}/{name}"


class RawDelta:
    """
    `steps.RawStore` on the table at a path.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def batches(self) -> list[dict[str, Any]]:
        rows = self._records(["open", "finished"], "id")
        ends = self._beats()
        found = [{name: self._plain(name, row[name]) for name in BATCH_COLUMNS} for row in rows]
        for row in found:
            if row["status"] == "running" and row["token"] in ends:
                row["due_at"] = max(row["due_at"], ends[row["token"]])
        return found

    def attempts(self) -> list[dict[str, Any]]:
        return [
            {
                **{name: row[name] for name in ("batch_id", "attempt", "token", "worker")},
                "started": row["processing_start"],
                "ended": row["processing_end"],
                "outcome": row["status"],
                "error": row["logging"],
                "skipped": self._detail(row).get("skipped"),
            }
            for row in self._records(["attempt"], "batch_id", "attempt")
        ]

    def publications(self) -> list[dict[str, Any]]:
        return [
            {
                "job_id": row["job_id"],
                "number": row["publish_number"],
                "batch_id": row["id"],
                "replaces": row["replaces"] and json.loads(row["replaces"]),
                "published_at": row["processing_end"],
            }
            for row in self._records(["finished"], "job_id", "publish_number")
            if row["publish_number"] is not None
        ]

    def jobs(self) -> list[dict[str, Any]]:
        found = []
        for row in self._records(["job"], "id"):
            detail = self._detail(row)
            look_at = detail["look_at"] and datetime.fromisoformat(detail["look_at"])
            found.append({**{name: row[name] for name in ("id", "meta_table", "job")}, **detail, "look_at": look_at})
        return found

    def acts(self) -> list[dict[str, Any]]:
        rows = [(self._detail(row), row) for row in self._records(["act"], "job_id", "turn")]
        rows.sort(key=lambda pair: (pair[1]["job_id"], pair[1]["turn"], pair[0]["position"]))
        return [
            {
                **{"job_id": row["job_id"], "batch_id": row["batch_id"], "act": row["kind"]},
                **{"at": row["processing_end"], "actor": row["worker"]},
                **{"reason": detail["reason"], "detail": detail["detail"]},
            }
            for detail, row in rows
        ]

    def gaps(self) -> list[dict[str, Any]]:
        found = []
        for row in self._records(["open gap", "closed gap"], "job_id", "batch_id_start", "id"):
            detail = self._detail(row)
            number, time = detail["mark"] or (None, None)
            found.append(
                {
                    **{"id": row["id"], "job_id": row["job_id"]},
                    **{"uid_from": row["batch_id_start"], "uid_to": row["batch_id_end"], "held": detail["held"]},
                    **{"first_seen": row["processing_start"], "closed": row["processing_end"]},
                    **{"closed_as": row["status"], "evidence": detail["evidence"]},
                    **{"mark_number": number, "mark_time": time and type(row["processing_start"]).fromisoformat(time)},
                }
            )
        return found

    def plant_foreign_table(self) -> None:
        deltalake.write_deltalake(self.path, pa.table({"id": [1], "shelf": ["top"]}))

    def foreign_rows(self) -> int:
        return deltalake.DeltaTable(self.path).to_pyarrow_table(columns=["id", "shelf"]).num_rows

    def pretend_version(self, version: int) -> None:
        table = deltalake.DeltaTable(self.path)
        table.alter.set_table_properties({"batchintory.version": str(version)}, raise_if_not_exists=False)

    def _records(self, kinds: Sequence[str], *order: str) -> list[dict[str, Any]]:
        try:
            table = deltalake.DeltaTable(self.path)
        except deltalake.exceptions.TableNotFoundError:
            return []
        found = table.to_pyarrow_table(filters=pc.field("record").isin(kinds)).to_pylist()
        return sorted(found, key=lambda row: tuple((row[name] is None, row[name]) for name in order))

    def _beats(self) -> dict[str, Any]:
        try:
            rows = deltalake.DeltaTable(f"{self.path}_beat").to_pyarrow_table().to_pylist()
        except deltalake.exceptions.TableNotFoundError:
            return {}
        return {row["token"]: row["until"] for row in sorted(rows, key=lambda row: row["until"])}

    @staticmethod
    def _plain(name: str, value: Any) -> Any:
        return json.loads(value) if name in JSON and value is not None else value

    @staticmethod
    def _detail(row: Any) -> dict[str, Any]:
        return {} if row["detail"] is None else json.loads(row["detail"])
