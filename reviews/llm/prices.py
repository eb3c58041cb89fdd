"""What known models cost, and how much they may answer: defaults for a new provider, which operators may change.

Dollars per million tokens, as the providers' price lists told them in November 2026. Some models cost more for
requests above 100,000 to 272,000 tokens; `context_tokens` is best kept below that.
"""

from dataclasses import dataclass
from decimal import Decimal

# Both providers charge this much of the price of input for what they write to their cache.
CACHE_WRITE_FACTOR = Decimal("1.25")


@dataclass(frozen=True)
class Price:
    input: Decimal
    cached: Decimal
    output: Decimal

    @classmethod
    def of(cls, given: str) -> "Price":
        """given: input, cached input and output, such as "2 0.10 10"."""
        return cls(*(Decimal(part) for part in given.split()))


PRICES: dict[str, Price] = {
    model: Price.of(given)
    for model, given in {
        "claude-fable-5-1": "10 0.25 50",
        "claude-opus-5-5": "4 0.20 20",
        "claude-opus-5": "5 0.50 25",
        "claude-sonnet-5-5": "2 0.10 10",
        "claude-sonnet-5": "2 0.20 10",
        "claude-haiku-5-5": "0.10 0.01 0.50",
        "claude-haiku-4-5": "1 0.10 5",
        "gpt-6.1-sol": "2 0.10 10",
        "gpt-6-sol": "2 0.20 10",
        "gpt-6-luna": "0.10 0.01 0.50",
        "gpt-5.5": "5 0.50 30",
        "gpt-5.4": "2.50 0.25 15",
        "gpt-5.4-mini": "0.75 0.075 4.50",
        "gpt-5.4-nano": "0.20 0.02 1.25",
    }.items()
}


def price_of(model: str) -> Price | None:
    """The price of a model by its name, dated or not; None for one that is not known."""
    if model in PRICES:
        return PRICES[model]
    dated = [known for known in PRICES if model.startswith(f"{known}-") and model[len(known) + 1 :][:4].isdigit()]
    return PRICES[max(dated, key=len)] if dated else None
