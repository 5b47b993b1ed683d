"""One store for each file of this process: opened by the first session that wants it, closed by the last to let go.

A store has a thread that writes and a connection that reads; sessions on the same file share them.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from .store import Store
from .writer import Job

_shared: dict[tuple[int, Path], tuple[Store, int]] = {}  # with the number of those that use it
_left: dict[tuple[int, Path], Store] = {}  # closed before all was written
_sharing = threading.RLock()


def shared(path: Path) -> Store:
    """Return the store of this file, opened if need be; ``release`` it in the end."""
    place = (os.getpid(), path.absolute())
    with _sharing:
        store, users = _shared.get(place, (None, 0))
        former = _left.get(place)
        if store is not None and store.displaced():
            store, users, former = None, 0, store
        if store is None:
            store = Store(path)
            if former is not None:
                store.adopt(former)
                _left.pop(place, None)
        _shared[place] = store, users + 1
        return store


def release(store: Store) -> list[Job]:
    """Let go of a store; the last one to do so closes it.  Return what could not be written."""
    place = (os.getpid(), store.path.absolute())
    with _sharing:
        held, users = _shared.get(place, (None, 0))
        if held is store and users > 1:
            _shared[place] = store, users - 1
            return []
        if held is store:
            del _shared[place]
    if not (left := store.close()):
        return []
    with _sharing:
        if place in _shared:  # opened by another session meanwhile
            _shared[place][0].adopt(store)
            return []
        _left[place] = store  # the next one at this place writes it
        return left


def release_all() -> list[tuple[Store, list[Job]]]:
    """Close every store of this process; return each with what could not be written."""
    with _sharing:
        mine = [_shared.pop(place)[0] for place in list(_shared) if place[0] == os.getpid()]
    return [(store, store.close()) for store in mine]


def _after_fork() -> None:
    global _sharing
    _sharing = threading.RLock()  # it may have been held by a thread that is not here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
