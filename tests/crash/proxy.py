"""A network between processes that can break: a TCP proxy with a port of its own for each pair of client and server.

``Network.route`` is what ``embedded.Shop`` takes as its ``route``. Each pair can be cut (connections are reset, new
ones refused), black-holed (bytes vanish, connections stay, new ones are accepted and silent), delayed (each way),
healed, and led to another server.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from local_servers.settings import HOST, free_port

_CHUNK = 65536
#: Closing with this option set sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)
#: Bytes that wait for a slow receiver before the sender is made to wait too.
_FULL = 4 * 1024 * 1024


class Network:
    """All pairs, served by one thread from the first ``route`` to ``close``."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[str, str], Pair] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)

    def route(self, process: str, server: str, url: str) -> str:
        """The same URL through a port of its own."""
        parts = urlsplit(url)
        if not parts.hostname or not parts.port:
            raise ValueError(f"{url} names no host and port")
        with self._lock:
            pair = Pair((parts.hostname, parts.port), self._selector)
            self.pairs[process, server] = pair
            if not self._thread.is_alive():
                self._thread.start()
        self._notify()
        return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{pair.port}")))

    @contextlib.contextmanager
    def broken(self, process: str, server: str, how: str, seconds: float = 0.0) -> Iterator[None]:
        """While the block runs the pair is ``cut``, ``black-holed`` or ``delayed`` (by `seconds` each way)."""
        pair = self.pairs[process, server]
        self._change(pair, how, seconds)
        try:
            yield
        finally:
            self._change(pair, "whole", 0.0)

    def delay(self, process: str, server: str, seconds: float) -> None:
        """From now on what the pair says takes so long each way; 0 is no delay."""
        self._change(self.pairs[process, server], "delayed", seconds)

    def remove(self, process: str, server: str) -> None:
        """Cut the pair for ever: what is still under way between them never arrives."""
        with self._lock:
            self.pairs.pop((process, server)).close()
        self._notify()

    def lead(self, old: int, new: int) -> None:
        """Every pair that led to the server on port `old` leads to the one on `new`; its connections are reset."""
        with self._lock:
            for pair in self.pairs.values():
                pair.lead(old, new)
        self._notify()

    def close(self) -> None:
        self._closing = True
        self._notify()
        if self._thread.is_alive():
            self._thread.join()
        for pair in self.pairs.values():
            pair.close()
        for end in (self._wake, self._woken):
            end.close()
        self._selector.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _change(self, pair: Pair, how: str, delay: float) -> None:
        with self._lock:
            pair.change(how, delay)
        self._notify()

    def _notify(self) -> None:
        self._wake.send(b"!")

    def _run(self) -> None:
        while not self._closing:
            with self._lock:
                pause = self._pause()
            ready = self._selector.select(pause)
            with self._lock:
                served = {stream for key, events in ready if (stream := self._serve(key, events))}
                for pair in self.pairs.values():
                    pair.deliver(served)

    def _serve(self, key: selectors.SelectorKey, events: int) -> Stream | None:
        """Returns the stream that something happened to."""
        if key.data is None:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(_CHUNK)
            return None
        if isinstance(key.data, Pair):
            return key.data.accept()
        stream: Stream = key.data
        stream.serve(key.fileobj, events)
        return stream

    def _pause(self) -> float | None:
        """Until the next delayed bytes are due."""
        due = [at for pair in self.pairs.values() for stream in pair.streams for at in stream.next_due()]
        return max(0.0, min(due) - time.monotonic()) if due else None


class Pair:
    """One client process and one server: a listening port, and the streams through it."""

    def __init__(self, server: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self.how, self.delay = "whole", 0.0
        self.streams: list[Stream] = []
        self._server, self._selector = server, selector
        self.port = free_port()
        self._listener: socket.socket | None = None
        self._listen()

    def change(self, how: str, delay: float) -> None:
        """Break it in another way, or heal it. What a black hole has swallowed stays lost, so its streams are reset, as
        a peer resets what it no longer knows."""
        swallowed = self.how == "black-holed"
        self.how, self.delay = how, delay
        if how == "cut" or swallowed:
            self._reset_streams()
        if how == "cut":
            self._stop_listening()
        elif self._listener is None:
            self._listen()

    @property
    def server_port(self) -> int:
        """The port of the server that it leads to."""
        return self._server[1]

    def lead(self, old: int, new: int) -> None:
        """If it led to port `old` it leads to `new`."""
        if self.server_port == old:
            self._server = (self._server[0], new)
            self._reset_streams()

    def accept(self) -> Stream | None:
        if self._listener is None:
            return None
        try:
            client, _ = self._listener.accept()
        except OSError:  # it has gone again
            return None
        stream = Stream(self, client, self._selector, self._server)
        self.streams.append(stream)
        return stream

    def deliver(self, served: set[Stream]) -> None:
        """For the streams to which something happened, and those in which bytes wait for their time."""
        for stream in [one for one in self.streams if one in served or one.holds_bytes]:
            stream.deliver()

    def close(self) -> None:
        self._reset_streams()
        self._stop_listening()

    def _reset_streams(self) -> None:
        for stream in list(self.streams):
            stream.reset()

    def _listen(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((HOST, self.port))
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None


@dataclass(eq=False)
class _Way:
    """One direction: bytes that wait, each lot with the time at which it may go on. None is the end."""

    source: socket.socket
    target: socket.socket
    lots: deque[tuple[float, bytes | None]] = field(default_factory=deque)
    waiting: int = 0
    ended: bool = False


class Stream:
    """One connection through the proxy: the client's socket and ours to the server."""

    def __init__(
        self, pair: Pair, client: socket.socket, selector: selectors.BaseSelector, server: tuple[str, int]
    ) -> None:
        self._pair, self._selector = pair, selector
        upstream = socket.socket()
        self._ends = (client, upstream)
        self._ways = (_Way(client, upstream), _Way(upstream, client))
        self._connected = False
        for end in self._ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upstream.connect_ex(server)
        selector.register(client, selectors.EVENT_READ, self)
        selector.register(upstream, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    @property
    def holds_bytes(self) -> bool:
        return bool(self._ways[0].lots or self._ways[1].lots)

    def serve(self, end: socket.socket, events: int) -> None:
        """`end` has something to read, or takes bytes again."""
        if end.fileno() < 0:
            return  # closed a moment ago, in the same round
        if end is self._ends[1] and events & selectors.EVENT_WRITE:
            self._connected = True
        try:
            if events & selectors.EVENT_READ:
                self._read(next(way for way in self._ways if way.source is end))
        except OSError:
            self.reset()

    def deliver(self) -> None:
        """Hand on what is due, and ask to be told of what can go on."""
        try:
            for way in self._ways:
                self._write(way)
        except OSError:
            self.reset()
            return
        if all(way.ended and not way.lots for way in self._ways):
            self._close()
            return
        for end in self._ends:
            self._register(end)

    def next_due(self) -> Iterator[float]:
        if self._pair.how != "black-holed":
            for way in self._ways:
                if way.lots and way.lots[0][0] > time.monotonic():
                    yield way.lots[0][0]

    def reset(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()

    def _read(self, way: _Way) -> None:
        with contextlib.suppress(BlockingIOError):
            got = way.source.recv(_CHUNK)
            if self._pair.how != "black-holed":
                way.lots.append((time.monotonic() + self._pair.delay, got or None))
                way.waiting += len(got)
            way.ended = not got

    def _write(self, way: _Way) -> None:
        if self._pair.how == "black-holed" or not self._connected:
            return
        while way.lots and way.lots[0][0] <= time.monotonic():
            at, lot = way.lots[0]
            if lot is None:
                way.target.shutdown(socket.SHUT_WR)
                way.lots.popleft()
                continue
            try:
                sent = way.target.send(lot)
            except BlockingIOError:
                return
            way.waiting -= sent
            if sent < len(lot):
                way.lots[0] = (at, lot[sent:])
                return
            way.lots.popleft()

    def _register(self, end: socket.socket) -> None:
        """Reading, unless it has ended or the other side is slow; writing, while something due could not be written."""
        events = 0
        for way in self._ways:
            if way.source is end and not way.ended and way.waiting < _FULL:
                events |= selectors.EVENT_READ
            if way.target is end and way.lots and way.lots[0][0] <= time.monotonic():
                events |= selectors.EVENT_WRITE
        if end is self._ends[1] and not self._connected:
            events |= selectors.EVENT_WRITE
        registered = self._selector.get_map().get(end)
        if registered and events:
            if registered.events != events:
                self._selector.modify(end, events, self)
        elif registered:
            self._selector.unregister(end)
        elif events:
            self._selector.register(end, events, self)

    def _close(self) -> None:
        if self in self._pair.streams:
            self._pair.streams.remove(self)
        for end in self._ends:
            if end.fileno() >= 0 and end in self._selector.get_map():
                self._selector.unregister(end)
            end.close()
