"""The catalogue of Workers AI models as dated data, prices as functions, and the ledger of charges."""

from .catalogue import Catalogue, Model, Price, catalogue, default, external_model, find, names_of_models
from .price import FREE_NEURONS_PER_DAY, USD_PER_NEURON, Cost, Usage, price, tokens_in, usage_in_words

__all__ = [
    "FREE_NEURONS_PER_DAY", "USD_PER_NEURON", "Catalogue", "Cost", "Model", "Price", "Usage", "catalogue", "default",
    "external_model", "find", "names_of_models", "price", "tokens_in", "usage_in_words",
]  # fmt: skip
