"""Which process leads: the one that holds a lock beside the store.  The others connect to it.

``Engine`` makes one ``Election`` where answers are kept in a file and the service is outside this process.  The lock is
SQLite's own, so it is portable, works for two sessions of one process, is not inherited by a fork, and is free as soon
as its process dies.  The leader listens on the loopback interface and writes port and secret to a file that only the
user can read.  Messages are lines of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import warnings
from collections.abc import Callable
from pathlib import Path

from ...errors import CfaiWarning, StoreError
from ..store.tables import Lock, lock
from . import Participant
from .coordinator import Coordinator, Message

#: Seconds after which a process that neither leads nor reaches its leader continues alone, and between two tries.
PATIENCE, PAUSE = 5.0, 0.02
#: Seconds that a new leader waits for the processes of the former one to report what they have in flight.
GRACE = 1.0
#: Seconds for which a leader may leave a question without any message.
SILENT = 10.0
#: Bytes of the longest message: the keys of a batch are a few thousand.
_LONGEST = 2**22


class Election:
    """Leads, or follows the leader; a lost leader is replaced.

    The processes share a store, and the limits of an account, which is named with the address of the service.
    """

    def __init__(self, participant: Participant, store: Path, account: str) -> None:
        name = f"{store.name}-{hashlib.blake2b(account.encode(), digest_size=6).hexdigest()}"
        self._lock_path, self._address = store.with_name(name + ".lock"), store.with_name(name + ".leader")
        self.participant = participant
        participant.role = "between"
        self._lock: Lock | None = None
        self._server: asyncio.Server | None = None
        self._coordinator: Coordinator | None = None
        self._followers: set[asyncio.StreamWriter] = set()
        self._writer: asyncio.StreamWriter | None = None  # to the leader
        self._reading: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._followed = self._closed = False

    async def ready(self) -> None:
        """Wait until this process leads or follows, for a few seconds at most."""
        if self.participant.role == "between":
            if self._starting is None or self._starting.done():
                self._starting = asyncio.get_running_loop().create_task(self._elect())
            await asyncio.shield(self._starting)

    async def _elect(self) -> None:
        try:
            answered = await self._agreed()
            why = "Another process uses the same store and does not answer"
        except (OSError, StoreError) as error:
            answered, why = False, f"The processes that use the same store cannot agree ({error})"
        if not answered and not self._closed:
            self.participant.lead()
            warnings.warn(
                f"{why}: this process continues alone: limits and budgets are not shared, and both may pay for the "
                "same row.", CfaiWarning, stacklevel=2,
            )  # fmt: skip

    async def _agreed(self) -> bool:
        """Lead or follow; return whether that was possible within a few seconds."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while not self._closed and asyncio.get_running_loop().time() <= end:
            self._lock = lock(self._lock_path)
            if self._lock is not None:
                await self._lead()
                return True
            if await self._follow():
                return True
            await asyncio.sleep(PAUSE)
        return False

    # -- leading -----------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        here = self.participant
        self._coordinator = Coordinator(here.limiter, here.inputs.own, here.written, here.budget)
        secret = secrets.token_hex(16)
        self._server = await asyncio.start_server(
            lambda reader, writer: self._serve(reader, writer, secret), "127.0.0.1", 0, limit=_LONGEST
        )
        port = self._server.sockets[0].getsockname()[1]
        fresh = self._address.with_name(f"{self._address.name}.{os.getpid()}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            json.dump({"port": port, "secret": secret}, file)
        fresh.replace(self._address)
        if self._followed:
            await asyncio.sleep(GRACE)
        here.lead()
        self._coordinator.opened.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: str) -> None:
        peer = None
        broken = (OSError, ValueError, TypeError, LookupError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*broken):
            first = json.loads(await asyncio.wait_for(reader.readline(), 2.0))
            coordinator = self._coordinator
            if coordinator is not None and hmac.compare_digest(str(first["secret"]), secret):
                self._followers.add(writer)
                send = _sender(writer)
                send({"do": "welcome"})
                peer = coordinator.join(send)
                while line := await reader.readline():
                    peer.receive(json.loads(line))
        if peer is not None:
            peer.lost()
        self._followers.discard(writer)
        writer.close()

    # -- following ---------------------------------------------------------------------------------------------------

    async def _follow(self) -> bool:
        try:
            found = json.loads(self._address.read_text("ascii"))
            reader, writer = await asyncio.open_connection("127.0.0.1", int(found["port"]), limit=_LONGEST)
        except (OSError, ValueError, LookupError, TypeError):
            return False
        send = _sender(writer)
        send({"secret": found["secret"]})
        try:
            if not await asyncio.wait_for(reader.readline(), 2.0):
                raise EOFError
        except (OSError, EOFError):
            writer.close()
            return False
        self._writer = writer
        self._reading = asyncio.get_running_loop().create_task(self._listen(reader, writer))
        self.participant.follow(send)
        self._followed = True
        return True

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Receive the leader's messages until it is gone; then elect again."""
        line = asyncio.ensure_future(reader.readline())
        with contextlib.suppress(OSError, ValueError):
            while True:
                await asyncio.wait({line}, timeout=SILENT)
                if line.done():
                    if not line.result():
                        break
                    self.participant.receive(json.loads(line.result()))
                    line = asyncio.ensure_future(reader.readline())
                elif self.participant.asked:
                    break  # a living leader reports what an open question waits for
        line.cancel()
        writer.close()
        self._writer = None
        self.participant.lost()
        if not self._closed:
            await self.ready()

    async def close(self) -> None:
        """Leave: give up the lead, or the connection to the leader; what still runs here ends without others."""
        self._closed = True
        if self._starting is not None and not self._starting.done():
            await self._starting
        if self._writer is not None:
            self._writer.close()
        if self._reading is not None and self._reading is not asyncio.current_task():
            await asyncio.wait({self._reading}, timeout=1.0)
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._address.unlink()
            self._server.close()
        if self._coordinator is not None:
            self._coordinator.close()
        for each in tuple(self._followers):  # they elect another leader when they notice it
            each.close()
        if self._lock is not None:
            self._lock.close()
        self.participant.lead()


def _sender(writer: asyncio.StreamWriter) -> Callable[[Message], None]:
    def send(message: Message) -> None:
        if not writer.is_closing():
            writer.write(json.dumps(message).encode() + b"\n")

    return send
