"""
What a run is about: which databases, how much, for how long, and what must have happened for it to mean anything.
"""

from __future__ import annotations

from dataclasses import dataclass

DATABASES = ("sqlite", "postgresql", "mariadb", "delta-rs")
SETTINGS = {
    "plain": DATABASES,
    "serializable": ("postgresql", "mariadb"),
    "two-servers": ("sqlite", "postgresql", "mariadb"),
    "pooled": ("postgresql",),
}
"""Setting → the databases it means something on; SQLite is serial whatever is asked, and has no sessions to pool."""

JOB, TABLE = "soak", "files"
WORKERS = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """
    How fast things go in a run.

    Attributes
    ----------
    leases
        Seconds, from which each acquire chooses.
    margin
        Seconds after the end of a lease before others take the batch: what is allowed for clocks.
    patience
        Seconds for what is left to be done at the end.
    items
        The least and the most of an acquire's `batch_count`; its `batch_weight`, if any, is 6 times as much.
    """

    leases: tuple[float, ...]
    margin: float
    patience: float
    items: tuple[int, int]


QUICK = Pace((0.7, 1.0, 1.5, 2.0, 3.0), 0.0, 90.0, (30, 100))
STEADY = Pace((6.0, 8.0, 10.0), 5.0, 240.0, (300, 1000))
"""For Delta, where claim, beat and end are a commit each, and a worker's clock may be 5 s from the storage's."""


@dataclass(frozen=True, slots=True)
class Demands:
    """
    How often each disturbance must really have happened.
    """

    kills: int
    rescues: int
    refused: int
    late: int


@dataclass(frozen=True, slots=True)
class Terms:
    """
    One run; `pause` is the mean time between two kills in seconds.
    """

    database: str
    setting: str
    seed: int
    items: int
    seconds: float
    demands: Demands
    pause: float

    @property
    def pace(self) -> Pace:
        """
        As fast as the inventory's place goes.
        """
        return STEADY if self.database == "delta-rs" else QUICK

    @property
    def title(self) -> str:
        return f"soak database={self.database} setting={self.setting} seed={self.seed} items={self.items}"


FULL = Demands(kills=100, rescues=50, refused=20, late=20)
SHORT = Demands(kills=8, rescues=5, refused=2, late=10)
SHORT_ITEMS, SHORT_SECONDS = 2500, 90.0
