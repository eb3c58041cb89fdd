"""The embedded reviewer over histories of git: how much it says, where, how fast, and whether it repeats itself."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from embeddings.bench.children import Child, child
from jobs.bench.figures import Figure, Options, percentile, rounded
from jobs.bench.machine import pss_mb
from jobs.bench.parts import Outcome, tell
from jobs.bench.stack import BenchError, Stack
from reviews.bench.history import History, Sample, history_of, shares
from reviews.bench.large_change import write_repository

INSIDE = "reviews.bench.inside"
CHANGES, ANCHORED, PUSHED_SHARE = 1_000, 1_000, 5
LARGE_FILES, LARGE_BYTES = 3_000, 17_000_000
SAMPLE_SECONDS, TELL_SECONDS = 0.1, 30.0

Answers = list[dict[str, Any]]


def measure(stack: Stack, options: Options) -> Outcome:
    histories = [history_of(path) for path in paths(options)]
    wanted = options.tasks or (6 if options.quick else CHANGES)
    singles = chosen([history.singles for history in histories], wanted)
    pushes = chosen([history.pushes for history in histories], max(2, wanted // PUSHED_SHARE))
    # Anchors take little time to try: where fewer changes are reviewed, on those of several commits too.
    others = [history.wider or history.singles for history in histories]
    wider = chosen(others, (20 if options.quick else ANCHORED) - len(singles))
    with child(stack, "histories", INSIDE) as one:
        answers = _asked(one, "reviewing.review", singles)
        more = _asked(one, "reviewing.try_anchors", wider)
        pushed = _asked(one, "reviewing.review_pushes", pushes)
    outcome = _outcome(answers, more, pushed)
    outcome.told["histories"]["repositories"] = [_described(history, answers) for history in histories]
    outcome.add(_large(stack, *((200, LARGE_BYTES) if options.quick else (LARGE_FILES, LARGE_BYTES))))
    return outcome


def paths(options: Options) -> list[Path]:
    """Those that were given; else those of the settings; else this project's own. Raises BenchError."""
    given = options.repositories or tuple(settings.REVIEWS["BENCH_REPOSITORIES"])
    if given:
        return [Path(path).expanduser().resolve() for path in given]
    own = Path(settings.BASE_DIR)
    if not (own / ".git").exists():
        raise BenchError("there is no git history to review here; give one, or several, with --repo PATH")
    return [own]


def chosen(available: Sequence[Sequence[Sample]], wanted: int) -> list[Sample]:
    """As many of each, spread over its whole history; where one has fewer, more of the others."""
    taken = shares(max(0, wanted), [len(some) for some in available])
    return [
        some[index * len(some) // count] for some, count in zip(available, taken, strict=True) for index in range(count)
    ]


def _asked(one: Child, function: str, samples: Sequence[Sample]) -> Answers:
    answers: Answers = []
    told_at = time.monotonic()
    for sample in samples:
        given = {"repository": sample.repository, "base": sample.base, "head": sample.head}
        if function.endswith("pushes"):
            given["middle"] = sample.middle
        answers.append({**one.call(function, **given), "head": sample.head, "repository": sample.repository})
        if time.monotonic() - told_at > TELL_SECONDS:
            told_at = time.monotonic()
            tell(f"histories: {len(answers):,} of {len(samples):,} by {function}")
    return answers


def _outcome(answers: Answers, more: Answers, pushed: Answers) -> Outcome:
    seconds = [one["seconds"] for one in answers]
    told = [one["told"] for one in answers]
    everywhere = [*answers, *more]
    refused = [f"{one['head'][:12]} {place}" for one in everywhere for place in one["refused"]]
    repeated = [f"{one['head'][:12]} {place}" for one in pushed for place in one["repeated"]]
    details = {
        "changes": len(answers),
        "changes_for_anchors": len(everywhere),
        "anchors_tried": sum(one["comments"] for one in everywhere),
        "pushes": len(pushed),
        "told_before_push": sum(one["told_first"] for one in pushed),
        "told_after_push": sum(one["told_after"] for one in pushed),
        "silent_changes": sum(not count for count in told),
        "most_comments": max(told),
        "slowest_s": rounded(max(seconds)),
        "rules": dict(Counter(rule for one in answers for rule in one["rules"]).most_common(20)),
        "notes": dict(Counter(note for one in answers for note in one["notes"]).most_common(5)),
        "refused": refused[:20],
        "repeated": repeated[:20],
    }
    tell(f"histories: {sum(told)} comments on {len(told):,} changes, {percentile(seconds, 0.5):.2f} s each")
    return Outcome(
        figures={
            "comments_per_change": Figure(sum(told) / len(told), "comments", at_most=0.3),
            "anchors_refused": Figure(len(refused), "comments", at_most=0),
            "review_p50_s": Figure(percentile(seconds, 0.5), "s", at_most=1),
            "review_p95_s": Figure(percentile(seconds, 0.95), "s", at_most=5),
            "repeated_after_push": Figure(len(repeated), "comments", at_most=0),
        },
        told={"histories": details},
    )


def _described(history: History, answers: Answers) -> dict[str, Any]:
    own = [one for one in answers if one["repository"] == str(history.path)]
    seconds = [one["seconds"] for one in own] or [0.0]
    told = sum(one["told"] for one in own)
    return {
        "name": history.path.name,
        "changes_are": "merges" if history.of_merges else "commits",
        "in_all": len(history.singles),
        "reviewed": len(own),
        "told": told,
        "comments_per_change": rounded(told / max(1, len(own))),
        "median_files": sorted(one["files"] for one in own)[len(own) // 2] if own else 0,
        "review_p50_s": rounded(percentile(seconds, 0.5)),
        "review_p95_s": rounded(percentile(seconds, 0.95)),
    }


def _large(stack: Stack, files: int, large_bytes: int) -> Outcome:
    """One change of many files, in a process of its own: what that one holds, and its analysers with it."""
    repository = write_repository(stack.data / "large", files, large_bytes)
    with child(stack, "large", INSIDE) as one, _memory(one.pid) as most:
        answer = one.call("reviewing.review_large", repository=str(repository))
    memory = max(most[0], answer["peak_mb"])
    tell(f"histories: {answer['files']:,} files in {answer['seconds']:.0f} s, {memory:.0f} MB at most")
    return Outcome(
        figures={
            "large_change_mb": Figure(memory, "MB", at_most=500),
            "large_change_s": Figure(answer["seconds"], "s"),
        },
        told={"large_change": {"files": answer["files"], "findings": answer["findings"], "bytes": large_bytes}},
    )


@contextmanager
def _memory(pid: int) -> Iterator[list[float]]:
    """The most that a process and its children held together, in MB, while this went on."""
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            try:
                most[0] = max(most[0], pss_mb(pid))
            except psutil.Error:
                continue  # a child ended while it was looked at

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()
