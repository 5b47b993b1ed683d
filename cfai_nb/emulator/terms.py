"""Terms: the licence of a model that every account has to accept once before it is served, or to be let in for.

The call that accepts answers 403 as well, with a thank-you (observed), so that a client must read the text.
"""

from __future__ import annotations

from .errors import refuse
from .work import Ask

#: The models that ask for it, and those that answer whoever has applied for them and was let in.
GATED = frozenset({"@cf/meta/llama-3.2-11b-vision-instruct"})
APPLIED = frozenset({"@cf/swiss-ai/apertus-v1.5-8b", "@cf/utter-project/eurollm-9b-it"})

_PROMPT = "agree"
_THANKS = "Thank you for agreeing to this model's license and acceptable use policy. You may now use the model."


class Terms:
    """Who has agreed to what.

    Parameters
    ----------
    agreed : bool
        Whether every account has agreed to everything beforehand, and been let in everywhere.
    """

    def __init__(self, agreed: bool = False) -> None:
        self._agreed, self._known = agreed, set[tuple[str, str]]()

    def admit(self, account: str, ask: Ask) -> None:
        """Refuse (5016) a model whose terms the account has not accepted, and the call that accepts them.

        And (5018) one that the account was not let into.
        """
        if ask.model.id in APPLIED and not self._agreed:
            raise refuse(5018)
        key = (account.casefold(), ask.model.id)
        if ask.model.id not in GATED:
            return
        if ask.body.get("prompt") == _PROMPT and ask.route == "run":
            self._known.add(key)
            raise refuse(5016, text=_THANKS)
        if not self._agreed and key not in self._known:
            raise refuse(5016)
