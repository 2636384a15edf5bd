"""Stands between a client and a server and cuts the connection in the middle of whatever is on it."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class CuttingProxy:
    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self.cuts = 0
        self.bytes_sent = 0
        # For each connection, in order: bytes after which it is cut; endless when used up.
        self.cut_after_sent: list[int] = []
        self.cut_after_received: list[int] = []
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        self.cut_all()
        for thread in self._threads:
            thread.join()

    def cut_all(self) -> None:
        with self._lock:
            for one in self._sockets:
                _end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the listener was closed
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()  # the server is away
                continue
            with self._lock:
                self._sockets += [client, server]
                sent = self.cut_after_sent.pop(0) if self.cut_after_sent else None
                received = self.cut_after_received.pop(0) if self.cut_after_received else None
            for source, target, budget in ((client, server, sent), (server, client, received)):
                thread = threading.Thread(target=self._carry, args=(source, target, budget, source is client))
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, target: socket.socket, budget: int | None, sending: bool) -> None:
        try:
            while data := source.recv(65536):
                if budget is not None:
                    data = data[:budget]
                    budget -= len(data)
                target.sendall(data)
                if sending:
                    self.bytes_sent += len(data)
                if budget == 0:
                    self.cuts += 1
                    break
        except OSError:
            pass  # the other direction ended first
        _end(source)
        _end(target)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
