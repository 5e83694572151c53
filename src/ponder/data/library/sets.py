"""The named problem sets: a record of each."""

from ponder.core.errors import ConfigError
from ponder.data.library import layouts
from ponder.data.library.records import ProblemSet, SplitFiles

# DeepSeek-R1's advice for mathematics: step by step, and the final answer in a box (its README; paper, section 3).
MATH_PROMPT = "{question}\n\nPlease reason step by step, and put your final answer within \\boxed{}."
# After simple-evals, whose prompts the R1 paper takes for MMLU.
CHOICE_PROMPT = (
    "Answer the following multiple choice question. The last line of your response should be of the form "
    "'Answer: LETTER' (without quotes), where LETTER is one of {letters}. Think step by step before answering.\n\n"
    "{question}\n\n{options}"
)
HUMAN_EVAL_PROMPT = (
    "Complete the following Python function. Reply with the whole function in one ```python block.\n\n"
    "```python\n{question}\n```"
)
MBPP_PROMPT = (
    "{question}\n\nReply with Python code in one ```python block. It should pass these tests:\n\n"
    "```python\n{tests}\n```"
)
CODE_PROMPT = "{question}\n\n{form}"  # of one's own: asks for what the problem's tests can judge
CODEFORCES_PROMPT = (
    "{question}\n\nWrite a Python program that reads from standard input and writes to standard output. "
    "Reply with the whole program in one ```python block."
)
LEETCODE_PROMPT = "{question}\n\nReply with the whole class in one ```python block."
LOGIC_PROMPT = (
    "{question}\n\nThink step by step. Then end with one line for each person, of the form 'NAME is a knight' or "
    "'NAME is a knave'."
)


def _split(hub: str | tuple[str, ...] = (), local: str | tuple[str, ...] = (), rows: int | None = None) -> SplitFiles:
    def several(names: str | tuple[str, ...]) -> tuple[str, ...]:
        return (names,) if isinstance(names, str) else names

    return SplitFiles(hub=several(hub), local=several(local), rows=rows)


_RECORDS = (
    ProblemSet(
        name="gsm8k",
        title="grade school word problems",
        kind="math",
        licence="MIT",
        layout=layouts.gsm8k,
        prompt=MATH_PROMPT,
        hub="openai/gsm8k",
        revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
        home="https://github.com/openai/grade-school-math",
        splits={
            "test": _split("main/test-*.parquet", "test.jsonl", 1319),
            "train": _split("main/train-*.parquet", "train.jsonl", 7473),
        },
    ),
    ProblemSet(
        name="math500",
        title="500 problems of the MATH test set",
        kind="math",
        licence="MIT",
        layout=layouts.mathematics,
        prompt=MATH_PROMPT,
        hub="HuggingFaceH4/MATH-500",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        home="https://github.com/openai/prm800k",
        splits={"test": _split("test.jsonl", "test.jsonl", 500)},
    ),
    ProblemSet(
        name="aime24",
        title="American Invitational Mathematics Examination 2024, I and II",
        kind="math",
        licence="problems: MAA; no licence stated",
        layout=layouts.mathematics,
        prompt=MATH_PROMPT,
        hub="HuggingFaceH4/aime_2024",
        revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        splits={"test": _split("data/train-*.parquet", ("test.jsonl", "test_aime.jsonl"), 30)},
        note="for evaluation",
    ),
    ProblemSet(
        name="deepscaler",
        title="competition mathematics with checkable answers, for RL",
        kind="math",
        licence="MIT",
        layout=layouts.mathematics,
        prompt=MATH_PROMPT,
        hub="agentica-org/DeepScaleR-Preview-Dataset",
        revision="b6ae8c60f5c1f2b594e2140b91c49c9ad0949e29",
        home="https://github.com/agentica-project/deepscaler",
        drop_unanswered=True,
        splits={
            "train": _split("deepscaler.json", ("deepscaler.json", "train_*.jsonl", "train_*.json", "train/*.json")),
            "aime": _split(local=("train_aime.jsonl", "train/aime.json"), rows=975),
            "math": _split(local=("train_math.jsonl", "train/math.json"), rows=7474),
        },
        note="splits aime (1983 to 2023) and math from a folder only",
    ),
    ProblemSet(
        name="amc",
        title="American Mathematics Competitions 2022 and 2023",
        kind="math",
        licence="problems: MAA; collection MIT",
        layout=layouts.mathematics,
        prompt=MATH_PROMPT,
        home="https://github.com/agentica-project/deepscaler",
        splits={"test": _split(local=("test_amc.jsonl", "test/amc.json"), rows=83)},
        note="from a folder only; for evaluation",
    ),
    ProblemSet(
        name="minerva",
        title="undergraduate science (Minerva, MIT OpenCourseWare)",
        kind="math",
        licence="courses: CC-BY-NC-SA-4.0; collection MIT",
        layout=layouts.mathematics,
        prompt=MATH_PROMPT,
        home="https://github.com/agentica-project/deepscaler",
        splits={"test": _split(local=("test_minerva.jsonl", "test/minerva.json"), rows=272)},
        note="from a folder only; for evaluation",
    ),
    ProblemSet(
        name="humaneval",
        title="Python functions from their descriptions",
        kind="code",
        licence="MIT",
        layout=layouts.human_eval,
        prompt=HUMAN_EVAL_PROMPT,
        hub="openai/openai_humaneval",
        revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
        home="https://github.com/openai/human-eval",
        splits={
            "test": _split("openai_humaneval/test-*.parquet", ("HumanEval.jsonl", "HumanEval.jsonl.gz"), 164),
        },
    ),
    ProblemSet(
        name="mbpp",
        title="Mostly Basic Python Problems",
        kind="code",
        licence="CC-BY-4.0",
        layout=layouts.mbpp,
        prompt=MBPP_PROMPT,
        hub="google-research-datasets/mbpp",
        revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
        home="https://github.com/google-research/google-research/tree/master/mbpp",
        splits={
            "test": _split("full/test-*.parquet", ("test.jsonl", "mbpp_test.jsonl"), 500),
            "train": _split("full/train-*.parquet", "train.jsonl", 374),
            "all": _split("full/*.parquet", "mbpp.jsonl", 974),
        },
        note="all: 1 to 10 are for prompts, 11 to 510 for the test",
    ),
    ProblemSet(
        name="leetcode",
        title="LeetCode contests, July 2023 to January 2024",
        kind="code",
        licence="problems: LeetCode; collection MIT",
        layout=layouts.leetcode,
        prompt=LEETCODE_PROMPT,
        home="https://github.com/deepseek-ai/DeepSeek-Coder/tree/main/Evaluation/LeetCode",
        splits={
            "test": _split(local="20240121-Jul.jsonl", rows=180),
            "zh": _split(local="20240121-Jul-zh.jsonl", rows=180),
        },
        note="from a folder only; zh: the same in Chinese",
    ),
    ProblemSet(
        name="codeforces",
        title="Codeforces problems, programs with standard input",
        kind="code",
        licence="CC-BY-4.0",
        layout=layouts.codeforces,
        prompt=CODEFORCES_PROMPT,
        hub="open-r1/codeforces",
        revision="8fd706e298b713125ac8df18cd5d847440fe3fb9",
        splits={
            "test": _split("data/test-*.parquet", "test*.*", 468),
            "train": _split("data/train-*.parquet", "train*.*", 9556),
        },
        note="problems that need a checker of their own are left out; train is 2.7 GB",
    ),
    ProblemSet(
        name="knights",
        title="knights and knaves, 3 to 5 people",
        kind="logic",
        licence="CC-BY-NC-SA-4.0",
        layout=layouts.knights_and_knaves,
        prompt=LOGIC_PROMPT,
        hub="K-and-K/knights-and-knaves",
        revision="2f68547989981b1af37cb3dde5fdefa847aa8619",
        home="https://github.com/Unakar/Logic-RL",
        splits={
            "test": _split("test/people[345]_num*.jsonl", "[345]ppl_test.jsonl", 300),
            "train": _split("train/people[345]_num*.jsonl", "[345]ppl_train.jsonl", 2700),
            **{
                f"{split}-{people}": _split(f"{split}/people{people}_num*.jsonl", f"{people}ppl_{split}.jsonl")
                for people in (3, 4, 5)
                for split in ("test", "train")
            },
        },
        note="the Hub's train split has 3,000 rows",
    ),
    ProblemSet(
        name="mmlu",
        title="multiple choice in 57 subjects",
        kind="choice",
        licence="MIT",
        layout=layouts.multiple_choice,
        prompt=CHOICE_PROMPT,
        hub="cais/mmlu",
        revision="c30699e8356da336a370243923dbaf21066bb9fe",
        home="https://github.com/hendrycks/test",
        splits={
            "test": _split("all/test-*.parquet", "test.jsonl", 14042),
            "validation": _split("all/validation-*.parquet", ("validation.jsonl", "val.jsonl"), 1531),
            "dev": _split("all/dev-*.parquet", "dev.jsonl", 285),
        },
    ),
    ProblemSet(
        name="ifeval",
        title="instructions that can be verified (IFEval)",
        kind="instructions",
        licence="Apache-2.0",
        layout=layouts.instructions,
        hub="google/IFEval",
        revision="966cd89545d6b6acfd7638bc708b98261ca58e84",
        home="https://github.com/google-research/google-research/tree/master/instruction_following_eval",
        splits={"test": _split("ifeval_input_data.jsonl", ("ifeval_input_data.jsonl", "input_data.jsonl"), 541)},
    ),
)
PROBLEM_SETS = {record.name: record for record in _RECORDS}

ALIASES = {"math": "math500", "aime": "aime24", "kk": "knights", "knights_knaves": "knights"}


def find_set(name: str) -> ProblemSet:
    """The record of a named set. Raises `ConfigError` for another name."""
    record = PROBLEM_SETS.get(ALIASES.get(name, name))
    if record is None:
        raise ConfigError(
            f"no problem set {name!r}; expected one of {', '.join(PROBLEM_SETS)}, stories, gym/TASK, "
            "hub:OWNER/NAME, or a file"
        )
    return record
