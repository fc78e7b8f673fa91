"""
How much a run measures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

__all__ = ["Effort"]


@dataclass(frozen=True, slots=True)
class Effort:
    """
    How much is measured; `quick` is for trying the runner, its figures say little.
    """

    sizes: tuple[int, ...] = (100_000, 1_000_000, 5_000_000)
    acquires: int = 60
    claims: int = 4000
    storms: int = 5
    history: int = 20_000
    histories: tuple[int, ...] = (10_000, 1_000_000)
    delta_histories: tuple[int, ...] = (100, 10_000)
    answers: int = 15
    history_acquires: int = 200
    processes: int = 30
    statement_rounds: int = 15
    bursts: int = 8
    finishes: int = 300
    rescues: int = 100
    crowd_claims: int = 4000
    crowd_storms: int = 5
    app_ids: tuple[int, ...] = (0, 10_000, 100_000, 500_000)
    appends: int = 7
    pending: tuple[int, ...] = (100_000, 5_000_000)
    plans: int = 15
    delta_commits: int = 3_500
    delta_rounds: int = 15
    delta_batches: int = 60
    delta_claims: int = 200
    loads: dict[int, int] = field(default_factory=lambda: {10: 75, 1_000: 7, 10_000: 3, 50_000: 2})
    folders: tuple[int, ...] = (1_000, 10_000, 50_000)
    streams: int = 5
    frame_items: int = 1_000_000
    frames: int = 5
    memory_paths: int = 50_000
    overview_batches: int = 100_000
    overviews: int = 5
    scanned: int = 100_000
    scans: int = 3
    peer_claims: int = 4000
    peer_storms: int = 5
    sums: int = 30
    scale_rows: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    scale_acquires: int = 60
    scale_histories: tuple[int, ...] = (1_000, 1_000_000)
    scale_crowds: tuple[int, ...] = (1, 64, 200)
    scale_claims: int = 2000
    scale_storms: int = 2
    scale_items: tuple[int, ...] = (10_000, 100_000, 1_000_000)

    def large(self) -> Effort:
        """
        With the largest tables of `scaling` too, for which there must be some 40 GB of disk, and twenty minutes.
        """
        return replace(
            self,
            scale_rows=(*self.scale_rows, 100_000_000),
            scale_histories=(*self.scale_histories, 10_000_000),
        )

    @classmethod
    def quick(cls) -> Effort:
        """
        Everything once, in about a minute.
        """
        return cls(
            sizes=(20_000, 100_000),
            acquires=10,
            claims=400,
            storms=2,
            history=500,
            histories=(100, 1_000),
            delta_histories=(10, 100),
            answers=3,
            history_acquires=30,
            processes=5,
            statement_rounds=3,
            bursts=2,
            finishes=40,
            rescues=20,
            crowd_claims=400,
            crowd_storms=2,
            app_ids=(0, 10_000),
            appends=3,
            pending=(20_000,),
            plans=3,
            delta_commits=60,
            delta_rounds=4,
            delta_batches=12,
            delta_claims=20,
            loads={10: 3, 1_000: 2},
            folders=(1_000,),
            streams=2,
            frame_items=20_000,
            frames=2,
            memory_paths=1_000,
            overview_batches=2_000,
            overviews=2,
            scanned=3_000,
            scans=1,
            peer_claims=400,
            peer_storms=2,
            sums=6,
            scale_rows=(20_000, 100_000),
            scale_acquires=10,
            scale_histories=(100, 10_000),
            scale_crowds=(1, 8, 16),
            scale_claims=400,
            scale_storms=1,
            scale_items=(1_000, 10_000),
        )
