"""One answer in five written forms, and in forms that are wrong by a sign or by one."""

import re


def written_forms(gold: str) -> list[str]:
    """As models and people write it."""
    return [
        f"We have shown what was asked, so the result is $\\boxed{{{gold}}}$.",
        f"Therefore the final answer is ${gold}$. I hope it is correct.",
        f"<think>it may be \\boxed{{17}}</think> <answer>{gold}</answer>",
        f"First \\boxed{{1}}, but no:\n\\[ x = \\boxed{{ {other_latex(gold)} }} \\]\n",
        f"Answer: {plain(gold)}.",
    ]


def other_latex(gold: str) -> str:
    """The same by other commands and spacing."""
    text = re.sub(r"\\d?frac", r"\\tfrac", gold)
    text = text.replace("\\left", "").replace("\\right", "")
    text = re.sub(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", r"\\begin{bmatrix}\1\\end{bmatrix}", text)
    text = re.sub(r"_\{?(\d)\}?$", r"_{\1}", text)
    text = re.sub(r"\\text\{([^{}]*)\}", r"\\mathrm{\1}", text)
    text = text.replace("^\\circ", "^{\\circ}")
    if re.fullmatch(r"-?\d{4,}", text):
        text = f"{int(text):,}".replace(",", "{,}" if len(text) % 2 else "\\,")
    return text.replace(", ", " ,\\; ").replace("=", " = ")


def plain(gold: str) -> str:
    """The same without LaTeX, as far as there is a usual way."""
    text = gold.replace("\\left", "").replace("\\right", "").replace("\\!", "").replace("\\$", "$")
    text = re.sub(r"\\(?:text|mbox)\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\^\{?\\circ\}?", "°", text)
    if mixed := re.fullmatch(r"(\d+) ?\\frac\{(\d+)\}\{(\d+)\}", text):
        return "{} {}/{}".format(*mixed.groups())
    text = re.sub(r"\\d?frac ?(\d)(\d)", r"\1/\2", text)
    text = re.sub(r"\\d?frac\{(\w+)\}(?:\{(\w+)\}|(\d))", lambda m: f"{m[1]}/{m[2] or m[3]}", text)
    for command, sign in (("\\pi", "π"), ("\\infty", "∞"), ("\\cup", "∪"), ("\\pm", "±"), ("\\in ", "∈ ")):
        text = text.replace(command, sign)
    if "\\begin" not in text:
        text = re.sub(r"\\sqrt\{?(\w+)\}?", r"√\1" if len(text) % 2 else r"sqrt(\1)", text)
        text = text.replace("\\{", "{").replace("\\}", "}").replace("-", "−") if "sqrt" not in text else text
    if re.fullmatch(r"\d{1,3}", text):
        return f"{text}.0"
    if re.fullmatch(r"\d{4,}", text):
        return f"{int(text):,}"
    return text


def wrong_variants(gold: str) -> list[str]:
    """Boxed answers that are not `gold`: another sign, and off by one."""
    words = re.fullmatch(r"\\text\{\(?(\w+)\)?\}", gold)
    if words:
        word = words.group(1)
        other = chr(ord(word) ^ 1) if len(word) == 1 else f"{word}s"
        return [f"\\boxed{{\\text{{{other}}}}}", f"\\boxed{{{word[::-1]}x}}"]
    digits = [match for match in re.finditer(r"\d+", gold.replace(",\\!", "")) if match.group().strip("0")]
    found = []
    if digits:
        plain_gold = gold.replace(",\\!", "")
        first = digits[0]
        found.append(f"{plain_gold[: first.start()]}{int(first.group()) + 1}{plain_gold[first.end() :]}")
    signed = _other_sign(gold)
    if signed is not None:
        found.append(signed)
    return [f"\\boxed{{{text}}}" for text in found]


def _other_sign(gold: str) -> str | None:
    """Negated where it is a single value other than 0, else with its first + or - turned; None where it has none."""
    if re.fullmatch(r"[-.\d]+|-?\\d?frac.*|-?\d*\s*\\(?:sqrt|pi).*", gold) and gold.strip("0"):
        return gold[1:] if gold.startswith("-") else f"-{gold}"
    turned = re.sub(r"(?<=[\w }])([+-])", lambda sign: "-" if sign.group() == "+" else "+", gold, count=1)
    return turned if turned != gold else None
