"""Model selection: the model that ``model=`` names, or the default for the task."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ModelError
from ..models import Model, default, external_model, find
from ..tasks import Task
from .endpoint import Endpoint


def select_model(
    task: Task, wanted: str | Model | None, endpoint: Endpoint, *, gateway: bool, list_models: Callable[[], list[str]]
) -> Model:
    """Return the model that a task will use.

    Parameters
    ----------
    task : Task
    wanted : str or Model, optional
        The value of ``model=``.
    endpoint : Endpoint
        An OpenAI-compatible server has its own models.
    gateway : bool
        Whether a gateway is set: it gives access to other providers' models.
    list_models : callable
        Asks a server for its models; called only if none is named.

    Raises
    ------
    ModelError
        The model does not exist, needs a gateway and none is set, or the server has several and none is named.
    """
    if task.own_model is not None:
        return task.own_model
    if isinstance(wanted, Model):
        return wanted
    if wanted is not None and not isinstance(wanted, str):
        raise ModelError(f"model={wanted!r}: give a name such as 'bge-m3'.")
    embeds = "openai-embedding" in task.families
    if endpoint.is_server:
        name = wanted or _only(list_models(), endpoint)
        return external_model(name, "server", embeds=embeds, free=endpoint.is_local)
    if wanted is None:
        return find(task.work) if task.work.startswith("@") else default(task.work)
    if "/" in wanted and not wanted.startswith("@"):
        if not gateway:
            raise ModelError(f"{wanted} is another provider's model: set gateway=, here or in connect.")
        return external_model(wanted, "gateway", embeds=embeds)
    return find(wanted)


def _only(names: list[str], endpoint: Endpoint) -> str:
    if len(names) != 1:
        raise ModelError(f"Give model=: {endpoint.origin} has {', '.join(names[:20]) or 'no model'}.")
    return names[0]
