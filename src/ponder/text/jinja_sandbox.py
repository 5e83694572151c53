"""An environment for jinja text that somebody else wrote: it reaches nothing, and it comes to an end.

One budget holds for a whole rendering. Every turn of a loop, every call and all that is written takes from it, whatever
they are nested in; values that grow (sums, products, what is joined, filled up or assigned) have a largest size, and
what could be larger by far is refused before it is made.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes, pass_context, pass_eval_context
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ponder.core.errors import DataError

MOST_SOURCE = 200_000  # characters of a template; the longest published have some 20,000
MOST_STEPS = 300_000  # turns of loops and calls; a conversation of 1,000 turns takes some 20,000
MOST_SECONDS = 5.0  # of the processor's time, for what a single step may take
LARGEST_VALUE = 10_000_000  # characters of a text, items of a list
LARGEST_PRODUCT = 100_000  # of a text or list that is repeated
LARGEST_NUMBER = 10**18
_FILL = re.compile(r"[0-9]{6,}|\*")  # a width or precision of 100,000 or more, or one that is told elsewhere
# filters that fill up, or put something between all characters, and that no template of a conversation needs
_NEEDLESS = ("batch", "center", "pprint", "slice", "urlize", "wordwrap", "xmlattr")


class EndlessTemplateError(DataError):
    """A chat template took more steps, time or memory than any conversation needs."""


class _Budget:
    """What a rendering may still take."""

    def __init__(self) -> None:
        self.steps, self.deadline = MOST_STEPS, time.thread_time() + MOST_SECONDS
        self.characters = 4 * LARGEST_VALUE  # what a macro makes is written twice: there, and where it is called

    def take_step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise EndlessTemplateError(f"the chat template takes more than {MOST_STEPS:,} steps; it is not followed")
        if time.thread_time() > self.deadline:
            raise EndlessTemplateError(f"the chat template takes more than {MOST_SECONDS:g} s; it is not followed")

    def write(self, characters: int) -> None:
        self.characters -= characters
        if self.characters < 0:
            raise _too_large()


_budget: ContextVar[_Budget] = ContextVar("budget")


@contextmanager
def one_budget() -> Iterator[None]:
    """What is rendered inside shares one budget."""
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def compile_template(source: str) -> Callable[..., str]:
    """A function of a template's variables; it raises whatever the template's expressions may, and `DataError` where
    the template refuses a conversation or does not end. Raises `DataError` for text that is no jinja template.
    """
    if len(source) > MOST_SOURCE:
        raise DataError(f"the chat template has {len(source):,} characters; expected at most {MOST_SOURCE:,}")
    try:
        with one_budget():  # constant expressions are worked out here
            template = _Environment().from_string(source)
    except RecursionError:
        raise DataError(
            "the chat template is no jinja template that can be followed: it is nested too deeply"
        ) from None
    except (TemplateError, SyntaxError, ValueError, ArithmeticError, MemoryError) as error:
        raise DataError(f"the chat template is no jinja template: {error}") from error

    def render(**variables: Any) -> str:
        with one_budget():
            text = template.render(**variables)
            _budget.get().take_step()  # the time that the last one took
            return text

    return render


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja as transformers sets it up for chat templates, with every loop and growing value counted."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        for name in _NEEDLESS:
            del self.filters[name]
        plain = {name: self.filters[name] for name in ("format", "indent", "join", "replace")}

        def indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
            wide = width if isinstance(width, int) else len(width)
            _require_room(wide * (str(text).count("\n") + 1))
            return str(plain["indent"](text, width, first, blank))

        def filled(text: str, *args: Any, **kwargs: Any) -> str:
            _require_no_filling(str(text))
            return str(plain["format"](text, *args, **kwargs))

        @pass_eval_context
        def join(context: EvalContext, items: Iterable[Any], between: str = "", attribute: Any = None) -> str:
            kept = list(_steps(items))
            _require_room(len(str(between)) * len(kept) + sum(len(item) for item in kept if isinstance(item, str)))
            return str(plain["join"](context, kept, between, attribute))

        @pass_eval_context
        def replace(context: EvalContext, text: str, old: str, new: str, count: int | None = None) -> str:
            _require_room(str(text).count(str(old)) * len(str(new)))
            return str(plain["replace"](context, text, old, new, count))

        self.filters |= {"tojson": _to_json, "indent": indent, "format": filled, "join": join, "replace": replace}
        self.filters |= {COUNTED: _counted, BOUNDED: _bounded, WRITTEN: _written}
        self.globals["raise_exception"] = _refuse
        del self.globals["lipsum"]  # says something else every time

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The tree, with what loops run over, what is assigned and what is written put through the filters."""
        tree = super()._parse(source, name, filename)

        def through(value: Any, filter_name: str) -> nodes.Filter:
            return nodes.Filter(value, filter_name, [], [], None, None, lineno=1, environment=self)

        for loop in tree.find_all(nodes.For):
            loop.iter = through(loop.iter, COUNTED)
        for assigned in tree.find_all(nodes.Assign):
            assigned.node = through(assigned.node, BOUNDED)
        for block in tree.find_all(nodes.AssignBlock):
            block.filter = through(block.filter, BOUNDED)
        for output in tree.find_all(nodes.Output):
            shown = [nodes.Const(n.data) if isinstance(n, nodes.TemplateData) else n for n in output.nodes]
            output.nodes = [through(node, WRITTEN) for node in shown]
        return tree

    def call(self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Every call in a template comes this way; `loop(items)` goes around a loop again."""
        _budget.get().take_step()
        of_text = getattr(__obj, "__self__", None)
        in_text = isinstance(of_text, str)  # a method that may fill up to a width
        if isinstance(of_text, str):
            args = _checked_method(of_text, getattr(__obj, "__name__", ""), args)
        for value in (*args, *kwargs.values()):
            if in_text and isinstance(value, int) and value > LARGEST_PRODUCT:
                raise _too_large()
            _bounded(value)
        if isinstance(__obj, LoopContext):
            args = (_counted(args[0]), *args[1:])
        return _bounded(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The result, if it is not too large to work out."""
        numbers = [value for value in (left, right) if isinstance(value, int)]
        if operator == "**" and len(numbers) == 2 and right * left.bit_length() > LARGEST_NUMBER.bit_length():
            raise _too_large()
        if operator == "%" and isinstance(left, str):
            _require_no_filling(left)
        if operator == "*" and len(numbers) == 1:
            other = right if numbers[0] is left else left
            if hasattr(other, "__len__") and len(other) * numbers[0] > LARGEST_PRODUCT:
                raise _too_large()
        return _bounded(super().call_binop(context, operator, left, right))


# names that no template can write
COUNTED, BOUNDED, WRITTEN = "ponder counted", "ponder bounded", "ponder written"


@pass_context  # so that it is never worked out beforehand, and counts at every turn of a loop
def _written(context: Context, value: Any) -> Any:
    """What stands in the text at this place."""
    _budget.get().write(len(value) if isinstance(value, str) else len(str(value)))
    return value


def _checked_method(text: str, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a text's method whose result may be larger than all of them, if it is not by far."""
    if name in ("format", "format_map"):
        _require_no_filling(text)
    elif name == "replace" and len(args) > 1:
        _require_room(text.count(str(args[0])) * len(str(args[1])))
    elif name == "join" and args:
        items = list(_steps(args[0]))
        _require_room(len(text) * len(items) + sum(len(item) for item in items if isinstance(item, str)))
        return (items, *args[1:])
    elif name == "translate":
        raise _too_large()
    return args


def _require_room(characters: int) -> None:
    """Refuse what would be larger than the largest value."""
    if characters > LARGEST_VALUE:
        raise _too_large()


def _require_no_filling(form: str) -> None:
    """Refuse a form such as `%9000000d` or `{:>9000000}` that fills up to any width. Text outside of its places may
    hold what it likes.
    """
    places = re.findall(r"%(?:\([^)]*\))?([-#0 +]*[0-9*]*(?:\.[0-9*]*)?)|\{[^{}]*:([^{}]*)", form)
    if any(_FILL.search(part) for place in places for part in place):
        raise _too_large()


def _counted(items: Iterable[Any]) -> Iterable[Any]:
    """The items, each of which is a step."""
    return _Counted(items) if hasattr(items, "__len__") else _steps(items)


class _Counted:
    """A loop that knows its length, as `loop.last` and `loop.length` ask for it."""

    def __init__(self, items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return _steps(self._items)


def _steps(items: Iterable[Any]) -> Iterator[Any]:
    budget = _budget.get()
    for item in items:
        budget.take_step()
        yield item


def _bounded(value: Any) -> Any:
    if isinstance(value, int):
        if abs(value) > LARGEST_NUMBER:
            raise _too_large()
    elif isinstance(value, str | list | tuple) and len(value) > LARGEST_VALUE:
        raise _too_large()
    return value


def _too_large() -> EndlessTemplateError:
    return EndlessTemplateError("the chat template makes a number or text too large to work with; it is not followed")


def _refuse(message: str) -> NoReturn:
    raise DataError(f"the chat template refuses this conversation: {message}")


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
