"""
A line of TCP to a server that listens on a Unix socket only, which can go half-open: nobody hangs up, nothing arrives.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa


class TcpLine:
    """
    A port of this machine in front of a PostgreSQL or MariaDB server.

    `freeze_at` is a part of what a client says: the call that says it next is half-open from then on, in both
    directions, either before that arrives or, with `arrives`, after. `frozen` counts such calls. With `is_mute` no call
    is answered at all.
    """

    def __init__(self, url: str) -> None:
        target = sa.make_url(url)
        is_postgresql = target.get_backend_name() == "postgresql"
        place = Path(str(target.query["host" if is_postgresql else "unix_socket"]))
        self._server = place / ".s.PGSQL.5432" if is_postgresql else place
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        here = target.difference_update_query(["host", "unix_socket"]).set(host="127.0.0.1", port=port)
        self.url = here.render_as_string(hide_password=False)
        self.freeze_at: bytes | None = None
        self.arrives = False
        self.is_mute = False
        self.frozen = 0
        self._open: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> TcpLine:
        return self

    def __exit__(self, *exception: object) -> None:
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=30)
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server))
            self._open += [client, server]
            is_frozen = threading.Event()
            if self.is_mute:
                is_frozen.set()
            for pump in ((self._requests, client, server, is_frozen), (self._replies, server, client, is_frozen)):
                self._threads.append(threading.Thread(target=pump[0], args=pump[1:], daemon=True))
                self._threads[-1].start()

    def _requests(self, client: socket.socket, server: socket.socket, is_frozen: threading.Event) -> None:
        for data in _heard(client):
            is_meant = self.freeze_at is not None and self.freeze_at in data
            if is_meant:
                self.freeze_at = None
                self.frozen += 1
            if is_meant or is_frozen.is_set():
                is_first = not is_frozen.is_set()
                is_frozen.set()
                if not (is_first and self.arrives):
                    continue
            with suppress(OSError):
                server.sendall(data)
        if not is_frozen.is_set():
            _hang_up(server)

    def _replies(self, server: socket.socket, client: socket.socket, is_frozen: threading.Event) -> None:
        for data in _heard(server):
            if not is_frozen.is_set():
                with suppress(OSError):
                    client.sendall(data)
        if not is_frozen.is_set():
            _hang_up(client)


def _heard(end: socket.socket) -> Iterable[bytes]:
    with suppress(OSError):
        while data := end.recv(65536):
            yield data


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
