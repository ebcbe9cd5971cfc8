"""A TCP proxy that fails as it is told: latency, drip, reset, half close, truncate, duplicate, corrupt, partition.

    with FaultProxy(("127.0.0.1", port)) as proxy:
        proxy.fault = Fault("truncate", after=40)      # for the connections opened from now on
        proxy.url                                      # stands before the target

It runs in a thread of its own and listens on loopback only. `duplicate` speaks HTTP/1.1 with a Content-Length: it
sends what the client sent a second time, on a connection of its own, and drops the second answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

Name = Literal[
    "none", "latency", "drip", "reset", "half-close", "truncate", "duplicate", "corrupt", "refuse", "blackhole",
    "close-after-request",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one connection. `after`: bytes of the answer let through first; `seconds`: latency, or the time
    between two bytes of a drip; `copies`: of a duplicated request."""

    name: Name = "none"
    after: int = 0
    seconds: float = 0.0
    copies: int = 1


class FaultProxy:
    def __init__(self, target: tuple[str, int], choose: Callable[[int], Fault] | None = None) -> None:
        self.targets = [target]
        """Where connections go, in turn: several stand for a load balancer."""
        self.fault = Fault()
        self.choose = choose
        """From the rank of a connection to its fault; by default `fault`, for all."""
        self.partitioned = False
        """Nothing passes, in either direction, and nothing is closed: a network cut in two."""
        self.seen: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(10)

    def cut(self) -> None:
        """Reset every open connection."""
        self._loop.call_soon_threadsafe(self._reset_all)

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    def _stop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._loop.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        fault = self.choose(sum(self.seen.values())) if self.choose else self.fault
        self.seen[fault.name] += 1
        self._writers.add(writer)
        try:
            await self._carry(reader, writer, fault)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            with suppress(OSError, RuntimeError):
                writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
        if fault.name == "refuse":
            return _reset(writer)
        if fault.name == "blackhole":
            await reader.read()
            return None
        await self._passable()
        target = self.targets[sum(self.seen.values()) % len(self.targets)]
        there_reader, there = await asyncio.open_connection(*target)
        self._writers.add(there)
        try:
            up = asyncio.create_task(self._up(reader, there, fault))
            down = asyncio.create_task(self._down(there_reader, writer, fault))
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if not down.done() and not up.cancelled() and fault.name == "none":
                await asyncio.wait({down}, timeout=5)
            for one in (up, down):
                one.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        finally:
            self._writers.discard(there)
            with suppress(OSError, RuntimeError):
                there.close()

    async def _passable(self) -> None:
        while self.partitioned:  # noqa: ASYNC110 set from another thread
            await asyncio.sleep(0.05)

    async def _up(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter, fault: Fault) -> None:
        request = b""
        while data := await reader.read(65536):
            await self._passable()
            if fault.name == "latency":
                await asyncio.sleep(fault.seconds)
            if fault.name == "duplicate":
                request += data
                if not _whole(request):
                    continue
                for _ in range(fault.copies):
                    await self._again(request)
                data, request = request, b""
            there.write(data)
            await there.drain()

    async def _again(self, data: bytes) -> None:
        reader, writer = await asyncio.open_connection(*self.targets[0])
        writer.write(data)
        await writer.drain()
        await asyncio.wait_for(reader.read(65536), 10)
        writer.close()

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
        passed = 0
        while data := await there.read(65536):
            await self._passable()
            if fault.name == "close-after-request":
                return _reset(writer)
            if fault.name == "corrupt" and passed <= fault.after < passed + len(data):
                place = fault.after - passed
                data = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
            if fault.name in ("reset", "truncate", "half-close") and passed + len(data) > fault.after:
                writer.write(data[: fault.after - passed])
                await writer.drain()
                if fault.name == "reset":
                    return _reset(writer)
                if fault.name == "half-close" and writer.can_write_eof():
                    writer.write_eof()
                    await asyncio.sleep(3600)
                return None
            if fault.name == "drip":
                for byte in data:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(fault.seconds)
            else:
                writer.write(data)
                await writer.drain()
            passed += len(data)
        return None


def _whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and len(body) >= int(lengths[0] if lengths else 0)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    with suppress(OSError, AttributeError):
        held: socket.socket = writer.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
