"""
The pinned uids of a batch and their one spelling (`spark_batchintory.uids`), and the digest of what they named.
"""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory.batch import Item, digest
from spark_batchintory.errors import ItemError
from spark_batchintory.uids import HIGHEST, LOWEST, UidSet

MEDIUMTEXT = 16 * 2**20 - 1
RUN = range(-500_000, 500_000)
STRIDE = range(7, 3_000_007, 3)

# Runs, strides and loners, near and far: the mixture decides which of the spellings is used.
PIECES = st.one_of(
    st.integers(LOWEST, HIGHEST).map(lambda uid: [uid]),
    st.builds(lambda first, length, step: range(first, first + length * step, step), *3 * [st.integers(1, 50)]),
    st.lists(st.integers(-2_000, 2_000), min_size=1, max_size=120),
    st.just([LOWEST, HIGHEST]),
)
UIDS = st.lists(PIECES, max_size=8).map(lambda pieces: sorted({uid for piece in pieces for uid in piece}))


@given(UIDS)
def test_a_set_is_what_was_written(uids: list[int]) -> None:
    """
    P4: the uids that attempt 2 reads are exactly those of attempt 1, whatever their shape, to both ends of 64 bits.
    """
    written = UidSet.of(uids).encode()

    assert list(UidSet.decode(written)) == uids
    assert UidSet.decode(written).encode() == written


@given(st.lists(st.integers(-100, 100), max_size=60), st.randoms())
def test_order_and_repetition_do_not_matter(uids: list[int], chance: random.Random) -> None:
    """
    P4: one set has one spelling, however its uids were collected.
    """
    mixed = [*uids, *uids]
    chance.shuffle(mixed)

    assert UidSet.of(mixed) == UidSet.of(uids)
    assert list(UidSet.of(mixed)) == sorted(set(uids))


@given(UIDS, st.integers(-2_100, 2_100))
def test_membership_and_length(uids: list[int], other: int) -> None:
    """
    P7: whether a batch holds a uid is answered from the pinned set, so a uid in a hole of its range is not in it.
    """
    pinned = UidSet.of(uids)

    assert len(pinned) == len(uids)
    assert all(uid in pinned for uid in uids)
    assert (other in pinned) == (other in uids)
    assert str(other) not in pinned
    assert None not in pinned


@pytest.mark.parametrize(
    ("uids", "text"),
    [
        ([], "r:"),
        ([0], "r:0"),
        ([-7], "r:-7"),
        ([10, 11, 12, 19], "r:10-12,19"),
        ([-3, -2, -1, 0, 1], "r:-3-1"),
        ([-9, -8, -7], "r:-9--7"),
        (range(1, 299, 3), "r:1-298/3"),
        (range(-10, 11, 5), "r:-10-10/5"),
        ([LOWEST, HIGHEST], f"r:{LOWEST},{HIGHEST}"),
        ([1, 5, 100], "r:1,5,100"),
    ],
    ids=str,
)
def test_small_sets_stay_legible(uids: list[int], text: str) -> None:
    """
    P7: people read this column; the spelling is part of what later versions must still read.
    """
    assert UidSet.of(uids).encode() == text
    assert list(UidSet.decode(text)) == list(uids)


@pytest.mark.parametrize(
    "text", ["z:eJwzNNAxNNIx1DHSMdExBgAQ6gJr", "r:10-17,19", "r:1-298/3"], ids=["compressed", "runs", "strides"]
)
def test_text_of_a_released_version_is_read(text: str) -> None:
    """
    P4: what is pinned today must mean the same set under every later version.
    """
    expected = {"z": [10, 22, 23, 25, 29, 32], "r:10-17,19": [*range(10, 18), 19], "r:1-298/3": list(range(1, 299, 3))}

    assert list(UidSet.decode(text)) == expected[text if text in expected else "z"]


@pytest.mark.parametrize(
    ("uids", "most"),
    [
        (RUN, 40),
        (STRIDE, 40),
        ([*RUN, 10**9], 60),
        ([uid for uid in range(100_000) if uid % 1_000], 2_000),
        ([2**62 + 977_777_777_777 * step for step in range(1_000)], 60),
    ],
    ids=["run", "stride", "run and a loner", "100 holes in 100,000", "snowflakes at equal distance"],
)
def test_regular_sets_cost_their_pieces_not_their_uids(uids: list[int], most: int) -> None:
    """
    P6: an inventory of long runs stays small, whatever the number of items.
    """
    assert len(UidSet.of(uids).encode()) <= most


@pytest.mark.parametrize(
    ("spread", "most_per_uid"), [(2, 1), (10, 2), (10**6, 5), (10**12, 9)], ids=lambda value: f"{value:.0e}"
)
def test_a_million_ragged_uids_fit_the_column(spread: int, most_per_uid: int) -> None:
    """
    P4, P6: the largest batch anyone makes can be pinned on every database: MySQL's MEDIUMTEXT ends at 16 MB.
    """
    chance, uid, uids = random.Random(spread), -5, []
    for _ in range(1_000_000):
        uid += chance.randint(1, spread)
        uids.append(uid)

    text = UidSet(uids).encode()

    assert len(text) <= most_per_uid * len(uids) < MEDIUMTEXT
    assert list(UidSet.decode(text)) == uids


def test_sparse_small_sets_are_no_longer_than_their_digits() -> None:
    """
    P6: thirty scattered ids cost thirty numbers and commas, and people can still read them.
    """
    uids = sorted(random.Random(1).sample(range(10**15), 30))

    assert UidSet.of(uids).encode() == "r:" + ",".join(map(str, uids))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10-12",
        "x:1",
        "r",
        "r:1,,2",
        "r:1-",
        "r:a",
        "r:1.5",
        "r:1-10/0",
        "r: 1",
        "r:1-2-3",
        "z:",
        "z:###",
        "z:AAAA",
        "z:éü",
        "z:eJwzNNAxNNIx1",
        "r:5-1",
        "r:19,10",
        "r:1,1",
        "r:1-5,3-9",
        f"r:{HIGHEST + 1}",
        f"r:{LOWEST - 1}",
        "r:" + "9" * 5000,
    ],
    ids=lambda text: text[:16] or "empty",
)
def test_damaged_text_is_an_error_that_shows_it(text: str) -> None:
    """
    P4: what `encode` cannot have written is never read as some other set, and the error says what stands there.
    """
    with pytest.raises(ItemError, match="cannot be read") as caught:
        UidSet.decode(text)
    assert repr(text)[:20] in str(caught.value)
    assert len(str(caught.value)) < 300


@given(UIDS.filter(lambda uids: len(uids) > 40), st.randoms())
def test_a_cut_compressed_text_is_an_error(uids: list[int], chance: random.Random) -> None:
    """
    P4: a column that was cut off (a tool, a copy with a shorter type) is noticed, not read as fewer uids.
    """
    text = UidSet.of(sorted(chance.sample(range(10**9), 40)) + uids).encode()
    if text.startswith("z:"):
        with pytest.raises(ItemError):
            UidSet.decode(text[: chance.randrange(2, len(text))])


ITEMS = [Item(1, "a/b", 10), Item(2, "c d", Decimal("0.5")), Item(3, "ü", None)]


@pytest.mark.parametrize(
    "changed",
    [
        ITEMS[:-1],
        [*ITEMS[:-1], Item(4, "ü", None)],
        [Item(1, "a/c", 10), *ITEMS[1:]],
        [Item(1, "a/b", 11), *ITEMS[1:]],
        [*ITEMS[:-1], Item(3, "ü", 0)],
        [ITEMS[1], ITEMS[0], ITEMS[2]],
        [Item(1, "a/bc", 10), Item(2, " d", Decimal("0.5")), ITEMS[2]],
        [Item(1, "a/b", 1), Item(2, "c d", 0), ITEMS[2]],
        [Item(1, "a/b 10\n2 3 c d", Decimal("0.5")), ITEMS[2]],
    ],
    ids=["one less", "uid", "location", "weight", "NULL is not 0", "order", "other border", "weights", "two in one"],
)
def test_any_change_of_the_rows_changes_the_digest(changed: list[Item]) -> None:
    """
    P4: attempt 2 notices a row that was replaced, re-weighed or lost since attempt 1.
    """
    assert digest(changed) != digest(ITEMS)


def test_the_digest_does_not_depend_on_the_driver() -> None:
    """
    P4: SQLite's 10.0 is PostgreSQL's Decimal('10.00'); a batch claimed through one is readable through the other.
    """
    spelled = [Item(1, "a/b", 10.0), Item(2, "c d", Decimal("0.500")), Item(3, "ü", None)]

    assert digest(spelled) == digest(ITEMS)
    assert len(digest(ITEMS)) == 64


def test_the_digest_of_a_version_stays_what_it_is() -> None:
    """
    P4: digests are kept for ever; if this one moves, every failed batch of an existing inventory becomes unreadable.
    """
    assert digest([Item(1, "a", 2)]) == "9e22aa4ad7be9a431cb0c82c8d6b487b32226b8252fe650872218a30c62bf1cf"
