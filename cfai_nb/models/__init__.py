"""Whom to ask and at what price: the catalogue of Workers AI models as dated data, and prices as functions."""

from .catalogue import Catalogue, catalogue, default, find, outside
from .model import Model, Price
from .price import FREE_NEURONS_PER_DAY, USD_PER_NEURON, Cost, Usage, counted, price, tokens_in

__all__ = [
    "FREE_NEURONS_PER_DAY",
    "USD_PER_NEURON",
    "Catalogue",
    "Cost",
    "Model",
    "Price",
    "Usage",
    "catalogue",
    "counted",
    "default",
    "find",
    "outside",
    "price",
    "tokens_in",
]
