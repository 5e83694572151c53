"""The backend in front of the real engine with a small random model: from a conversation to deltas and their charge."""

import asyncio
from dataclasses import replace
from typing import Any

from local_models import CALLER, ask, chat, finish_of, prompter_of, text_of
from ponder.core.streaming import SamplingOptions
from ponder.engine.engine import EngineConfig
from ponder.engine.opening import open_engine
from ponder.serve.local.backend import LocalBackend
from ponder.serve.local.model import LocalModel
from ponder.serve.records import Usage
from small_models import random_model, small_dense


def test_many_conversations_side_by_side_are_what_they_are_alone() -> None:
    prompter = prompter_of("deepseek-r1")
    shape = replace(small_dense(), vocab_size=prompter.tokenizer.vocab_size, max_positions=256)
    opened = open_engine(random_model(shape), prompter.tokenizer, EngineConfig(max_running=16))
    engine = opened.engine.start()
    model = LocalModel(id="m", engine=engine, prompter=prompter, close=engine.close)
    greedy = SamplingOptions(temperature=0.0)

    async def one(backend: LocalBackend, question: str) -> tuple[str, str, str, Usage]:
        asked = ask(chat(question), max_tokens=60, thinking_budget=20, sampling=greedy)
        generation = await backend.start(await backend.prepare(asked, CALLER))
        events: list[Any] = [event async for event in generation]
        return text_of(events, "reasoning"), text_of(events), finish_of(events).reason, generation.usage

    async def main() -> None:
        backend = LocalBackend([model])
        questions = [f"What is {i} + {i}?" for i in range(12)]
        alone = [await one(backend, question) for question in questions]
        together = await asyncio.gather(*[one(backend, question) for question in questions])
        for before, after in zip(alone, together, strict=True):
            assert before[:3] == after[:3]
            usage = after[3]
            assert 1 <= usage.completion_tokens <= 60
            assert usage.reasoning_tokens <= 20 + 1  # with the line break that closes it
            assert before[1] or before[2] == "stop"  # the answer is never cut off by the thought
        assert not engine.busy
        engine.check()
        await backend.close()

    asyncio.run(main())
