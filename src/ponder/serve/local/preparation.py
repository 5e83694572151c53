"""From an ask to a request of the engine: all that can be worked out, and refused, before anything is queued."""

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ponder.core.errors import GenerationError
from ponder.core.seeds import derive_seed
from ponder.core.streaming import Grammar, Request, Thinking
from ponder.serve.errors import ApiError
from ponder.serve.local.constraints import constrain
from ponder.serve.local.model import LocalModel
from ponder.serve.local.prompts import PromptIds, conversation_ids, plain_ids
from ponder.serve.local.reply import ReplyForm
from ponder.serve.local.thinking import bound_thought, thought_ids, thought_room
from ponder.serve.records import Ask, Caller, Conversation
from ponder.text.tool_calls import ToolCallParser

ParserMaker = Callable[[], ToolCallParser]


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalPrepared:
    """A request that the engine could serve. See `ponder.serve.seams.Prepared`."""

    model: LocalModel
    request: Request
    form: ReplyForm
    make_parser: ParserMaker | None  # of tool calls, one for each sample; None where there can be none

    @property
    def prompt_tokens(self) -> int:
        return len(self.request.prompt_ids)

    @property
    def max_completion_tokens(self) -> int:
        return self.request.max_tokens * len(self.request.seeds)


class Preparation:
    """Prepares what is asked of one model."""

    def __init__(self, model: LocalModel) -> None:
        self.model, self.info = model, model.info
        self._tokenizer = model.prompter.tokenizer
        self._thought = thought_ids(self._tokenizer, model.prompter.thought)

    def prepare(self, ask: Ask, caller: Caller) -> LocalPrepared:
        """Raises `ApiError` 400, naming the field, for what this model cannot serve."""
        if isinstance(ask.prompt, Conversation):
            return self._prepare_chat(ask, ask.prompt, caller)
        prompt = plain_ids(self.model.prompter, ask.prompt)
        max_tokens = self._room(ask, prompt)
        grammar = constrain(ask, self.model.prompter).grammar
        form = ReplyForm(
            tokenizer=self._tokenizer, request_id=ask.id, whole=True, trims=False, continues=True,
            logprobs=self._tells_logprobs(ask), echo=prompt.echo,
        )  # fmt: skip
        return self._prepared(ask, caller, prompt, max_tokens, None, grammar, form, None)

    def _prepare_chat(self, ask: Ask, asked: Conversation, caller: Caller) -> LocalPrepared:
        grammar, bare_calls = constrain(ask, self.model.prompter)
        prompt, room = self._chat_prompt(ask, asked, constrained=grammar is not None)
        max_tokens = self._room(ask, prompt)
        thinking = None
        if self._thought is not None and (prompt.opens_thought or grammar is None):
            thinking = bound_thought(self._thought, opened=prompt.opens_thought, max_tokens=max_tokens, room=room)
        form = ReplyForm(
            tokenizer=self._tokenizer,
            request_id=ask.id,
            trims=ask.response_format.kind not in ("regex", "lark"),
            continues=asked.prefix,
            logprobs=self._tells_logprobs(ask),
        )
        begun = grammar is not None and bool(grammar.begun)  # the reply is the rest of an answer: no call
        make_parser = None if begun else self._parser_maker(asked, bare=bare_calls)
        return self._prepared(ask, caller, prompt, max_tokens, thinking, grammar, form, make_parser)

    def _chat_prompt(self, ask: Ask, asked: Conversation, *, constrained: bool) -> tuple[PromptIds, int]:
        """The prompt, and how many tokens may be thought. Without room for a thought, it is skipped."""
        encode = functools.partial(conversation_ids, self.model.prompter, asked, thought=self._thought)
        if self._thought is None:
            return encode(thinking=ask.thinking, opens=False), 0
        if ask.thinking is not False:
            prompt = encode(thinking=ask.thinking, opens=constrained and self.info.thinks)
            around = len(self._thought.closing) + (0 if prompt.opens_thought else 1)
            room = thought_room(self._room(ask, prompt), ask.effort, ask.thinking_budget, around)
            if room >= 1 or not (self.info.thinks or prompt.opens_thought):
                return prompt, room
        if not self.info.thinks:  # it has tags and no form for thoughts: there is nothing to skip
            return encode(thinking=ask.thinking, opens=False), 0
        return encode(thinking=False, opens=False), 0

    def _room(self, ask: Ask, prompt: PromptIds) -> int:
        """Most tokens of one sample: what is asked for, within what the context leaves."""
        context, length = self.info.context, len(prompt.ids)
        left = context - length
        if left < 1:
            raise ApiError(
                400,
                f"the prompt has {length} tokens; the context of this model is {context} tokens for prompt and "
                "completion together: shorten the messages",
                code="context_length_exceeded",
                param="messages" if isinstance(ask.prompt, Conversation) else "prompt",
            )
        wanted = self.model.max_tokens if ask.max_tokens is None else ask.max_tokens
        return left if wanted is None else min(wanted, left)

    def _parser_maker(self, asked: Conversation, *, bare: bool) -> ParserMaker | None:
        template = self.model.prompter.template
        if template is None or not asked.tools or asked.tool_choice == "none":
            return None
        names = frozenset(tool.name for tool in asked.tools)
        many = asked.parallel_tool_calls and not asked.tool_choice.startswith("function:")
        return functools.partial(
            ToolCallParser, self._tokenizer, template.tools, names,
            parallel=many, bare=bare, required=asked.tool_choice != "auto",
        )  # fmt: skip

    def _prepared(
        self,
        ask: Ask,
        caller: Caller,
        prompt: PromptIds,
        max_tokens: int,
        thinking: Thinking | None,
        grammar: Grammar | None,
        form: ReplyForm,
        make_parser: ParserMaker | None,
    ) -> LocalPrepared:
        seed = secrets.randbits(63) if ask.seed is None else ask.seed
        try:
            request = Request(
                id=ask.id,
                prompt_ids=prompt.ids,
                max_tokens=max_tokens,
                seeds=tuple(derive_seed(seed, "sample", i) for i in range(ask.n)),
                sampling=self.model.recommended if ask.sampling is None else ask.sampling,
                stop_ids=prompt.stop_ids,
                stop_strings=ask.stop,
                thinking=thinking,
                grammar=grammar,
                priority=ask.priority,
                account=caller.account,
                shared_prefix=prompt.own_prefix,
            )
        except GenerationError as error:
            raise ApiError(400, str(error)) from error
        return LocalPrepared(model=self.model, request=request, form=form, make_parser=make_parser)

    @staticmethod
    def _tells_logprobs(ask: Ask) -> bool:
        return ask.sampling is not None and ask.sampling.logprobs is not None
