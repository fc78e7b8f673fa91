"""
Passwords that a function returns, because they live for minutes only: OAuth tokens of Lakebase, IAM tokens of RDS.

A server looks at a password when somebody logs in, and not again: a connection that is open outlives it. So a password
is needed for each login, and asked for as seldom as that allows:

=========================================  ==========================================
the last one was asked for                 what a login gets
=========================================  ==========================================
less than `KEPT` ago                       that one
longer ago, or never                       a new one
whenever, and the server has refused it    a new one, once more for the same login
=========================================  ==========================================

Of threads that log in at once, one asks and the others wait for what it gets. Ages are those of this process' monotonic
clock; where that stood still (a machine that slept), the last row helps.

*Not* guaranteed: that a function is asked for each login. One whose passwords can be used once only is no use here.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from spark_batchintory.errors import ConfigurationError, InventoryUnavailable
from spark_batchintory.masking import mask

__all__ = ["KEPT", "LoginPasswords"]

T = TypeVar("T")

KEPT = 600.0
"""Seconds for which a password serves further logins. The shortest life we know of is that of RDS, 15 minutes; Lakebase
gives an hour unless asked for less."""


@dataclass(slots=True)
class _Last:
    """
    The password that was asked for last, and when.
    """

    password: str | None = None
    since: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    process: int = field(default_factory=os.getpid)


@dataclass(frozen=True, slots=True, repr=False)
class LoginPasswords:
    """
    A function that returns passwords, and the last few that it returned, which are secrets too.

    Attributes
    ----------
    function
        Returns a password that is good for 15 minutes or longer.
    setting
        Where it comes from, for messages.
    clock
        Seconds, monotonic.
    given
        The last few passwords, to be masked.
    """

    function: Callable[[], str]
    setting: str = field(default="INVENTORY_TOKEN", compare=False)
    clock: Callable[[], float] = field(default=time.monotonic, compare=False)
    given: deque[str] = field(default_factory=lambda: deque(maxlen=4), compare=False)
    _last: _Last = field(default_factory=_Last, compare=False)

    def login(self, connect: Callable[[str], T], is_refused: Callable[[Exception], bool]) -> T:
        """
        What `connect` returns for a password; for a new one where the one that was kept is refused.

        Parameters
        ----------
        is_refused
            Whether an error of `connect` may mean that the password was not taken.

        Raises
        ------
        ConfigurationError
            The function returns no text.
        InventoryUnavailable
            The function could not reach who gives out passwords: it raised an `OSError`.
        """
        while True:
            password, is_new = self._password()
            try:
                return connect(password)
            except Exception as error:  # a driver's own
                if not is_refused(error):
                    raise
                self._forget(password)
                if is_new:
                    raise

    def _password(self) -> tuple[str, bool]:
        last = self._last
        if last.process != os.getpid():  # forked, perhaps while another thread was asking, who is not in this process
            last.lock, last.process = threading.Lock(), os.getpid()
        with last.lock:
            if last.password is not None and self.clock() - last.since < KEPT:
                return last.password, False
            asked = self.clock()  # before the answer: that is when its life begins, at the latest
            last.password, last.since = self._asked(), asked
            return last.password, True

    def _forget(self, password: str) -> None:
        with self._last.lock:
            if self._last.password == password:
                self._last.password = None

    def _asked(self) -> str:
        try:
            password = self.function()
        except OSError as error:  # those of requests and of databricks-sdk are such, too
            told = mask(f"{type(error).__name__}: {error}", self.given)
            raise InventoryUnavailable(f"{self.setting}: no password to be had: {told}") from error
        if not isinstance(password, str):
            raise ConfigurationError(
                f"{self.setting} must return a password as text, not {type(password).__name__}; of a credential it is "
                "the token"
            )
        if password not in self.given:
            self.given.append(password)
        return password
