"""Prices: the published figures, applied without rounding, and unknown where nothing is published."""

from __future__ import annotations

from typing import Any

import pytest

from cfai_nb.models import (
    FREE_NEURONS_PER_DAY,
    USD_PER_NEURON,
    Cost,
    Model,
    Price,
    Usage,
    catalogue,
    find,
    price,
    tokens_in,
)
from cfai_nb.models.ledger import money
from cfai_nb.tasks import Answer, reported

M = 1e6


@pytest.mark.parametrize(
    ("name", "amounts", "neurons", "usd"),
    [
        ("bge-m3", {"input_tokens": M}, 1075, 0.011825),
        ("bge-m3", {"input_tokens": 1}, 0.001075, 1.1825e-08),
        ("clef-flash", {"input_tokens": M, "output_tokens": M}, 0.038 / 1.1e-05, 0.038),
        ("clef", {"input_tokens": M}, 0.24 / 1.1e-05, 0.24),
        ("glm-4.7-flash", {"input_tokens": M}, 5500, 0.0605),
        ("llama-3.3-70b-instruct-fp8-fast", {"output_tokens": 1}, 0.2048, 2.2528e-06),
        ("bge-m3", {"neurons": 12.5, "input_tokens": 9e9}, 12.5, 0.0001375),
        ("embeddinggemma-300m", {"input_tokens": M}, None, None),
        ("embeddinggemma-300m", {"neurons": 3.0}, 3.0, 3.3e-05),
    ],
)
def test_work_costs_what_is_published(name: str, amounts: dict[str, float], neurons: Any, usd: Any) -> None:
    """Amounts times published Neurons (or dollars, where only those are published); reported Neurons outrank both."""
    cost = price(Usage(amounts), find(name))
    if neurons is None:
        assert cost.neurons is None
        assert cost.usd is None
    else:
        assert cost.neurons == pytest.approx(neurons, rel=2e-3)
        assert cost.usd == pytest.approx(usd, rel=2e-3)


def test_cached_tokens_cost_their_own_rate_or_the_ordinary_one() -> None:
    """Cached tokens go by their own price where one is published, else by that of input tokens."""
    own = next(m for m in catalogue().values() if m.status == "current" and "cached_input_tokens" in (m.prices or {}))
    assert own.prices is not None
    rate = own.prices["cached_input_tokens"]
    assert price(Usage({"cached_input_tokens": M}), own).neurons == pytest.approx(rate.neurons)
    assert rate.neurons is not None
    assert rate.neurons < own.prices["input_tokens"].neurons  # type: ignore[operator]
    plain = find("llama-3.3-70b-instruct-fp8-fast")
    assert price(Usage({"cached_input_tokens": M}), plain) == price(Usage({"input_tokens": M}), plain)


def test_a_retired_model_still_has_its_price() -> None:
    """The catalogue keeps the published price of retired models, so old charges can be understood."""
    old = catalogue()["@cf/meta/llama-3.1-8b-instruct"]
    assert old.status == "retired"
    assert price(Usage({"input_tokens": M}), old).neurons


@pytest.mark.parametrize(
    ("prices", "amounts", "neurons"),
    [
        (None, {"input_tokens": 1.0}, None),
        ({}, {"input_tokens": 1.0}, None),
        ({"input_tokens": Price(M, None, None)}, {"input_tokens": 1.0}, None),
        ({"input_tokens": Price(M, 10, 0.1)}, {"output_tokens": 5.0}, None),
        ({"input_tokens": Price(M, 10, 0.1)}, {"input_tokens": M, "output_tokens": 5.0}, 10),
        ({"input_tokens": Price(M, 0, 0.0)}, {"input_tokens": M}, 0),
        ({"input_tokens": Price(M, 10, 0.1)}, {}, 0),
    ],
)
def test_unknown_is_never_zero(prices: Any, amounts: dict[str, float], neurons: float | None) -> None:
    """No price for any of the units is unknown; zero only where zero is published or nothing was used."""
    assert price(Usage(amounts), Model(id="@x/y/z", task="t", prices=prices)).neurons == neurons


def test_adding_unknown_to_known_is_unknown() -> None:
    """A sum with an unknown part is unknown, and exact only if all parts are."""
    assert (Cost(1.0, True) + Cost(None)).neurons is None
    assert (Cost(1.0, True) + Cost(2.0, True)) == Cost(3.0, True)
    assert not (Cost(1.0, True) + Cost(2.0, False)).exact
    assert (Cost(2.0, True) * 1.5, Cost(None) * 2) == (Cost(3.0), Cost(None))
    assert Usage({"a_tokens": 1}, True) + Usage({"a_tokens": 2, "b": 1}, True) == Usage({"a_tokens": 3, "b": 1}, True)


def test_constants_are_the_published_ones() -> None:
    """$0.011 per 1,000 Neurons and 10,000 free Neurons a day."""
    assert pytest.approx(0.011) == 1000 * USD_PER_NEURON
    assert FREE_NEURONS_PER_DAY == 10_000


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 1), ("abcd", 1), ("abcde", 2), ("日本語", 3), ("é" * 3, 2), ("a" * 4000, 1000)]
)
def test_tokens_are_estimated_from_length(text: str, tokens: int) -> None:
    """A quarter of the bytes of plain text, a third of others, and at least one."""
    assert tokens_in(text) == tokens


@pytest.mark.parametrize(
    ("headers", "body", "amounts"),
    [
        ({"cf-ai-neurons": "2.5"}, b'{"usage": {"neurons": 9}}', {"neurons": 2.5}),
        ({}, b'{"usage": {"neurons": 9}}', {"neurons": 9.0}),
        ({"cf-ai-neurons": "junk"}, b'{"usage": {"prompt_tokens": 7}}', {"input_tokens": 7, "output_tokens": 0}),
        (
            {},
            b'{"result": {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}, "success": true}',
            {"input_tokens": 7, "output_tokens": 2},
        ),
        ({}, b'{"usage": {"input_tokens": 7, "output_tokens": 0}}', {"input_tokens": 7, "output_tokens": 0}),
        (
            {},
            b'{"usage": {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}}',
            {"input_tokens": 4, "cached_input_tokens": 3, "output_tokens": 2},
        ),
        (
            {},
            b'{"usage": {"prompt_tokens": 7, "completion_tokens": null, "prompt_tokens_details": null}}',
            {"input_tokens": 7, "output_tokens": 0},
        ),
        ({}, b'{"usage": null}', None),
        ({}, b'{"usage": {"prompt_tokens": "many"}}', None),
        ({}, b"[1, 2]", None),
        ({}, b"not json", None),
    ],
)
def test_what_the_service_reports_is_found(headers: dict[str, str], body: bytes, amounts: Any) -> None:
    """Neurons of the header or of usage, and token counts; nothing usable is None, never a charge of nothing."""
    found = reported(Answer(body, headers))
    assert (None if found is None else dict(found.amounts)) == amounts
    assert found is None or found.exact


def test_the_best_source_of_a_charge_wins() -> None:
    """Reported Neurons are the bill, whatever the token counts would come to."""
    body = b'{"usage": {"neurons": 9, "prompt_tokens": 7000000, "completion_tokens": 5}}'
    model = find("glm-4.7-flash")
    for headers, neurons in (({"cf-ai-neurons": "2.5"}, 2.5), ({}, 9.0)):
        found = reported(Answer(body, headers))
        assert found is not None
        assert price(found, model) == Cost(neurons, True)


@pytest.mark.parametrize(
    ("neurons", "words"),
    [
        (None, "price unknown"),
        (0.0, "0 Neurons ($0)"),
        (2.8, "2.8 Neurons ($0.000031)"),
        (90.905, "90.9 Neurons ($0.0010)"),
        (1234.4, "1,234 Neurons ($0.014)"),
        (1e6, "1,000,000 Neurons ($11.00)"),
    ],
)
def test_money_is_written_for_people(neurons: float | None, words: str) -> None:
    """Neurons and dollars with as many digits as matter; a tilde marks what is estimated."""
    assert money(neurons) == words
    assert neurons is None or money(neurons, exact=False) == words.replace("Neurons (", "Neurons (~").join(("~", ""))
