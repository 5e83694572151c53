"""How a byte-level vocabulary cuts text into words before it merges bytes: `tokenizer.ggml.pre` in a GGUF file.

A file only names the way. Here is, for each name, the pre-tokenizer of the published tokenizer.json (Hugging Face:
HuggingFaceTB/SmolLM2-135M, Qwen/Qwen2.5-7B, meta-llama/Llama-3.1-8B, deepseek-ai/deepseek-llm-7b-base,
deepseek-coder-6.7b-base, DeepSeek-V3); for "default", which no published tokenizer has, llama.cpp's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer

from ponder.core.errors import CheckpointError

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
QWEN = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
)
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
# the letters of Latin, Greek, Cyrillic, Armenian, Georgian, Cherokee and few other alphabets
ALPHABETS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-"
    "\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec"
    "\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-"
    "\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17"
    "\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-"
    "\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
DEEPSEEK_LLM = (
    "[\r\n]",
    rf"\s?[{ALPHABETS}]+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    CJK,
)
DEEPSEEK_CODER = ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK)
LLAMA_CPP_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", "[0-9][0-9][0-9]")


@dataclass(frozen=True)
class PreTokenization:
    """One way, and what belongs to it in the vocabularies that have it."""

    make: Callable[[], PreTokenizer]
    whole_words: bool = False  # a word that is a token is taken as it is, whatever the merges say
    add_bos: bool = False  # what llama.cpp does where the file does not say
    composed: bool = False  # text is brought to the composed form (NFC) first


def _splits(*patterns: str, digits: bool = False) -> Callable[[], PreTokenizer]:
    def make() -> PreTokenizer:
        steps: list[PreTokenizer] = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
        if digits:
            steps.append(pre_tokenizers.Digits(individual_digits=True))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        return pre_tokenizers.Sequence(steps)

    return make


def _digits_and_gpt_2() -> PreTokenizer:
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])


def _gpt_2() -> PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


# the first of several names for one way is the one that is written
PRE_TOKENIZATIONS: dict[str, PreTokenization] = {
    "smollm": PreTokenization(_digits_and_gpt_2),
    "qwen2": PreTokenization(_splits(QWEN), composed=True),
    "llama-bpe": PreTokenization(_splits(LLAMA_3), whole_words=True, add_bos=True),
    "deepseek-v3": PreTokenization(_splits(*DEEPSEEK_V3)),
    "deepseek-llm": PreTokenization(_splits(*DEEPSEEK_LLM, digits=True)),
    "deepseek-coder": PreTokenization(_splits(*DEEPSEEK_CODER, digits=True)),
    "gpt-2": PreTokenization(_gpt_2),
    "deepseek-r1-qwen": PreTokenization(_splits(QWEN)),
    "llama3": PreTokenization(_splits(LLAMA_3), whole_words=True, add_bos=True),
    "llama-v3": PreTokenization(_splits(LLAMA_3), whole_words=True, add_bos=True),
    "starcoder": PreTokenization(_digits_and_gpt_2),
    "smaug-bpe": PreTokenization(_splits(LLAMA_3)),
    "default": PreTokenization(_splits(*LLAMA_CPP_DEFAULT)),
}

# cuts differently in any two ways: contractions, digits in groups, scripts, spaces and line ends, punctuation
PROBE = (
    " \n\n\t \r\n  x  3 33 333 4444 1,234.5 don't WE'LL you'RE _under_score (a) [b]: ...!!! ?!\n\n https://a.b/c?d=e&f "
    "αβγ Жуки 中文字かなカナ 한국어 ไทย हिन्दी é e\u0301 ½ ² ٣٤ €5 $6 🚀😶\u200d🌫️ =====-->  if(x==1){\n\t\treturn;}\n"
    "  'quoted' \u3000、。「」\n "
)


def find_pre_tokenization(name: str, where: str) -> PreTokenization:
    """The way that a file names. Raises `CheckpointError` for one that is unknown."""
    if name not in PRE_TOKENIZATIONS:
        raise CheckpointError(
            f"{where}: pre-tokenizer {name!r} is not supported; expected one of {', '.join(PRE_TOKENIZATIONS)}"
        )
    return PRE_TOKENIZATIONS[name]


def name_of_pre_tokenizer(found: PreTokenizer | None, *, whole_words: bool) -> str | None:
    """The name of the way that cuts the probe as `found` does; None if there is none. `whole_words`: as in
    `PreTokenization`, decides between ways that cut alike.
    """
    if found is None:
        return None
    pieces = found.pre_tokenize_str(PROBE)
    alike = [name for name, way in PRE_TOKENIZATIONS.items() if way.make().pre_tokenize_str(PROBE) == pieces]
    return next((name for name in alike if PRE_TOKENIZATIONS[name].whole_words == whole_words), (*alike, None)[0])
