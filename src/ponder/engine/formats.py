"""The ways in which a model's weights are held. Loads at once: a command names them before any model is needed."""

from typing import Literal, get_args

WeightFormat = Literal["fp32", "bf16", "q8", "q4", "stored"]
"""fp32; bf16; int8 or int4 in groups of 32 (q4 keeps the head in int8); or a GGUF file's own blocks where the kernels
know them (Q8_0, Q4_0, Q4_1), and int8 or bf16 where they do not."""

FORMATS: tuple[WeightFormat, ...] = get_args(WeightFormat)
