"""Delivery charges: what train.csv and test.csv ask, and how a charge is worked out."""

import csv
import re
from pathlib import Path

NAME = "delivery"
MAX_TOKENS = 160
BASE = {"A": 4, "B": 6, "C": 9, "D": 13}
EXTRAS = {"express": 5, "insured": 3, "collected": 2}


def read(name, split):
    with (Path(__file__).parent / name).open(newline="", encoding="utf-8-sig") as file:
        return [{"prompt": row["question"], "answer": row["answer"], "split": split} for row in csv.DictReader(file)]


PROBLEMS = read("train.csv", "train") + read("test.csv", "held_out")


def worked(problem, rng):
    kilograms, zone = re.search(r"of (\d+) kg to zone (\w)", problem["prompt"]).groups()
    above, charge = int(kilograms) - 2, BASE[zone]
    steps = [f"zone {zone}: {charge}"]
    if above > 0:
        steps.append(f"{kilograms}-2={above}, {above}*2={2 * above}, {charge}+{2 * above}={charge + 2 * above}")
        charge += 2 * above
    for name in [name for name in EXTRAS if name in problem["prompt"]]:
        steps.append(f"{name}: {charge}+{EXTRAS[name]}={charge + EXTRAS[name]}")
        charge += EXTRAS[name]
    return "\n".join(steps), str(charge)
