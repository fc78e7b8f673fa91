"""
Which weights can be used, and that their sums are exact (`spark_batchintory.weights`).
"""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_batchintory.weights import CEILING, add, exact_weight, total_weight, weight_text

INTEGERS = st.integers(0, 10**20)
FLOATS = st.floats(0, 1e20, allow_nan=False)
DECIMALS = st.decimals(0, 10**20, allow_nan=False, allow_infinity=False)
USABLE = st.one_of(INTEGERS, FLOATS, DECIMALS)
UNUSABLE = (
    *(None, math.nan, math.inf, -math.inf, -1, -0.1, -(10**30), "5", "", b"5", [], ...),
    *(Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Decimal("Infinity"), Decimal("-0.1")),
    *(CEILING, float(CEILING), Decimal(CEILING), 1e308, Decimal("1E+500")),
)


def fraction(weight: object) -> Fraction:
    """
    The value people see: a float is the decimal number it prints as.
    """
    return Fraction(repr(weight)) if isinstance(weight, float) else Fraction(weight)


@given(USABLE)
def test_a_usable_weight_keeps_its_value(weight: object) -> None:
    """
    P6: nothing is rounded on the way in.
    """
    exact = exact_weight(weight)

    assert type(exact) in (int, Decimal)
    assert Fraction(exact) == fraction(weight)


@given(st.lists(USABLE, max_size=30))
def test_sums_are_exact_in_any_order_and_mixture(weights: list[object]) -> None:
    """
    P6: `batch_weight` is the sum as one would do it on paper.
    """
    total = total_weight(weights)

    assert total is not None
    assert Fraction(total) == sum(map(fraction, weights), Fraction(0))
    assert total == total_weight(reversed(weights))


@given(USABLE, USABLE)
def test_addition_is_exact(left: object, right: object) -> None:
    """
    P6: so is every step of the running sum that planning keeps.
    """
    assert Fraction(add(exact_weight(left), exact_weight(right))) == fraction(left) + fraction(right)


@pytest.mark.parametrize("weight", UNUSABLE, ids=lambda weight: repr(weight)[:24])
def test_an_unusable_weight_is_none_and_never_an_error(weight: object) -> None:
    """
    P6: one bad row must not stop a job, whatever a driver returned for it.
    """
    assert exact_weight(weight) is None
    assert total_weight([1, weight]) is None
    assert total_weight([weight]) is None
    assert isinstance(weight_text(weight), str)


@pytest.mark.parametrize("weight", [0, 0.0, -0.0, Decimal(0), Decimal("0E-20"), 5e-324, CEILING - 1, True], ids=repr)
def test_the_edges_of_what_is_usable(weight: object) -> None:
    """
    P6: zero, the smallest float and the largest number the inventory holds are weights like others.
    """
    assert Fraction(exact_weight(weight)) == fraction(weight)


@pytest.mark.parametrize(
    ("weights", "total"),
    [
        ([], 0),
        ([0.1, 0.2], Decimal("0.3")),
        ([0.1] * 10, 1),
        ([10**18, 1], 10**18 + 1),
        ([10**18, Decimal("0.000000001")], Decimal("1000000000000000000.000000001")),
        ([1e22, 1], 10**22 + 1),
        ([2**53, 1.0], 2**53 + 1),
        ([CEILING - 1, 1], None),
        ([CEILING - 1, Decimal("0.999999999")], Decimal("9" * 29 + "." + "9" * 9)),
    ],
    ids=str,
)
def test_sums_that_floats_get_wrong(weights: list[object], total: object) -> None:
    """
    P6: no drift on decimals, no digits lost beyond 2**53, and a sum the inventory cannot hold is not known.
    """
    with localcontext(Context(prec=60)):
        assert total_weight(weights) == total


def test_a_low_precision_around_us_changes_nothing() -> None:
    """
    P6: sums do not follow the decimal context of the program they run in.
    """
    with localcontext(Context(prec=3)):
        assert total_weight([Decimal("1234.5678"), Decimal("0.0001")]) == Decimal("1234.5679")
        assert add(10**18, Decimal("0.5")) == Decimal("1000000000000000000.5")


@pytest.mark.parametrize("digits", [500, 1_500, 4_000])
def test_a_decimal_with_a_very_long_tail_never_stops_a_job(digits: int) -> None:
    """
    P6: PostgreSQL's NUMERIC may have thousands of decimal places; such a weight is summed or unusable, not an error.
    """
    tail = Decimal("1." + "7" * digits)

    assert total_weight([tail, 1]) in (None, Decimal("2." + "7" * digits))


def test_a_float_of_another_library_is_a_float() -> None:
    """
    P6: numpy's float64 is a float that prints as ``np.float64(0.1)``; it weighs one tenth all the same.
    """

    class Float64(float):
        def __repr__(self) -> str:
            return f"np.float64({float(self)!r})"

    assert exact_weight(Float64(0.1)) == Decimal("0.1")
    assert total_weight([Float64(0.1), Float64(0.2)]) == Decimal("0.3")
    assert weight_text(Float64(0.5)) == "0.5"


@given(st.one_of(INTEGERS, st.integers(0, 10**9).map(lambda n: Decimal(n).scaleb(-4))))
def test_one_value_has_one_spelling(weight: int | Decimal) -> None:
    """
    P4: the digest compares spellings, so the type a driver chose and its trailing zeros must not show.
    """
    spellings = {weight_text(weight), weight_text(Decimal(f"{weight:f}" if isinstance(weight, Decimal) else weight))}
    spellings.add(weight_text(Decimal(weight).quantize(Decimal("1e-7"))) if weight < 10**20 else weight_text(weight))
    if Fraction(repr(float(weight))) == Fraction(weight):
        spellings.add(weight_text(float(weight)))

    assert len(spellings) == 1
    assert Fraction(spellings.pop()) == Fraction(weight)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        *(
            (5, "5"),
            (5.0, "5"),
            (Decimal("5.10"), "5.1"),
            (100, "100"),
            (Decimal("1E+3"), "1000"),
            (1e22, "1" + "0" * 22),
        ),
        *((0, "0"), (-0.0, "0"), (Decimal("0.00"), "0"), (1e-7, "0.0000001"), (-3, "-3"), (None, "")),
    ],
    ids=repr,
)
def test_spellings_that_are_kept_for_ever(weight: object, text: str) -> None:
    """
    P4: digests in existing inventories were made of these.
    """
    assert weight_text(weight) == text


@given(USABLE, USABLE)
def test_different_values_have_different_spellings(left: object, right: object) -> None:
    """
    P4: a weight that changed is noticed.
    """
    assert (weight_text(left) == weight_text(right)) == (fraction(left) == fraction(right))
