"""`ponder generate`: complete one prompt."""

import argparse
import time

from rich.text import Text

from ponder.cli.arguments import add_json, add_model, add_weights, count, temperature, whole_number
from ponder.cli.chat import room
from ponder.cli.models import open_shown
from ponder.cli.output import out, print_json, printable
from ponder.core.errors import ConfigError
from ponder.core.seeds import derive_seed
from ponder.core.types import Prompt, Sampling
from ponder.recipes.opening import find_model
from ponder.text.reasoning import parse_completion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_weights(parser)
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="the question; of a task, in its own form")
    parser.add_argument("--raw", action="store_true", help="go on with the text as it is, without the chat template")
    parser.add_argument("--temperature", type=temperature, default=0.0, metavar="T", help="0: greedy (default)")
    parser.add_argument("--max-tokens", type=count, metavar="N", help="longest answer (default: what fits)")
    parser.add_argument("--seed", type=whole_number, default=0, metavar="S", help="of the sample (default: 0)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    if not arguments.prompt:
        raise ConfigError("--prompt is empty; expected a text")
    model = open_shown(find_model(arguments.model, arguments.runs), weights=arguments.weights)
    if arguments.raw:
        ids = (*model.tokenizer.prefix, *model.tokenizer.encode(arguments.prompt))
    else:
        ids = model.prompter.encode(arguments.prompt)
    sampling = Sampling(max_tokens=room(model, len(ids), arguments.max_tokens), temperature=arguments.temperature)
    began = time.monotonic()
    seed = derive_seed(arguments.seed, "generate")
    [[completion]] = model.generator.generate([Prompt(problem_id="generate", ids=ids)], sampling, [[seed]])
    seconds = time.monotonic() - began
    reasoning = parse_completion(completion, model.tokenizer)
    if arguments.json:
        print_json(
            {
                "prompt": arguments.prompt,
                "thought": reasoning.thought,
                "answer": reasoning.answer,
                "flaw": reasoning.flaw,
                "text": model.tokenizer.decode(completion.ids),
                "finish_reason": completion.finish_reason,
                "prompt_tokens": len(ids),
                "completion_tokens": len(completion.ids),
                "temperature": arguments.temperature,
                "seed": arguments.seed,
                "seconds": seconds,
            }
        )
        return 0
    console = out()
    if reasoning.thought:
        console.print(Text(printable(reasoning.thought), "dim"), soft_wrap=True)
    if reasoning.answer is not None:
        console.print(Text(printable(reasoning.answer), "bold"), soft_wrap=True)
    if completion.finish_reason == "length":
        console.print(Text(f"(cut off after {len(completion.ids)} tokens)", "yellow"))
    elif reasoning.flaw is not None:
        console.print(Text(f"(not well-formed: {printable(reasoning.flaw)})", "yellow"), soft_wrap=True)
    return 0
