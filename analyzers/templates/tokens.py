"""The words of a condition, each with its place, so that every complaint can point at a character."""

import re
from typing import Final, Literal, NamedTuple

from analyzers.templates.errors import ConditionError

LENGTH: Final = 1024
_WHITE: Final = re.compile(r"[ \t\r\n]+")
_NUMBER: Final = re.compile(r"(?:0[xX][0-9a-fA-F]+|(?:[0-9][0-9_]*)?\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9][0-9_]*(?:[eE][+-]?[0-9]+)?)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGN: Final = re.compile(r"\?\?|\?\.|\.\.|\*\*|&&|\|\||==|!=|<=|>=|[-+*/%^<>!?:.,()\[\]{}|#]")
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "`": "`", "0": "\0"}

Sort = Literal["number", "text", "name", "sign", "end"]


class Token(NamedTuple):
    """`text` is what stands there; `value` what it means where that differs (numbers and quoted text)."""

    sort: Sort
    text: str
    at: int
    value: float | int | str = ""


def tokens_of(text: str) -> list[Token]:
    """All words of a condition, and an end."""
    if len(text) > LENGTH:
        raise ConditionError(f"has {len(text)} characters, more than {LENGTH}: split it into several metrics")
    found: list[Token] = []
    at = 0
    while at < len(text):
        if white := _WHITE.match(text, at):
            at = white.end()
            continue
        token, at = _next(text, at)
        found.append(token)
    return [*found, Token("end", "the end", len(text) + 1)]


def _next(text: str, at: int) -> tuple[Token, int]:
    if text[at] in "\"'`":
        return _quoted(text, at)
    # `1..3` is a range and not the number `1.` before `.3`.
    number = _NUMBER.match(text, at)
    if number and not (text[at] == "." and text.startswith("..", at)):
        end = number.end()
        plain = re.match(r"[0-9][0-9_]*(?=\.\.)", text[at:])
        if plain:
            end = at + plain.end()
        return Token("number", text[at:end], at + 1, _value(text[at:end], at)), end
    if name := _NAME.match(text, at):
        return Token("name", name.group(), at + 1), name.end()
    if sign := _SIGN.match(text, at):
        return Token("sign", sign.group(), at + 1), sign.end()
    hint = "; write && or and" if text[at] == "&" else "; write == to compare" if text[at] == "=" else ""
    raise ConditionError(f"{text[at]!r} means nothing here{hint}", at=at + 1)


def _value(text: str, at: int) -> float | int:
    plain = text.replace("_", "")
    if plain[:2] in ("0x", "0X"):
        return int(plain, 16)
    try:
        whole = int(plain) if plain.isdigit() else None
        return whole if whole is not None and whole < 2**63 else float(plain)
    except ValueError as error:  # more digits than the interpreter reads
        raise ConditionError(f"{text[:20]}... is too long for a number", at=at + 1) from error


def _quoted(text: str, at: int) -> tuple[Token, int]:
    quote, here, said = text[at], at + 1, []
    while here < len(text) and text[here] != quote:
        if text[here] == "\\" and quote != "`":
            if here + 1 >= len(text) or text[here + 1] not in _ESCAPES:
                raise ConditionError("an escape that is none: \\n, \\t, \\r, \\\\ and quotes can be escaped", at=here + 1)
            said.append(_ESCAPES[text[here + 1]])
            here += 2
        else:
            said.append(text[here])
            here += 1
    if here >= len(text):
        raise ConditionError(f"the text that begins with {quote} does not end", at=at + 1)
    return Token("text", text[at : here + 1], at + 1, "".join(said)), here + 1
