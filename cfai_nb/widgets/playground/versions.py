"""What was tried in a playground: every version, and the latest of each variant."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from .draft import Draft
from .trial import Trial


class Versions:
    """Trials that were run, in order.

    Attributes
    ----------
    kept : list of Trial
        All of them; the first is version 1.
    """

    def __init__(self) -> None:
        self.kept: list[Trial] = []
        self._latest: dict[str, Trial] = {}

    def keep(self, trial: Trial) -> None:
        """Number a trial that is about to run; it is now the latest of its variant."""
        trial.number = len(self.kept) + 1
        self.kept.append(trial)
        self._latest[trial.variant] = trial

    def draft(self, number: int) -> Draft:
        """Return the draft of a version, counted from 1."""
        if not 1 <= number <= len(self.kept):
            raise ValueError(f"There is no version {number}; there are {len(self.kept)}.")
        return self.kept[number - 1].draft

    def answered(self, variant: str, draft: Draft) -> bool:
        """Whether the latest trial of a variant was of this draft and is finished."""
        last = self._latest.get(variant)
        return last is not None and last.draft == draft and last.finished

    def forget(self, variants: Iterable[str]) -> None:
        """Show no trial of these variants until they are run again; their versions are kept."""
        for variant in variants:
            self._latest.pop(variant, None)

    def settle(self) -> None:
        """Say of rows that were stopped that they were not run."""
        for trial in self._latest.values():
            for outcome in trial.outcomes:
                if outcome.state in ("waiting", "asking"):
                    outcome.state = "not run"

    def shown(self, variants: Iterable[str]) -> list[tuple[Trial, Trial | None]]:
        """Return the latest trial of each variant, with the one before it that used the same verb."""
        latest = [self._latest[letter] for letter in variants if letter in self._latest]
        return [(trial, self._before(trial)) for trial in latest]

    def _before(self, trial: Trial) -> Trial | None:
        older = reversed(self.kept[: trial.number - 1])
        return next((v for v in older if (v.variant, v.draft.mode) == (trial.variant, trial.draft.mode)), None)

    def results(self, variants: Iterable[str]) -> pd.DataFrame:
        """Return the latest results of these variants, one row a variant and pinned row."""
        found = [trial.results for trial, _ in self.shown(variants)]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()
