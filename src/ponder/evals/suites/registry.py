"""Which sets make a suite, and how many samples of each problem the protocol asks for.

R1's paper (v1, section 3): temperature 0.6, top-p 0.95, pass@1 as the mean over k samples, k from 4 to 64 by the size
of the set; 64 for AIME, 16 for MATH-500, 8 for code (v2, appendix); no system prompt, no examples in the prompt.
"""

import difflib
from collections.abc import Sequence

from ponder.core.errors import ConfigError

TEMPERATURE, TOP_P, MAX_TOKENS = 0.6, 0.95, 32_768  # of the protocol
SAMPLES = 4  # k of a set that the paper does not name: the least that it takes
PAPER_SAMPLES = {
    "aime24": 64,
    "math500": 16,
    "codeforces": 16,
    "gsm8k": 8,
    "humaneval": 8,
    "mbpp": 8,
    "leetcode": 8,
    "knights": 8,
}

GYM = (  # those that R1's recipe teaches SmolLM2
    "gym/chain_sum",
    "gym/gcd",
    "gym/lcm",
    "gym/prime_factorization",
    "gym/simple_equations",
    "gym/simple_geometry",
    "gym/complex_arithmetic",
    "gym/letter_counting",
    "gym/number_sorting",
    "gym/number_filtering",
    "gym/leg_counting",
    "gym/color_cube_rotation",
)
GYM_KEPT_OUT = (  # of a like kind, and never taught
    "gym/fraction_simplification",
    "gym/word_sequence_reversal",
    "gym/products",
    "gym/time_intervals",
)

SUITES: dict[str, tuple[str, ...]] = {
    "r1": ("aime24", "math500", "humaneval", "mbpp", "leetcode", "mmlu", "ifeval"),
    "math": ("gsm8k", "math500", "aime24"),
    "code": ("humaneval", "mbpp", "leetcode"),
    "logic": ("knights",),
    "knowledge": ("mmlu",),
    "instructions": ("ifeval",),
    "reasoning-gym": GYM,
    "reasoning-gym-kept-out": GYM_KEPT_OUT,
}


def samples_of(name: str) -> int:
    """The protocol's k for a set."""
    return PAPER_SAMPLES.get(name, SAMPLES)


def suite_sets(names: str, known: Sequence[str]) -> list[str]:
    """The sets that a list like "math,mmlu" names, suites taken apart, each once.

    `known` are the names of sets; `gym/TASK` and `hub:OWNER/NAME` are sets too, and so is a file. Raises `ConfigError`
    for a name that is neither.
    """
    found: dict[str, None] = {}
    for name in (part.strip() for part in names.split(",")):
        single = name in known or name.startswith(("gym/", "hub:")) or ("." in name and name not in SUITES)
        sets = SUITES.get(name) or ((name,) if single else ())
        if not sets:
            close = difflib.get_close_matches(name, [*SUITES, *known], n=1)
            choices = f"expected a suite ({', '.join(SUITES)}) or a problem set ({', '.join(known)})"
            raise ConfigError(
                f"there is no suite or problem set {name!r}; {f'did you mean {close[0]}?' if close else choices}"
            )
        found |= dict.fromkeys(sets)
    return list(found)
