"""Which comments speak to us, and what they ask for."""

import pytest

from reviews.services.addressing import Command, addressed

NAMES = frozenset({"switchyard-acme"})


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("@switchyard review", Command.REVIEW),
        ("@Switchyard-Acme Full Review please", Command.FULL_REVIEW),
        ("@switchyard-acme[bot] pause", Command.PAUSE),
        ("/switchyard resume", Command.RESUME),
        ("/switchyard  HELP", Command.HELP),
        ("Hey @switchyard,\nresolve", None),
        ("@switchyard please dismiss this", Command.DISMISS),
        ("@switchyard: resolve!", Command.RESOLVE),
        ("/switchyard review the docs once more", None),
        ("@switchyard why is this unsafe?", None),
    ],
)
def test_who_names_us_speaks_to_us(body: str, command: Command | None) -> None:
    asked = addressed(body, NAMES)

    assert asked is not None
    assert asked.command == command
    assert "@switchyard" not in asked.text.lower()


@pytest.mark.parametrize(
    "body",
    [
        "review",
        "Looks good?",
        "> @switchyard review\n\nI did that.",
        "`@switchyard review` is how one asks",
        "```\n@switchyard review\n```",
        "~~~~ sh\n/switchyard review\n~~~~",
        "<!-- @switchyard review -->",
        "mail to ada@switchyard.example",
        "see github.com/@switchyard/x",
        "@switchyarder review",
        "we run /switchyard/bin/review",
        "",
    ],
)
def test_a_comment_that_does_not_name_us_does_not(body: str) -> None:
    assert addressed(body, NAMES) is None


@pytest.mark.parametrize(
    ("body", "speaks"),
    [
        ("dismiss", True),
        ("/dismiss", True),
        ("Please resolve", True),
        ("Why is that?", True),
        ("> Why is that?\n\nbecause", False),
        ("Fixed, thanks", False),
        ("@bob, what do you say?", False),
        ("@bob dismiss", False),
    ],
)
def test_in_our_thread_a_command_or_a_question_speaks_to_us(body: str, speaks: bool) -> None:
    assert (addressed(body, NAMES, in_our_thread=True) is not None) == speaks


def test_a_body_of_any_length_and_kind_is_read_in_no_time() -> None:
    for body in ("`" * 60_000, "<!--" * 15_000, "> " * 30_000, "@" * 60_000, "~~~\n" * 15_000, "@switchyard " * 5_000):
        addressed(body, NAMES)
