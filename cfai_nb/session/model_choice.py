"""Which model does the work: the one that is named, or the default for its kind of work."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ModelError
from ..models import Model, default, find, outside
from ..tasks import Task
from .endpoint import Address


def choose(
    task: Task, wanted: str | Model | None, address: Address, *, through: bool, listed: Callable[[], list[str]]
) -> Model:
    """Return the model a task shall use.

    Parameters
    ----------
    task : Task
    wanted : str or Model, optional
    address : Address
        A server of one's own has models of its own.
    through : bool
        Whether a gateway is named: it leads to other providers' models.
    listed : callable
        Asks a server for its models; called only when it has to choose.

    Raises
    ------
    ModelError
        There is no such model, it goes through a gateway and none is given, or a server has several.
    """
    if isinstance(task.default_model, Model):
        return task.default_model
    if isinstance(wanted, Model):
        return wanted
    if wanted is not None and not isinstance(wanted, str):
        raise ModelError(f"model={wanted!r}: give a name such as 'bge-m3'.")
    embeds = "openai-embedding" in task.families
    if address.is_server:
        return outside(wanted or _only(listed(), address), "server", embeds=embeds, free=address.is_near)
    if wanted is None:
        return find(task.default_model) if task.default_model.startswith("@") else default(task.default_model)
    if "/" in wanted and not wanted.startswith("@"):
        if not through:
            raise ModelError(f"{wanted} is another provider's model: name a gateway with gateway=, here or in connect.")
        return outside(wanted, "gateway", embeds=embeds)
    return find(wanted)


def _only(names: list[str], address: Address) -> str:
    if len(names) != 1:
        raise ModelError(f"Give model=: {address.origin} has {', '.join(names[:20]) or 'no model'}.")
    return names[0]
