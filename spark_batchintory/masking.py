"""
Takes secrets out of texts before they are logged, raised, printed or stored.

Two nets, one behind the other. *Given secrets*: a secret of at least `EXACT_FROM` characters never survives, wherever
it stands, also percent-encoded in whole or in part, or as Python, JSON or HTML would escape it. Shorter ones are only
masked where they stand as a word of their own: blotting out every "ab" would wreck the text and give the secret away
by its gaps. *What looks like a secret*: the password of ``scheme://user:password@``, the value after a name such as
``password=``, ``pwd=``, ``"token":`` or ``fs.azure.account.key…=``, and bearer tokens. This net is wide on purpose: a
masked file name is a nuisance, a password in a table is an incident.

Not guaranteed: a secret that nobody named and that no such mark precedes, and the rest of an unnamed one that holds
spaces. Mask before a text is cut to a length, since half a secret is not recognised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

__all__ = ["MASK", "is_secret_name", "mask"]

MASK = "***"
"""What stands in a secret's place."""

EXACT_FROM = 4
"""Secrets of so many characters are masked inside of words as well; must exceed the length of `MASK`."""

_NAME = r"""(?:
    pass(?:word|wd|phrase) | pwd | secret | token | credential | signature | \b(?:pass|sig)\b
    | (?:api|access|account|private|shared|client|server|session|encryption)[_.\-]?key(?![_.\-]?id)
)"""

_SECRET_NAME = re.compile(_NAME, re.IGNORECASE | re.VERBOSE)

# host:8020/a@b.json is a port and a path, no password.
_USERINFO = re.compile(r"(://[^\s:/@?#]*):(?!\d{1,5}/)\S{0,4096}@")

# What stands for a value in SQL text is not one: "SET token=%(token)s" stays readable.
_NAMED_VALUE = re.compile(
    rf"""
    (?P<name> {_NAME} [\w.\-]{{0,80}}
        (?: \s*=(?!=)\s* | \\?['"]\s*[:=]\s* | \\?['"]\s*,\s*(?=\\?['"]) ) )
    (?! (?: \?|%s|%\(\w+\)s ) (?:[\s,):]|$) )
    (?: \\".*?(?:\\"|$)
      | [bru]{{0,2}}"(?:[^"\\\n]|\\.)*"?
      | [bru]{{0,2}}'(?:[^'\\\n]|\\.)*'?
      | \{{[^}}\n]*\}}?
      | [^\s&;"'<>]+ )
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)

_BEARER = re.compile(r"\b(Bearer\s+)[\w.~+/=\-]{8,}|\bdapi[0-9a-f]{32}\b", re.IGNORECASE)


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """
    Return `text` without `secrets` and without what looks like one.

    Pure and deterministic: the order of `secrets` does not matter. After it, no secret of at least `EXACT_FROM`
    characters is part of the text, in no spelling listed above; empty ones are ignored.

    Parameters
    ----------
    text
        Any text: a message, a traceback, a connection string.
    secrets
        Passwords and tokens that are known.

    Examples
    --------
    >>> mask("no route to postgresql://ann:s3cret@db/prod?sslpassword=k3y")
    'no route to postgresql://ann:***@db/prod?sslpassword=***'
    >>> mask("login failed: p%40ssword1", ["p@ssword1"])
    'login failed: ***'
    """
    known = sorted(set(secrets), key=lambda secret: (-len(secret), secret))
    long = _any_of(secret for secret in known if len(secret) >= EXACT_FROM)
    short = _any_of(secret for secret in known if 0 < len(secret) < EXACT_FROM and secret not in MASK)

    # Known secrets go first, or the patterns would take a part of one and leave the rest; and once more at the end, for
    # one that the masks themselves put together.
    masked = _erase(long, text)
    if short:
        masked = re.sub(rf"(?<![\w%])(?:{short})(?!\w)", MASK, masked)
    return _erase(long, _without_lookalikes(masked))


def is_secret_name(name: str) -> bool:
    """
    Whether a parameter of this name holds a secret.

    >>> [is_secret_name(name) for name in ("sslpassword", "aws_secret_access_key", "aws_access_key_id", "sslmode")]
    [True, True, False, False]
    """
    return _SECRET_NAME.search(name) is not None


def _without_lookalikes(text: str) -> str:
    text = _USERINFO.sub(rf"\1:{MASK}@", text)
    text = _NAMED_VALUE.sub(rf"\g<name>{MASK}", text)
    return _BEARER.sub(rf"\1{MASK}", text)


def _erase(pattern: str, text: str) -> str:
    """
    Replace matches until none is left; ends because each match is longer than `MASK`.
    """
    while pattern and (shorter := re.sub(pattern, MASK, text)) != text:
        text = shorter
    return text


def _any_of(secrets: Iterable[str]) -> str:
    return "|".join(_in_any_spelling(secret) for secret in secrets)


def _in_any_spelling(secret: str) -> str:
    # Imported here, as in other modules what only few calls need: a command waits for each import.
    import html

    spellings = {secret, repr(secret)[1:-1], ascii(secret)[1:-1], json.dumps(secret)[1:-1], html.escape(secret)}
    longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
    return "|".join("".join(map(_percent_encoded_or_not, spelling)) for spelling in longest_first)


def _percent_encoded_or_not(character: str) -> str:
    """
    Match one character as it is or percent-encoded, whichever of them the writer of a URL thought worth encoding.
    """
    encoded = "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
    plus = r"|\+" if character == " " else ""
    return f"(?:{re.escape(character)}|(?i:{encoded}){plus})"
