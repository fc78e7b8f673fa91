"""
The folder of one run of the demo, and what lies where in it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import spark_batchintory as bi


@dataclass(frozen=True, slots=True)
class Place:
    """
    The folder of one run.
    """

    folder: Path

    @classmethod
    def made(cls, keep: str | os.PathLike[str] | None) -> Place:
        """
        The folder `keep`, or a temporary one.

        Raises
        ------
        ConfigurationError
            `keep` holds something already.
        """
        if keep is None:
            return cls(Path(tempfile.mkdtemp(prefix="batchintory-demo-")))
        folder = Path(keep).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise bi.ConfigurationError(f"the demo needs a new or empty folder, and {folder} holds something")
        return cls(folder)

    @property
    def landing(self) -> Path:
        """
        Where files arrive.
        """
        return self.folder / "landing"

    @property
    def spark(self) -> Path:
        """
        Where Spark keeps what it needs while it runs.
        """
        return self.folder / "spark"

    @property
    def spark_log(self) -> Path:
        """
        What Spark has to say.
        """
        return self.folder / "spark.log"

    def sink(self, job: str) -> str:
        """
        Where a job writes to.
        """
        return str(self.folder / "sink" / job)

    def remove(self) -> None:
        """
        Remove the folder and what lies in it.
        """
        shutil.rmtree(self.folder, ignore_errors=True)

    def farewell(self, good: bool, connection: str) -> str:
        """
        What to look at in a folder that stays, and by which connection.
        """
        if not good:
            return f"The demo went wrong. Its files are in {self.folder}; Spark's messages are in {self.spark_log}."
        setting = shlex.quote(f"SPARK_BATCHINTORY_INVENTORY_CONN={connection}")
        return f"Everything is in {self.folder}. To look at it:\nenv {setting} spark-batchintory status"
