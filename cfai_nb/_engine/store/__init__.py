"""Where paid answers are kept: an SQLite file, its writer, the index of its keys, and the codec of its records.

A store has a thread that writes and a connection that reads, so the sessions of a process that use the same file
share one ``Store``: ``shared`` opens it for the first session, and ``release`` closes it for the last.
"""

from __future__ import annotations

import threading
from pathlib import Path

from .. import in_child
from .store import Store
from .writer import Job

_shared: dict[Path, tuple[Store, int]] = {}  # with its number of users
_left: dict[Path, Store] = {}  # closed before everything was written
_sharing = threading.RLock()


def shared(path: Path) -> Store:
    """Return the store of this file, opened if necessary; call ``release`` in the end."""
    place = path.absolute()
    with _sharing:
        store, users = _shared.get(place, (None, 0))
        former = _left.get(place)
        if store is not None and store.displaced():
            store, users, former = None, 0, store
        if store is None:
            store = Store(path)
            if former is not None:
                former.writer.hand_over(store.writer)
                _left.pop(place, None)
        _shared[place] = store, users + 1
        return store


def release(store: Store) -> list[Job]:
    """Give back a store; the last user closes it.  Return what could not be written."""
    place = store.path.absolute()
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
        if place in _shared:  # another session opened it meanwhile
            store.writer.hand_over(_shared[place][0].writer)
            return []
        _left[place] = store  # the next store of this file writes it
        return left


def release_all() -> list[tuple[Store, list[Job]]]:
    """Close every store of this process; return each with what could not be written."""
    with _sharing:
        mine = [store for store, _ in _shared.values()]
        _shared.clear()
    return [(store, store.close()) for store in mine]


def _begin() -> object:
    """Begin without a store, also in a forked process; return those there were before."""
    global _shared, _left, _sharing
    before = _shared, _left
    _shared, _left, _sharing = {}, {}, threading.RLock()
    return before


in_child(_begin)
