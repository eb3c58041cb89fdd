"""What jobs do outside, once: comments, mails, calls of other systems.

An effect is written down under a key before it is tried, and looked up at the far side before it is tried again:

    from jobs import effects

    effects.once("review:7:comment", post_comment, kind="comment", target="github.com/o/r#7", look_up=find_comment)

`post` and `send_mail` are calls that keep the rules of the wire: nothing is sent after the deadline.
"""

from jobs.effects.copies import counts_copies
from jobs.effects.errors import (
    EffectKeyReused,
    EffectPostponed,
    EffectUncertain,
    EffectUnknown,
    NotDone,
    Refused,
    TooLate,
)
from jobs.effects.http import Answer, post
from jobs.effects.mail import MailServer, send_mail
from jobs.effects.protocol import Uncertain, once
from jobs.effects.trying import Try

__all__ = [
    "Answer",
    "EffectKeyReused",
    "EffectPostponed",
    "EffectUncertain",
    "EffectUnknown",
    "MailServer",
    "NotDone",
    "Refused",
    "TooLate",
    "Try",
    "Uncertain",
    "counts_copies",
    "once",
    "post",
    "send_mail",
]
