"""Vectors by COPY, in batches as a run stores them, beside an ORM `create` of a JSON list each.

Both again in one transaction, which is kinder to the rows: fewer commits wait for the disk.
"""

from embeddings.bench.children import child
from jobs.bench.figures import Figure, Options, median_of
from jobs.bench.parts import Outcome, rounds, tell
from jobs.bench.stack import Stack

ROUNDS, COPIED, CREATED = 3, 20_000, 1_000
#: As many as a batch of a run has.
BATCH = 256


def measure(stack: Stack, options: Options) -> Outcome:
    copied, created = (2_000, 100) if options.quick else (COPIED, CREATED)
    measured = []
    with child(stack, "store") as writer:
        for _ in range(rounds(options, ROUNDS)):
            rows = created / writer.call("store.by_rows", count=created, in_one=False)
            rows_in_one = created / writer.call("store.by_rows", count=created, in_one=True)
            batches = copied / writer.call("store.by_copy", count=copied, per_call=BATCH)
            copied_in_one = copied / writer.call("store.by_copy", count=copied, per_call=copied)
            measured.append(
                {
                    "copy_per_s": batches,
                    "rows_per_s": rows,
                    "copy_vs_rows": batches / rows,
                    "in_one_copy_per_s": copied_in_one,
                    "in_one_rows_per_s": rows_in_one,
                    "in_one_copy_vs_rows": copied_in_one / rows_in_one,
                }
            )
            tell(f"store: COPY {batches:,.0f} vectors/s in batches of {BATCH}, JSON rows {rows:,.0f} one by one")
            tell(f"store: COPY {copied_in_one:,.0f}, JSON rows {rows_in_one:,.0f} in one transaction")
    medians = median_of(measured)
    return Outcome(
        figures={"copy_vs_rows": Figure(medians["copy_vs_rows"], "times", at_least=50)}, medians={"store": medians}
    )
