"""TRL's GRPO steps, one at a time. Started by benchmarks/grpo_step.py in the environment of benchmarks/peers/trl."""

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from turns import Turns, read_job, reward

NEVER = "<never>"  # an end of sequence that the model cannot produce: its id is one beyond the model's head


class Clock(TrainerCallback):
    """Times what the trainer does between the beginning and the end of a step: not its data loading or logging.

    With several processes the first one talks to the driver, and the others begin when it does.
    """

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.rollout_seconds, self.tokens, self.cores_before = 0.0, 0, 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.rollout_seconds, self.tokens = 0.0, 0
        told = torch.tensor(not is_first() or self.turns.wait())
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(told, src=0)
        if not told:
            sys.exit(0)
        self.cores_before = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        helpers = 0.0
        if torch.distributed.is_initialized():
            own = 0.0 if is_first() else time.process_time() - self.cores_before
            total = torch.tensor([self.tokens, own], dtype=torch.float64)
            torch.distributed.all_reduce(total)
            self.tokens, helpers = int(total[0]), float(total[1])
        if is_first():
            self.turns.done(rollout_seconds=self.rollout_seconds, tokens=self.tokens, helpers_core_seconds=helpers)


def is_first() -> bool:
    """Whether this is the only process, or the first of several (torchrun numbers them)."""
    return os.environ.get("RANK", "0") == "0"


class TimedTrainer(GRPOTrainer):
    """TRL's trainer; it only notes how long generation takes."""

    clock: Clock

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = super()._generate_single_turn(*args, **kwargs)
        self.clock.rollout_seconds += time.perf_counter() - started
        return result


def load(job: Mapping[str, Any]) -> tuple[Any, Any]:
    """Model and tokenizer, with the end of sequence replaced by one that never comes."""
    settings = job["settings"]
    chosen = {f"{part}_implementation": settings[name] for part, name in PARTS.items() if name in settings}
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, **chosen)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    if tokenizer(job["prompts"][0])["input_ids"] != job["first_prompt_ids"]:
        sys.exit("the two tokenizers disagree about the prompts")
    tokenizer.add_special_tokens({"eos_token": NEVER})
    never = tokenizer.eos_token_id
    if never < model.config.vocab_size:
        sys.exit(f"{NEVER} has id {never}, which the model could produce")
    model.config.eos_token_id = model.generation_config.eos_token_id = never
    return model, tokenizer


PARTS = {"attn": "attention", "experts": "experts"}  # transformers' name of a choice and ours


def configure(job: Mapping[str, Any], folder: str) -> GRPOConfig:
    """One generation and one optimizer step for each batch of prompts, and nothing beside it."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    sequences = len(job["prompts"][0]) * job["group_size"] // processes
    batch = job["settings"].get("batch", sequences)
    if sequences % batch:
        sys.exit(f"batch = {batch} does not divide the {sequences} sequences that a process has in a step")
    return GRPOConfig(
        output_dir=folder,
        max_steps=len(job["prompts"]) + 1,  # the driver ends it before the last
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=sequences // batch,
        steps_per_generation=sequences // batch,
        num_iterations=1,
        num_generations=job["group_size"],
        max_completion_length=job["max_tokens"],
        temperature=1.0,
        beta=0.0,  # no KL term and no reference model
        epsilon=0.2,
        epsilon_high=0.28,
        loss_type="dapo",  # the mean over the step's tokens
        scale_rewards="group",
        router_aux_loss_coef=job["router_loss"],
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        warmup_steps=0,
        optim="adamw_torch_fused",
        adam_beta2=0.95,
        max_grad_norm=1.0,
        use_cpu=True,
        bf16=job["settings"].get("precision") == "bf16",  # passes under autocast; the weights stay fp32
        fp16=False,
        gradient_checkpointing=False,
        ddp_find_unused_parameters=False,  # of several processes: saves a walk over the graph
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        shuffle_dataset=False,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )


def main() -> None:
    turns, job = Turns(), read_job()
    if threads := job["settings"].get("threads"):
        torch.set_num_threads(threads)
    model, tokenizer = load(job)
    clock = Clock(turns)

    def score(completion_ids: list[list[int]], **_: Any) -> list[float]:
        clock.tokens += sum(map(len, completion_ids))
        return [reward(ids) for ids in completion_ids]

    with tempfile.TemporaryDirectory() as folder:
        trainer = TimedTrainer(
            model=model,
            reward_funcs=score,
            args=configure(job, folder),
            train_dataset=Dataset.from_dict({"prompt": [text for step in job["prompts"] for text in step]}),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.clock = clock
        if is_first():
            turns.ready(
                {
                    "parameters": sum(p.numel() for p in model.parameters()),
                    "versions": {name: version(name) for name in ("trl", "transformers", "torch")},
                }
            )
        trainer.train()


if __name__ == "__main__":
    main()
