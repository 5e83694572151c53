"""Running a Python file that a user wrote, so that whatever goes wrong in it becomes one message with file and line."""

import ast
import hashlib
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from ponder.core.errors import DataError
from ponder.core.time_limit import TimeLimitReached, within

LONGEST_MESSAGE = 200  # characters of a user's own error message


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file defines something. Its line is looked up only when there is an error to report."""

    file: "UserFile"
    name: str
    index: int | None = None

    def error(self, message: str) -> DataError:
        """An error about what stands here, to be raised."""
        return self.file.error(message, self.file.line_of(self.name, self.index))


class UserFile:
    """A user's Python file, run once; `names` holds what it defines.

    It is the user's own code and runs in this process, unlike anything that a model wrote.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        source = _read(path)
        self.digest = hashlib.blake2b(source, digest_size=8).hexdigest()
        try:
            self._tree = ast.parse(source, str(path))
            code = compile(source, str(path), "exec")
        except SyntaxError as error:
            raise self.error(f"not valid Python: {error.msg}", error.lineno) from error
        except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes; nesting beyond the parser
            raise self.error(f"not valid Python: {error}") from error
        module = types.ModuleType(f"ponder_task_{path.stem}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # where dataclasses look their own module up
        folder = str(path.resolve().parent)
        sys.path.append(folder)  # a module beside the file can be imported, and shadows nothing
        try:
            with redirect_stdout(sys.stderr):  # what it prints must not mix with a command's JSON
                exec(code, module.__dict__)
        except (Exception, SystemExit) as error:
            raise self._blame(error, "the file") from error
        finally:
            sys.path.remove(folder)
        self.names = module.__dict__
        self._seconds_of: Callable[[str], float] | None = None  # that a call by this label may take; None: any

    def error(self, message: str, line: int | None = None) -> DataError:
        """An error about this file, to be raised."""
        return DataError(f"{self.path}, line {line}: {message}" if line else f"{self.path}: {message}")

    def at(self, name: str, index: int | None = None) -> "Place":
        """The place where the file defines a name, or one element of a list."""
        return Place(self, name, index)

    def function(self, name: str, parameters: str) -> Callable[..., object] | None:
        """The function of that name, None where there is none. It must take these parameters ("problem, rng")."""
        function: object = self.names.get(name)
        return None if function is None else self.taking(parameters, function, name, self.at(name))

    def taking(self, parameters: str, function: object, name: str, place: Place) -> Callable[..., object]:
        """The function itself, if it is one that takes these parameters; an error of that place else."""
        if not callable(function):
            raise place.error(f"{name} must be a function: def {name}({parameters})")
        try:
            inspect.signature(function).bind(*parameters.split(", "))
        except TypeError:
            raise place.error(f"{name} must take ({parameters})") from None
        except ValueError:  # written in C: it has no signature to check
            pass
        return function

    def call(self, function: Callable[..., object], label: str, *arguments: object) -> object:
        """What the function returns. What it raises becomes a `DataError`; `KeyboardInterrupt` passes."""
        seconds = None if self._seconds_of is None else self._seconds_of(label)
        try:
            with redirect_stdout(sys.stderr):
                return function(*arguments) if seconds is None else within(seconds, lambda: function(*arguments))
        except TimeLimitReached as error:
            if seconds is None:
                raise  # the limit of whoever called
            message = f"{label} took more than {seconds:g} seconds for one call; make it faster: it is called often"
            raise self.error(message, self._line_reached(error)) from None
        except (Exception, SystemExit) as error:
            raise self._blame(error, label) from error

    @contextmanager
    def limited(self, seconds: float, first_seconds: float) -> Iterator[None]:
        """In the block a call that takes longer raises a `DataError`, where `ponder.core.time_limit.within` holds. The
        first call of each function may take `first_seconds`: it may have something to import.
        """
        called: set[str] = set()

        def seconds_of(label: str) -> float:
            allowed = seconds if label in called else first_seconds
            called.add(label)
            return allowed

        self._seconds_of = seconds_of
        try:
            yield
        finally:
            self._seconds_of = None

    def line_of(self, name: str, index: int | None = None) -> int | None:
        """The line that defines a name; with an index, that of the list element where it is written out."""
        found = None
        for node in self._tree.body:
            if name in _defined(node):
                elements = _elements(node)
                found = elements[index].lineno if index is not None and index < len(elements) else node.lineno
        return found

    def _blame(self, error: BaseException, label: str) -> DataError:
        """The message for an error raised in the file, with the innermost of its lines on the way."""
        try:
            message = str(error)[:LONGEST_MESSAGE]
        except Exception:  # noqa: BLE001 - a user's exception class may fail even here
            message = ""
        kind = type(error).__name__
        said = f"{label} raised {kind}: {message}" if message else f"{label} raised {kind}"
        return self.error(said, self._line_reached(error))

    def _line_reached(self, error: BaseException) -> int | None:
        """The innermost of the file's lines on the way to an error."""
        frames = traceback.extract_tb(error.__traceback__)
        return next((frame.lineno for frame in reversed(frames) if frame.filename == str(self.path)), None)


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected a Python file that defines a task")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no task file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"cannot read the task file {path}: {getattr(error, 'strerror', None) or error}") from error


def _defined(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case _:
            return set()


def _elements(node: ast.stmt) -> list[ast.expr]:
    """The elements of a list that the statement writes out, one by one."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    elements = value.elts if isinstance(value, ast.List | ast.Tuple) else []
    return [] if any(isinstance(element, ast.Starred) for element in elements) else elements


def kind_of(value: object) -> str:
    """What a value is, for a message."""
    return "None" if value is None else f"of type {type(value).__name__}"


def shown(value: object) -> str:
    """A value for a message, shortened."""
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - a user's own class, or an integer too long to write
        return kind_of(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"
