"""
Secrets in texts: what never survives, and what stays readable.
"""

from __future__ import annotations

import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spark_batchintory.masking import EXACT_FROM, MASK, is_secret_name, mask

SPELLINGS = {
    "as it is": str,
    "quoted, all of it": lambda secret: quote(secret, safe=""),
    "quoted, slash kept": quote,
    "quoted as SQLAlchemy does": lambda secret: quote(secret, safe=" +"),
    "quoted as a form": quote_plus,
    "quoted in lower case": lambda secret: quote(secret, safe="").lower() if secret.islower() else quote(secret),
    "every byte encoded": lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
    "every second character encoded": lambda secret: "".join(
        "".join(f"%{byte:02X}" for byte in letter.encode()) if at % 2 else letter for at, letter in enumerate(secret)
    ),
    "repr": lambda secret: repr(secret)[1:-1],
    "ascii": lambda secret: ascii(secret)[1:-1],
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "HTML": html.escape,
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=EXACT_FROM, max_size=20)
# Letters that masks, URLs and patterns are made of, so that pieces meet and form a secret anew.
awkward = st.text(alphabet="*a%2=@:/ '\"\\", min_size=EXACT_FROM, max_size=8)


@given(secrets | awkward, texts | awkward, texts | awkward, st.sampled_from(sorted(SPELLINGS)))
@example("****", "*", "*", "as it is")
@example("a***", "a", "", "as it is")
@example("=***", "password", "x", "as it is")
@example("open sesame", "", "", "quoted as a form")
def test_given_secret_never_survives(secret, before, after, spelling):
    """
    Guards that no password is stored or shown: a secret of four or more characters is gone wherever and however it
    stood.
    """
    spelled = SPELLINGS[spelling](secret)

    masked = mask(before + spelled + after, [secret])

    assert secret not in masked
    assert spelled not in masked


@given(st.lists(secrets | awkward, max_size=4), texts | awkward)
def test_several_secrets_that_overlap_are_all_masked(several, text):
    """
    Guards that secrets which share characters, or contain each other, do not save each other; their order plays no
    part.
    """
    text = text + "".join(several) + " ".join(several)

    masked = mask(text, several)

    assert not [secret for secret in several if secret in masked]
    assert masked == mask(text, reversed(several))


@given(st.text(max_size=60))
def test_masking_twice_changes_nothing_more(text):
    """
    Guards that an error which is masked where it is raised and again where it is stored reads the same.
    """
    assert mask(mask(text)) == mask(text)


@given(st.text(alphabet="abcXYZ019!$%+,.:@/-_", max_size=20), st.sampled_from(["postgresql+psycopg", "jdbc:mysql"]))
def test_password_in_a_url_is_masked_unnamed(password, scheme):
    """
    Guards that the password of any ``scheme://user:password@host`` goes, whatever characters it holds.
    """
    masked = mask(f"cannot reach {scheme}://ann:Q{password}Q@db.example:5432/prod today")

    assert masked == f"cannot reach {scheme}://ann:{MASK}@db.example:5432/prod today"


@pytest.mark.parametrize(
    "text",
    [
        "jdbc:postgresql://h/d?user=ann&password=HUSH&ssl=true",
        "host=h dbname=d password=HUSH",
        "connect(host='h', password='HUSH AND \\'HUSH', user='ann')",
        'conf.set("fs.s3a.secret.key", "HUSH")',
        "fs.azure.account.key.acct.dfs.core.windows.net=HUSH==",
        "aws_secret_access_key = HUSH/HUSH+HUSH",
        "{'user': 'ann', 'password': 'HUSH'}",
        "{'password': b'HUSH'}",
        r'{"inner": "{\"token\": \"HUSH \"}"}',
        '{"apiKey": "HUSH, HUSH"}',
        "PWD={HUSH;HUSH};UID=ann",
        "https://acct.blob.core.windows.net/c/f?sv=2022&sig=HUSH%3D",
        "Authorization: Bearer HUSHHUSH.HUSH-HUSH",
        "password='HUSH and the text was cut her",
        "PASSWORD=HUSH",
        "s3://KEY:HUSH/HUSH@bucket/path",
    ],
)
def test_values_after_telling_names_are_masked(text):
    """
    Guards stored tracebacks and messages of drivers, in which nobody told us the secret.
    """
    assert "HUSH" not in mask(text)
    assert MASK in mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE inventory SET token=%(token)s, status=%(status)s::VARCHAR WHERE token = ? AND token=%s",
        "abfss://container@account.dfs.core.windows.net/landing/a=1/f.json",
        "hdfs://namenode:8020/landing/ann@example.org/f.json",
        "s3://bucket/landing/2013-01-01T10:00.json",
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
        "if token == other: raise LeaseLost",
        "batch 17 of job bronze_events: file not found",
    ],
)
def test_ordinary_texts_are_left_alone(text):
    """
    Guards that errors stay useful: SQL with its placeholders, paths and ids are shown as they are.
    """
    assert mask(text) == text


def test_short_secret_is_masked_as_a_word_only():
    """
    Guards that a two-letter password neither stands in a log nor turns it into a riddle.
    """
    assert mask("password authentication failed for 'ab', table abc", ["ab"]) == (
        "password authentication failed for '***', table abc"
    )


def test_known_secret_goes_as_a_whole():
    """
    Guards that the net for unknown secrets does not tear a known one apart: one with a space leaves no rest behind.
    """
    assert mask("password=open sesame host=h", ["open sesame"]) == "password=*** host=h"


def test_masks_do_not_put_a_secret_together():
    """
    Guards the promise also for a secret that looks like what masking leaves.
    """
    assert "=***" not in mask("password=x", ["=***"])


def test_empty_secrets_are_ignored():
    """
    Guards that an unset password does not put a mask between all characters.
    """
    assert mask("as it was", ["", "*", "***"]) == "as it was"


@pytest.mark.parametrize("text", ["a" * 200_000, "://" * 5_000, "password" * 20_000, "token " * 20_000, "%" * 100_000])
def test_long_texts_take_no_time(text):
    """
    Guards that a failing batch with a huge message is stored at once: no pattern backtracks without end.
    """
    started = time.process_time()
    mask(text, ["p%40ss word", "\\" * 40])

    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("name", "secret"),
    [("sslpassword", True), ("token", True), ("pass", True), ("passfile", False), ("sslmode", False)],
)
def test_secret_names(name, secret):
    """
    Guards that URLs are shown with their harmless parameters and without the others.
    """
    assert is_secret_name(name) is secret
