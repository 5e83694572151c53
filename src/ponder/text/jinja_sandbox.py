"""An environment for jinja text that somebody else wrote: it reaches nothing, and it comes to an end.

One budget holds for a whole rendering. Every turn of a loop and every call takes from it, whatever they are nested in;
values that grow (sums, products, what is joined or assigned) have a largest size.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ponder.core.errors import DataError

MOST_SOURCE = 200_000  # characters of a template; the longest published have some 20,000
MOST_STEPS = 300_000  # turns of loops and calls; a conversation of 1,000 turns takes some 20,000
MOST_SECONDS = 5.0  # of the processor's time, for what a single step may take
LARGEST_VALUE = 10_000_000  # characters of a text, items of a list
LARGEST_PRODUCT = 100_000  # of a text or list that is repeated
LARGEST_NUMBER = 10**18


class EndlessTemplateError(DataError):
    """A chat template took more steps, time or memory than any conversation needs."""


class _Budget:
    """What a rendering may still take."""

    def __init__(self) -> None:
        self.steps, self.deadline = MOST_STEPS, time.thread_time() + MOST_SECONDS

    def take_step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise EndlessTemplateError(f"the chat template takes more than {MOST_STEPS:,} steps; it is not followed")
        if time.thread_time() > self.deadline:
            raise EndlessTemplateError(f"the chat template takes more than {MOST_SECONDS:g} s; it is not followed")


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

    intercepted_binops = frozenset({"*", "**", "+"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        self.filters |= {"tojson": _to_json, COUNTED: _counted, BOUNDED: _bounded}
        del self.filters["center"]  # fills up to any width
        self.globals["raise_exception"] = _refuse
        del self.globals["lipsum"]  # says something else every time

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The tree, with what loops run over and what is assigned put through the two filters."""
        tree = super()._parse(source, name, filename)

        def through(value: Any, filter_name: str) -> nodes.Filter:
            return nodes.Filter(value, filter_name, [], [], None, None, lineno=1, environment=self)

        for loop in tree.find_all(nodes.For):
            loop.iter = through(loop.iter, COUNTED)
        for assigned in tree.find_all(nodes.Assign):
            assigned.node = through(assigned.node, BOUNDED)
        for block in tree.find_all(nodes.AssignBlock):
            block.filter = through(block.filter, BOUNDED)
        return tree

    def call(self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Every call in a template comes this way; `loop(items)` goes around a loop again."""
        _budget.get().take_step()
        in_text = isinstance(getattr(__obj, "__self__", None), str)  # a method that may fill up to a width
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
        if operator == "*" and len(numbers) == 1:
            other = right if numbers[0] is left else left
            if hasattr(other, "__len__") and len(other) * numbers[0] > LARGEST_PRODUCT:
                raise _too_large()
        return _bounded(super().call_binop(context, operator, left, right))


# names that no template can write
COUNTED, BOUNDED = "ponder counted", "ponder bounded"


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
