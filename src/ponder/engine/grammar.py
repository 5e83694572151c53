"""Grammars of answers, compiled for one vocabulary. The parsing and the masks are llguidance's.

A grammar speaks of text, so no control token can come from it: to llguidance these have no bytes. When the answer may
end is asked of it, and with which ids it ends is for `Constraint` to say.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ponder.core.errors import GenerationError, TokenizerError
from ponder.core.streaming import Grammar
from ponder.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher

Words = NDArray[np.int32]  # one bit per token of the vocabulary, the lowest first

MAX_CHARACTERS = 131_072  # of a grammar's text: about a second to compile, at worst
REMEMBERED = 64  # grammars, the latest: clients send the same schema again and again
# An object of JSON may be indented, but not go on with white space for ever, as small models like to.
WHITE_SPACE = r"[\x20\x0A\x0D\x09]{1,64}"
# Work and memory that one grammar may take. The library's own limits would let its automaton grow to half a gigabyte.
LIMITS = {"max_grammar_size": 200_000, "max_lexer_states": 20_000}
SHOWN = 300  # characters of what the library says


class CompiledGrammar:
    """A grammar that can be followed any number of times."""

    def __init__(
        self, make: Callable[[], "LLMatcher"], begun: tuple[int, ...] = (), matcher: "LLMatcher | None" = None
    ) -> None:
        """`make` gives a matcher that nobody has followed yet; `matcher`, if there is one already, stands behind what
        was `begun`.
        """
        self._make, self._begun = make, begun
        self._matcher = self._fresh() if matcher is None else matcher

    def begin(self) -> "GrammarState":
        """The state before the first token. It costs microseconds."""
        return GrammarState(self)

    def after(self, tokens: Sequence[int]) -> "CompiledGrammar":
        """The same behind tokens that fit."""
        matcher = self.copy()
        matcher.consume_tokens(list(tokens))
        return CompiledGrammar(self._make, (*self._begun, *tokens), matcher)

    def copy(self) -> "LLMatcher":
        """A matcher at the start. All copies share an automaton, which grows with what any of them meets."""
        return self._matcher.deep_copy()

    def renew(self) -> "LLMatcher":
        """A matcher at the start with an automaton of its own, of which the copies are from now on."""
        self._matcher = self._fresh()
        return self.copy()

    def _fresh(self) -> "LLMatcher":
        matcher = self._make()
        matcher.consume_tokens(list(self._begun))
        return matcher


class GrammarState:
    """How far one text has come in its grammar."""

    __slots__ = ("_compiled", "_matcher", "_tokens")

    def __init__(self, compiled: CompiledGrammar) -> None:
        self._compiled, self._matcher = compiled, compiled.copy()
        self._tokens: list[int] = []

    def push(self, token: int) -> None:
        """Go on by a token that was allowed."""
        self._tokens.append(token)
        self._matcher.consume_token(token)

    def back(self, tokens: int) -> None:
        """Take so many tokens back."""
        if tokens:
            del self._tokens[-tokens:]
            self._matcher.rollback(tokens)

    def allow(self, words: Words) -> str:
        """Set the bits of the tokens that may come next, and of no others. Returns what is wrong, "" for nothing.

        The limit of work holds for all that was ever matched by one automaton. Where it is reached, this text is
        matched again by a new one: so nobody fails for what others wrote.
        """
        self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        if not self._matcher.is_error():
            return ""
        self._matcher = self._compiled.renew()
        self._matcher.consume_tokens(self._tokens)
        self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        if not self._matcher.is_error():
            return ""
        wrong = _first_line(self._matcher.get_error())
        self._compiled.renew()
        return wrong

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""
        return self._matcher.is_accepting()

    def fitting(self, tokens: Sequence[int]) -> int:
        """How many of these tokens may follow."""
        return self._matcher.validate_tokens(list(tokens))

    def forced(self) -> list[int]:
        """Tokens that spell all that can come next, as far as there is only one way to go on."""
        return list(self._matcher.compute_ff_tokens())


class GrammarCompiler:
    """Compiles grammars for one vocabulary, whose tables are made with the first of them. Safe from any thread."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        """`vocab_size`: the model's, which may have rows that stand for no token."""
        self.vocab_size = vocab_size
        control = tokenizer.control
        silent = {*tokenizer.control_tokens.values(), *control.stop, control.pad, control.bos}
        self.control = frozenset(i for i in silent if i is not None and i < vocab_size)
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._words: _Vocabulary | None = None
        self._vocabulary: Any = None  # the library's, of these words
        self._compiled: OrderedDict[Grammar, CompiledGrammar] = OrderedDict()

    def compile(self, grammar: Grammar) -> CompiledGrammar:
        """Bounded in time (about a second) and memory, in the caller's thread.

        Raises `GenerationError` for a grammar that is malformed, too large, or that no text fits, for an answer that
        was begun otherwise, and where llguidance is not installed.
        """
        whole = replace(grammar, begun="")
        with self._lock:
            known = self._compiled.get(whole)
            if known is None:
                known = self._compiled[whole] = self._compile(whole)
            self._compiled.move_to_end(whole)
            if len(self._compiled) > REMEMBERED:
                self._compiled.popitem(last=False)
            return self._after(known, grammar) if grammar.begun else known

    def _compile(self, grammar: Grammar) -> CompiledGrammar:
        if len(grammar.text) > MAX_CHARACTERS:
            raise _refused(grammar, f"it has {len(grammar.text)} characters; expected at most {MAX_CHARACTERS}")
        library = _library()
        if self._words is None:
            self._words = _Vocabulary(self._tokenizer, self.control, self.vocab_size)
            self._vocabulary = library.LLTokenizer(
                library.TokenizerWrapper(self._words),
                n_vocab=self.vocab_size,
                eos_token=self._tokenizer.control.eos,
            )
        source, limits = _to_source(library, grammar), library.LLParserLimits(verbose_errors=False, **LIMITS)

        def make() -> "LLMatcher":
            return library.LLMatcher(self._vocabulary, source, log_level=0, limits=limits)

        matcher = make()
        if matcher.is_error():
            raise _refused(grammar, _first_line(matcher.get_error()))
        compiled = CompiledGrammar(make, matcher=matcher)
        self._check_first(grammar, compiled.begin())
        return compiled

    def _after(self, compiled: CompiledGrammar, grammar: Grammar) -> CompiledGrammar:
        """Behind what was begun. Which tokens spell it is all the same to a grammar."""
        assert self._words is not None
        try:
            tokens = self._words(grammar.begun)
        except TokenizerError as error:
            raise _refused(grammar, f"of the answer that was begun, {error}") from error
        state = compiled.begin()
        self._check_first(grammar, state)
        fitting = state.fitting(tokens)
        if fitting < len(tokens):
            fits = b"".join([self._words.tokens[token] for token in tokens[:fitting]]).decode(errors="ignore")
            raise _refused(grammar, f"the answer was begun with another text, from character {len(fits) + 1} on")
        after = compiled.after(tokens)
        self._check_first(grammar, after.begin())
        return after

    def _check_first(self, grammar: Grammar, state: GrammarState) -> None:
        """Some that explode do so at the first token, and some allow none."""
        words = np.zeros(-(-self.vocab_size // 32), np.int32)
        if wrong := state.allow(words):
            raise _refused(grammar, wrong)
        bits = np.unpackbits(words.view(np.uint8), bitorder="little", count=self.vocab_size)
        bits[list(self.control)] = 0
        if not bits.any() and not state.complete:
            raise _refused(grammar, _first_line("NoExtension"))


class _Vocabulary:
    """A tokenizer as llguidance asks for it."""

    def __init__(self, tokenizer: Tokenizer, control: frozenset[int], vocab_size: int) -> None:
        self.eos_token_id, self.bos_token_id = tokenizer.control.eos, None
        self.special_token_ids: list[int] = []
        self.tokens = [b"" if i in control else tokenizer.bytes_of(i) for i in range(vocab_size)]
        self._tokenizer = tokenizer
        self._ids = {text: i for i, text in enumerate(self.tokens) if text}
        self._longest = max(map(len, self._ids), default=1)

    def __call__(self, text: str) -> list[int]:
        """The tokens to write a text with that is the only way to go on: the tokenizer's, or where these are not that
        text, since SentencePiece's begin with a space, the longest that fit. Raises `TokenizerError` for a character
        that the vocabulary lacks.
        """
        ids, wanted = self._tokenizer.encode(text), text.encode()
        if b"".join([self.tokens[i] for i in ids]) == wanted:
            return ids
        ids, at = [], 0
        while at < len(wanted):
            ends = range(min(len(wanted), at + self._longest), at, -1)
            end = next((end for end in ends if wanted[at:end] in self._ids), None)
            if end is None:
                raise TokenizerError(f"the vocabulary has no token for {wanted[at:]!r}")
            ids.append(self._ids[wanted[at:end]])
            at = end
        return ids


def _library() -> ModuleType:
    try:
        import llguidance
    except ImportError as error:
        raise GenerationError(
            "an answer in a form of its own (JSON schema, regex, lark) needs the package llguidance, which is not "
            "installed; install it: pip install 'ponder[serve]'"
        ) from error
    return llguidance


def _to_source(library: ModuleType, grammar: Grammar) -> str:
    if grammar.kind == "json_schema":
        try:
            content = json.loads(grammar.text)
        except (ValueError, RecursionError) as error:
            raise _refused(grammar, f"it is no JSON: {_first_line(str(error))}") from error
        if content is not True and not isinstance(content, dict):
            raise _refused(grammar, f"it is {_first_line(grammar.text)}; expected an object, or true for any JSON")
        text = "{}" if content is True else grammar.text
        try:
            return str(library.LLMatcher.grammar_from_json_schema(text, {"whitespace_pattern": WHITE_SPACE}))
        except ValueError as error:  # its parser's bounds are narrower: 128 levels
            raise _refused(grammar, _first_line(str(error))) from error
    if grammar.kind == "regex":
        return str(library.LLMatcher.grammar_from_regex(grammar.text))
    if grammar.text.lstrip().startswith("{"):  # which the library would take for a grammar in its own notation
        raise _refused(grammar, "it begins with {; expected rules in Lark's notation, of which one is `start`")
    return str(library.LLMatcher.grammar_from_lark(grammar.text))


def _refused(grammar: Grammar, why: str) -> GenerationError:
    name = {"json_schema": "JSON schema", "regex": "regular expression", "lark": "Lark grammar"}[grammar.kind]
    return GenerationError(f"the {name} cannot be followed: {why}")


def _first_line(message: str) -> str:
    if "special token" in message:
        return "it names a control token; a grammar is of text alone"
    if "NoExtension" in message or "TokenizerError" in message:
        return "no text of this vocabulary fits it"
    line = next(iter(message.splitlines()), "")
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
