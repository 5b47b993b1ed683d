"""The port: it answers requests that name this machine, or an allowed host."""

from __future__ import annotations

import httpx
import pytest

from cfai_nb.emulator import Running, running

FOREIGN = ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "::1", "", "127.0.0.1:80:80"]


def ask(service: Running, host: str) -> httpx.Response:
    """Send a request under a name."""
    return httpx.get(
        f"{service.url}/accounts/{'a' * 32}/ai/models/search", headers={"host": host, "authorization": "Bearer x"}
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost", "LOCALHOST:8787", "[::1]", "[::1]:8787"])
def test_names_of_this_machine_are_answered(service: Running, host: str) -> None:
    """With any port, or none."""
    assert ask(service, host).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_names_are_refused(service: Running, host: str) -> None:
    """A page that points its own name here (DNS rebinding) reaches nothing, and the log has no call of it."""
    before = len(service.emulator.calls)
    answer = ask(service, host)
    assert (answer.status_code, "hosts=[...]" in answer.text) == (421, True)
    assert len(service.emulator.calls) == before


def test_a_name_can_be_allowed() -> None:
    """``hosts`` lets in the names it lists, and no others; one text is not a list."""
    with running(rate=None, hosts=["Emulator.test"]) as service:
        assert [ask(service, host).status_code for host in ("emulator.test:80", "other.test")] == [200, 421]
    with pytest.raises(ValueError, match="list of names"), running(hosts="emulator.test"):
        pass
