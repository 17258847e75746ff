"""Requests that nobody can find fault with, to tell whether a server fails a request or all of them.

Each has the fields of the request in doubt, so that what is wrong with these shows too.
"""

from __future__ import annotations

from dataclasses import replace

from ictc.engines.openai.protocol import Call, encode_image
from ictc.records import DecodedImage

SIDE_PX = 64
"""Small, and larger than what vision models refuse as too small."""
MAX_TOKENS = 64
WORDS = """Say something about this:
2 × red shoes
1 × blue bag
{"brand": "", "category": "shoes", "text": "red shoes", "summary": "A pair of red shoes."}"""


def neutral_call(call: Call) -> Call:
    """Return a call of the same kind as `call`, with words and a picture that are beyond doubt."""
    picture = DecodedImage(width=SIDE_PX, height=SIDE_PX, rgb=bytes((200, 60, 60)) * SIDE_PX**2)
    content = [{"type": "image_url", "image_url": {"url": encode_image(picture)}}, {"type": "text", "text": WORDS}]
    messages = [
        turn | {"content": "Answer in the form that is asked for."}
        if turn["role"] == "system"
        else turn | {"content": content if isinstance(turn["content"], list) else WORDS}
        for turn in call.messages
    ]
    fields = dict(call.fields)
    if "max_tokens" in fields:
        fields["max_tokens"] = min(fields["max_tokens"], MAX_TOKENS)
    return replace(call, messages=messages, fields=fields)


def without_image(call: Call) -> Call:
    """Return the same call with its words alone."""
    messages = [turn | {"content": WORDS} if isinstance(turn["content"], list) else turn for turn in call.messages]
    return replace(call, messages=messages)
