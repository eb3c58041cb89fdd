"""Every encoder that is installed, in two processes of one thread, beside sentence-transformers."""

from contextlib import ExitStack

from embeddings.bench.children import Child, NotInstalled, children, prepare, together
from embeddings.bench.inside.encoding import STOCK
from embeddings.bench.texts import LENGTHS
from jobs.bench.figures import Figure, Options, median_of
from jobs.bench.parts import Outcome, rounds, tell
from jobs.bench.stack import Stack

ENCODERS = ("minilm", "minilm-openvino", "static", "ngram", STOCK)
#: Those that do MiniLM's arithmetic; the last one in fp32.
MULTIPLYING = ("minilm", "minilm-openvino", STOCK)
BARE = "bare"
BARE_FIGURES = ("bare_docs_per_s_short", "bare_docs_per_s_long", "minilm_of_bare")
PROCESSES, ROUNDS, SECONDS = 2, 3, 2.0
TEXTS = {"short": 8_000, "long": 2_000}
#: Texts in a call: as many as a batch of a run has; fewer of the long ones, which take sentence-transformers 10 s.
AT_ONCE = {"short": 256, "long": 96}

Values = dict[str, float]


def measure(stack: Stack, options: Options) -> Outcome:
    texts = {length: count // (20 if options.quick else 1) for length, count in TEXTS.items()}
    seconds = 0.1 if options.quick else SECONDS
    at_once = {length: 32 if options.quick else count for length, count in AT_ONCE.items()}
    outcome = Outcome()
    measured: dict[str, list[Values]] = {}
    with ExitStack() as running:
        pairs: dict[str, list[Child]] = {}
        for spec in ENCODERS:
            pair = running.enter_context(children(stack, f"encoder-{spec}", PROCESSES))
            try:
                said = prepare(pair, spec, texts)
            except NotInstalled as exc:
                tell(f"encoders: {spec} is not installed: {exc}")
                outcome.not_measured[spec] = str(exc)
                continue
            pairs[spec] = pair
            outcome.told.setdefault("encoders", {})[spec] = said
        outcome.told["mean_tokens"] = next(iter(pairs.values()))[0].call("encoding.tokens")
        bare = _bare_processes(stack, running, outcome)
        for _ in range(rounds(options, ROUNDS)):
            if bare:
                measured.setdefault(BARE, []).append(_bare_round(bare, seconds))
            for spec, values in _round(pairs, seconds, at_once).items():
                measured.setdefault(spec, []).append(values)
    outcome.medians = {f"encoder {spec}": median_of(values) for spec, values in measured.items()}
    _compare(outcome, measured)
    if BARE in measured:
        _beside_bare(outcome, measured)
    return outcome


def _bare_processes(stack: Stack, running: ExitStack, outcome: Outcome) -> list[Child]:
    """As many processes as each encoder has, for its products alone; none where the weights are not installed."""
    pair = running.enter_context(children(stack, f"encoder-{BARE}", PROCESSES))
    try:
        outcome.told[BARE] = together(pair, "bare.prepare", [{}] * len(pair))[0]
    except NotInstalled as exc:
        outcome.not_measured |= dict.fromkeys(BARE_FIGURES, str(exc))
        return []
    return pair


def _bare_round(pair: list[Child], seconds: float) -> Values:
    """Billions of operations a CPU second of one core, with both of them at it."""
    found: Values = {}
    for precision in ("int8", "fp32"):
        arguments = {"precision": precision, "seconds": seconds}
        rates = together(pair, "bare.rate", [arguments] * len(pair))
        found[f"{precision}_gops"] = sum(rates) / len(rates)
        tell(
            f"encoders: bare products {precision} {found[f'{precision}_gops']:,.0f} billion operations a second a core"
        )
    return found


def _beside_bare(outcome: Outcome, measured: dict[str, list[Values]]) -> None:
    """What the products alone would embed, and the share of it that each encoder reaches, by round."""
    told = outcome.told[BARE]
    mean = outcome.told["mean_tokens"]
    each = {length: told["operations"] * (mean[length] + told["marks"]) / 1e9 for length in LENGTHS}
    for length, operations in each.items():
        limit = outcome.medians[f"encoder {BARE}"]["int8_gops"] * PROCESSES / operations
        outcome.figures[f"bare_docs_per_s_{length}"] = Figure(limit, "documents/s")
    for spec in (spec for spec in MULTIPLYING if spec in measured):
        precision = "fp32_gops" if spec == STOCK else "int8_gops"
        shares = median_of(
            [
                {length: ours[f"{length}_per_cpu_s"] * each[length] / bare[precision] for length in each}
                for ours, bare in zip(measured[spec], measured[BARE], strict=True)
            ]
        )
        outcome.medians[f"of_bare {spec}"] = shares
        if spec == "minilm":
            outcome.figures["minilm_of_bare"] = Figure(shares["short"], "times")


def _round(pairs: dict[str, list[Child]], seconds: float, at_once: dict[str, int]) -> dict[str, Values]:
    """Each encoder in its turn with each length. Returns documents a second, wall and a CPU second of one thread."""
    found: dict[str, Values] = {}
    for length in LENGTHS:
        for spec, pair in pairs.items():
            arguments = {"length": length, "seconds": seconds, "at_once": at_once[length]}
            rates = together(pair, "encoding.rate", [arguments] * len(pair))
            wall = sum(rate["per_s"] for rate in rates)
            cpu = sum(rate["per_cpu_s"] for rate in rates) / len(rates)
            found.setdefault(spec, {}).update({f"{length}_per_s": wall, f"{length}_per_cpu_s": cpu})
            tell(f"encoders: {spec} {length} {wall:,.0f} documents/s")
    return found


def _compare(outcome: Outcome, measured: dict[str, list[Values]]) -> None:
    """Ratios are taken within a round, because the machine may be busier in the next."""
    for key, spec, least in (
        ("encoder_vs_sentence_transformers", "minilm", 4.5),
        ("openvino_vs_sentence_transformers", "minilm-openvino", 7.0),
    ):
        missing = next((one for one in (spec, STOCK) if one not in measured), None)
        if missing:
            outcome.not_measured[key] = outcome.not_measured[missing]
            continue
        pairs = list(zip(measured[spec], measured[STOCK], strict=True))
        ratios = median_of([{unit: ours[unit] / stock[unit] for unit in ours} for ours, stock in pairs])
        outcome.figures[key] = Figure(ratios["short_per_s"], "times", at_least=least)
        outcome.medians[key] = ratios
    if "static" in measured:
        values = median_of(measured["static"])
        outcome.figures["static_docs_per_s_long"] = Figure(values["long_per_s"], "documents/s", at_least=1000)
    elif "static" in outcome.not_measured:
        outcome.not_measured["static_docs_per_s_long"] = outcome.not_measured["static"]
