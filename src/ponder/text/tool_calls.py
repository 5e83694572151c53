"""Tool calls in what a model writes, found as it comes: first the name, then the arguments piece by piece.

A mark that is a control token of the vocabulary counts as such only; elsewhere its text does. What looks like a call
and is none (no JSON, a tool that nobody offered) is content like any other: nothing is lost.
"""

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from ponder.text.tokenizer import Tokenizer
from ponder.text.tool_formats import ToolFormat


class CallStart(NamedTuple):
    """A call of this tool begins."""

    name: str


class CallArguments(NamedTuple):
    """Some more of the arguments' text."""

    text: str


Found = str | CallStart | CallArguments  # content, or part of a call

_OBJECT_HEAD = re.compile(
    r'\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:'
    r"\s*(?=\{)"
)
_NAME_OF_HALF = re.compile(r'\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*("(?:[^"\\]|\\.)*")')
_NAME = re.compile(r"\s*([^\s`]+)\s*```(?:json)?\s*(?=\{)")  # of a headed call that says what kind of tool it is
_PLAIN_STARTS = ('{"name":"', '{"type":"function","name":"')  # of a call without marks, without white space
_LONGEST_HEAD = 1024  # characters in which a call without marks has told its name
_SPECIAL = re.compile(r'["\\{}\[\]]')


class ArgumentsScan:
    """Follows one JSON value to its end."""

    __slots__ = ("_depth", "_escaped", "in_string")

    def __init__(self) -> None:
        self._depth = 0
        self.in_string = self._escaped = False

    def push(self, text: str) -> int | None:
        """How much of a text belongs to the value, None where all of it does and the value goes on."""
        position = 0
        while position < len(text):
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            found = _SPECIAL.search(text, position)
            if found is None:
                return None
            sign, position = found.group(), found.end()
            if self.in_string:
                self._escaped = sign == "\\"
                self.in_string = sign != '"'
            elif sign == '"':
                self.in_string = True
            elif sign in "{[":
                self._depth += 1
            elif sign in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return position
        return None


class ToolCallParser:
    """Follows one answer. Give it text and control tokens in the order in which they come."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        chosen: ToolFormat,
        names: Collection[str],
        *,
        parallel: bool = True,
        bare: bool = False,
        required: bool = False,
    ) -> None:
        """`names`: the tools that may be called. `parallel=False`: what follows the first call is not looked at.
        `bare`: calls are objects without the family's marks, nothing before them. `required`: the answer is nothing
        but calls.
        """
        self._required = required
        self._format, self._names, self._parallel = chosen, frozenset(names), parallel
        control = tokenizer.control_tokens
        marks = () if bare else chosen.marks
        self._ids = {control[mark]: mark for mark in marks if mark in control}
        as_text = [mark for mark in marks if mark not in control]
        self._marks = re.compile("|".join(map(re.escape, sorted(as_text, key=len, reverse=True)))) if as_text else None
        self._as_text = as_text
        self._held = ""  # text that a mark may begin with, or white space that a call may follow
        # what has come of a call whose name is not told, first its mark or the white space before it; None outside
        self._raw: list[str] | None = None
        self._kind = ""  # the text before a headed call's separator; "" before it came
        self._headed = False  # the separator came
        self._scan: ArgumentsScan | None = None  # while arguments come
        self._tail: str | None = None  # what follows the arguments, up to the call's end
        self._begun = 0  # calls
        self._space = ""  # white space at the end of the content so far
        self._unmarked = not marks  # a call is an answer that is one object
        self._at_start = self._unmarked  # of such an answer
        self._out: list[Found] = []

    @property
    def satisfied(self) -> bool:
        """The one call that may be made has come to its end."""
        return not self._parallel and self._begun > 0 and self._scan is None  # a second one may have begun

    @property
    def _inside(self) -> bool:
        """Some of a call has come and its end has not."""
        return self._raw is not None or self._scan is not None or self._tail is not None

    def push(self, text: str) -> list[Found]:
        """What is certain after this text."""
        if not text:
            return []
        text, self._held = self._held + text, ""
        if self._marks is None:
            self._text(text)
            return self._given()
        position = 0
        for found in self._marks.finditer(text):
            self._text(text[position : found.start()])
            self._mark(found.group())
            position = found.end()
        rest = text[position:]
        keep = self._partial(rest)
        self._text(rest[: len(rest) - keep])
        self._held = rest[len(rest) - keep :]
        return self._given()

    def mark(self, token: int) -> list[Found]:
        """A control token."""
        self._release()
        if token in self._ids:
            self._mark(self._ids[token])
        return self._given()

    def finish(self, *, cut: bool = False) -> list[Found]:
        """Nothing comes any more. `cut`: the model had more to say; the beginning of a call is no content then."""
        if cut and self._tail is not None:
            self._held = ""  # of the mark that would have ended the call
        self._release()
        if cut and self._raw is not None and (self._required or not self._unmarked):
            self._cut_off(self._raw)
        self._end_call()
        if self._space and not self._begun:
            self._out.append(self._space)
        self._space = ""
        return self._given()

    def _given(self) -> list[Found]:
        out, self._out = self._out, []
        return out

    def _release(self) -> None:
        held, self._held = self._held, ""
        self._text(held)

    def _partial(self, text: str) -> int:
        """How many of the last characters a mark may begin with."""
        longest = max(map(len, self._as_text)) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(mark.startswith(text[-length:]) for mark in self._as_text):
                return length
        return 0

    def _mark(self, mark: str) -> None:
        opening = mark == self._format.call[0].strip()
        if self._scan is not None and self._scan.in_string and mark not in self._ids.values():
            self._text(mark)  # the text of a mark inside a JSON string
        elif opening:
            self._end_call()
            self._raw, self._space = [mark], "" if self._begun else self._space
            self._headed, self._kind = False, ""
        elif mark == self._format.separator.strip() and self._raw is not None and not self._headed:
            self._kind, self._headed = "".join(self._raw[1:]).strip(), True
            self._raw.append(mark)
            self._raw.append("")
        elif mark in self._as_text and mark not in self._format.calls and not self._inside:
            self._content(mark)  # the end of nothing
        else:  # the end of a call, or what stands around all of them
            if self._raw is not None:
                self._raw.append(mark)
            self._end_call(mark)

    def _text(self, text: str) -> None:
        if not text:
            return
        if self._scan is not None:
            self._arguments(text)
        elif self._raw is not None:
            self._raw.append(text)
            self._find_head()
        elif self._tail is not None:
            self._after(text)
        elif self._at_start:
            self._begin_unmarked(text)
        else:
            self._content(text)

    def _content(self, text: str) -> None:
        """White space is held back: that before a call belongs to no content, nor does that between two."""
        text = self._space + text
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if shown and not (self._begun and not self._parallel):
            self._out.append(shown.lstrip() if self._begun else shown)

    def _find_head(self) -> None:
        """Whether the name of the tool has come and its arguments begin."""
        assert self._raw is not None
        if self._format.body == "headed" and not self._unmarked:
            if not self._headed:
                return
            after = "".join(self._raw[self._raw.index(self._format.separator.strip()) + 1 :])
            found = _NAME.match(after)
            name, start = (found.group(1), found.end()) if found else (self._kind, len(after) - len(after.lstrip()))
            if (found is None and self._kind not in self._names) or not after[start:].startswith("{"):
                return
            body = after[start:]
        else:
            text = "".join(self._raw[1:])
            match = _OBJECT_HEAD.match(text)
            if match is None:
                self._refute(text)
                return
            name, body = _unquoted(match.group(1)), text[match.end() :]
        if name in self._names and (self._parallel or not self._begun):
            self._start(name, body)
        elif self._unmarked:
            self._give_up()

    def _start(self, name: str, body: str) -> None:
        self._raw, self._scan, self._space = None, ArgumentsScan(), ""
        self._begun += 1
        self._out.append(CallStart(name))
        self._arguments(body)

    def _arguments(self, text: str) -> None:
        assert self._scan is not None
        end = self._scan.push(text)
        self._out.append(CallArguments(text if end is None else text[:end]))
        if end is not None:
            self._scan, self._tail = None, ""
            if text[end:]:
                self._after(text[end:])

    def _after(self, text: str) -> None:
        """What follows the arguments: the end of the object or of the fence."""
        assert self._tail is not None
        self._tail += text
        if self._unmarked and (closed := self._tail.find("}")) >= 0:
            rest, self._tail = self._tail[closed + 1 :], None
            self._at_start = True
            if rest:
                self._text(rest)

    def _end_call(self, mark: str = "") -> None:
        """A call is over, or what was taken for one."""
        if self._raw is not None:
            self._settle()
        tail, self._tail, self._scan = self._tail, None, None
        if tail and tail.strip(" \t\r\n`}") and not tail.lstrip().startswith(","):
            self._content(tail.strip(" \t\r\n`}"))

    def _settle(self) -> None:
        """A call that is whole but whose head was not as expected (other keys first, arguments that are no object)."""
        assert self._raw is not None
        raw = self._raw
        body = [part for part in raw[1:] if part not in self._format.marks]
        headed = self._format.body == "headed" and not self._unmarked
        call = None if headed else _whole_call("".join(body), self._names)
        if call is None or (self._begun and not self._parallel):
            self._give_up()
            return
        self._raw = None
        self._begun += 1
        self._out += [CallStart(call[0]), CallArguments(call[1])]

    def _cut_off(self, raw: list[str]) -> None:
        """Half a call, without arguments yet: where its name has come it is a call, else nothing."""
        text = "".join(raw[1:])
        if _whole_call(text, self._names) is not None:
            return
        self._raw, self._at_start = None, False
        found = _NAME_OF_HALF.match(text)
        if found and _unquoted(found.group(1)) in self._names and (self._parallel or not self._begun):
            self._begun += 1
            self._out.append(CallStart(_unquoted(found.group(1))))

    def _give_up(self) -> None:
        """It was no call."""
        raw, self._raw, self._at_start = "".join(self._raw or ()), None, False
        self._content(raw)

    # calls without marks

    def _begin_unmarked(self, text: str) -> None:
        stripped = text.lstrip(" \t\r\n;," if self._begun else None)
        if not stripped:
            self._space += "" if self._begun else text
        elif stripped.startswith("{"):
            self._at_start, self._raw = False, [self._space + text[: len(text) - len(stripped)], stripped]
            self._space = ""
            self._find_head()
        else:
            self._at_start = False
            self._content(text)

    def _refute(self, text: str) -> None:
        """Give up on a call without marks as soon as it can be none."""
        if not self._unmarked:
            return
        dense = re.sub(r"\s", "", text[:64])
        if len(text) > _LONGEST_HEAD or not any(s.startswith(dense[: len(s)]) for s in _PLAIN_STARTS):
            self._give_up()


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return ""


def _whole_call(text: str, names: Collection[str]) -> tuple[str, str] | None:
    """Name and arguments of a call that has come to its end, None where it is none."""
    try:
        call: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or call.get("name") not in names:
        return None
    arguments = call.get("arguments", call.get("parameters"))
    if arguments is None:
        return call["name"], "{}"
    return call["name"], arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
