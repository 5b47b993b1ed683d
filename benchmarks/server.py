"""A server that speaks the wire format as fast as Python can, counts, and can be told to be difficult."""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import time
import zlib

ARGUMENTS = argparse.ArgumentParser()
ARGUMENTS.add_argument("--latency", type=float, default=0.0, help="seconds a request")
ARGUMENTS.add_argument("--per-item", type=float, default=0.0, help="seconds a text of a batch")
ARGUMENTS.add_argument("--dims", type=int, default=768)
ARGUMENTS.add_argument("--capacity", type=int, default=0, help="requests at once; more are refused with 3040")
ARGUMENTS.add_argument("--rate", type=int, default=0, help="requests a minute; more are refused with 3021")
ARGUMENTS.add_argument("--window", choices=("sliding", "bucket"), default="sliding")
ARGUMENTS.add_argument("--faults", type=float, default=0.0, help="share of requests that go wrong, in every way")
ARGUMENTS.add_argument("--queue", type=float, default=0.0, help="seconds that the batch queue takes for a submission")
ARGUMENTS.add_argument("--quota", type=int, default=0, help="requests until the day's Neurons are used up (4006)")


class State:
    """What the server counts, and how difficult it is."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        rng = random.Random(1)
        self.tail = ",".join(f"{rng.uniform(-0.2, 0.2):.10f}" for _ in range(options.dims - 1)).encode()
        self.rng = random.Random(2)
        self.minute: collections.deque[float] = collections.deque()
        self.tokens, self.filled = options.rate / 60, time.monotonic()
        self.in_flight = self.requests = self.answered = self.refused = self.faults = self.rows = self.most = 0
        self.billed: collections.Counter[str] = collections.Counter()
        self.submissions: dict[str, tuple[float, list[dict]]] = {}
        self.looks = 0
        self.first = self.last = 0.0

    def limited(self) -> bool:
        options, now = self.options, time.monotonic()
        if not options.rate:
            return False
        if options.window == "bucket":
            flow = options.rate / 60
            self.tokens, self.filled = min(flow, self.tokens + (now - self.filled) * flow), now
            if self.tokens < 1:
                return True
            self.tokens -= 1
            return False
        while self.minute and self.minute[0] <= now - 60:
            self.minute.popleft()
        if len(self.minute) >= options.rate:
            return True
        self.minute.append(now)
        return False

    def stats(self) -> bytes:
        names = ("requests", "answered", "refused", "faults", "rows", "most", "looks")
        counted = {name: getattr(self, name) for name in names}
        counted["submissions"] = len(self.submissions)
        twice = sum(n - 1 for n in self.billed.values())
        return json.dumps({**counted, "twice": twice, "seconds": self.last - self.first}).encode()


def response(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\ncf-ai-neurons: 0.5\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def refusal(code: int, text: str, status: str = "429 Too Many Requests") -> bytes:
    failed = {"result": {}, "success": False, "errors": [{"code": code, "message": text}], "messages": []}
    return response(json.dumps(failed).encode(), status)


class Connection(asyncio.Protocol):
    def __init__(self, state: State) -> None:
        self.state, self.buffer = state, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            self.handle(head, body)

    def handle(self, head: bytes, body: bytes) -> None:
        state, options = self.state, self.state.options
        if head.startswith(b"get /stats"):
            self.transport.write(response(state.stats()))
            return
        state.requests += 1
        state.last = time.monotonic()
        state.first = state.first or state.last
        if state.limited():
            state.refused += 1
            self.transport.write(refusal(3021, "rate limiting: inference request per min rate reached"))
            return
        if options.capacity and state.in_flight >= options.capacity:
            state.refused += 1
            self.transport.write(refusal(3040, "Capacity temporarily exceeded, please try again."))
            return
        if options.quota and state.answered + state.in_flight >= options.quota:
            state.refused += 1
            self.transport.write(refusal(4006, "you have used up your daily free allocation of 10,000 neurons"))
            return
        document = json.loads(body)
        if b"queuerequest=true" in head.split(b"\r\n", 1)[0]:
            self.transport.write(response(self.queued(document)))
            return
        fault = state.rng.choice(FAULTS) if state.rng.random() < options.faults else ""
        if fault in BEFORE:
            state.faults += 1
            self.misbehave(fault, b"")
            return
        texts = document.get("text")
        texts = [texts] if isinstance(texts, str) else texts
        delay = options.latency + options.per_item * (len(texts) if texts else 0)
        state.in_flight += 1
        state.most = max(state.most, state.in_flight)
        if fault == "slow":
            delay += 3.0
        loop = asyncio.get_running_loop()
        if delay:
            loop.call_later(delay, self.finish, document, fault)
        else:
            self.finish(document, fault)

    def queued(self, document: dict) -> bytes:
        """Take a submission to the batch queue, or answer a look at one, which is fetched once."""
        state = self.state
        if "requests" in document:
            name = f"s{len(state.submissions)}"
            state.submissions[name] = time.monotonic() + state.options.queue, document["requests"]
            return b'{"result":{"status":"queued","request_id":"%b"},"success":true}' % name.encode()
        state.looks += 1
        ready, requests = state.submissions[document["request_id"]]
        if time.monotonic() < ready:
            return b'{"result":{"status":"queued","request_id":"%b"},"success":true}' % document["request_id"].encode()
        if requests:
            state.answered += len(requests)
            state.submissions[document["request_id"]] = ready, []
        made = b",".join(
            b'{"id":%d,"success":true,"result":%b}' % (at, self.result(one)) for at, one in enumerate(requests)
        )
        return b'{"result":{"responses":[%b]},"success":true}' % made

    def result(self, document: dict) -> bytes:
        """Return the result of one request."""
        state = self.state
        texts = document.get("text")
        texts = [texts] if isinstance(texts, str) else texts
        if texts is not None:
            state.rows += len(texts)
            state.billed.update(texts)
            rows = b",".join(b"[%.9f,%b]" % (zlib.crc32(t.encode()) / 2**32, state.tail) for t in texts)
            return b'{"shape":[%d,%d],"data":[%b]}' % (len(texts), state.options.dims, rows)
        prompt = document["messages"][-1]["content"]
        state.rows += 1
        state.billed[prompt] += 1
        choice = {"index": 0, "message": {"role": "assistant", "content": f"re: {prompt}"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
        return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()

    def finish(self, document: dict, fault: str) -> None:
        state = self.state
        state.in_flight -= 1
        state.answered += 1
        state.last = time.monotonic()
        body = b'{"result":%b,"success":true,"errors":[],"messages":[]}' % self.result(document)
        if fault and fault != "slow":
            state.faults += 1
            self.misbehave(fault, body)
        elif not self.transport.is_closing():
            self.transport.write(response(body))

    def misbehave(self, fault: str, body: bytes) -> None:
        if fault == "reset":
            self.transport.abort()
        elif fault == "cut":
            self.transport.write(response(body)[: len(body) // 2])
            self.transport.close()
        elif fault == "garbage":
            self.transport.write(response(body[: len(body) // 2]))
        elif fault == "html":
            self.transport.write(response(b"<html>502 Bad Gateway</html>", "502 Bad Gateway", "text/html"))
        elif fault == "3040":
            self.transport.write(refusal(3040, "Capacity temporarily exceeded, please try again."))
        elif fault == "1015":
            self.transport.write(response(b"error code: 1015", "429 Too Many Requests", "text/plain"))
        else:
            self.transport.write(refusal(int(fault), "internal error", f"{fault} Error"))


BEFORE = ("500", "503", "529", "408", "html", "3040", "reset")  # nothing was worked on, nothing is billed
FAULTS = (*BEFORE, "cut", "garbage", "slow")


async def main() -> None:
    """Serve on a free port of the loopback interface and print it."""
    state = State(ARGUMENTS.parse_args())
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
