"""The share of a text's words that are in a language, told by their script.

R1 adds it as a reward in reasoning RL, against thoughts that change language (R1v1 2.3.2): words of the target language
over all words of the chain of thought.
"""

import re

from ponder.core.errors import ConfigError

# Ranges of the letters of each script; languages of one script (English and French) are not told apart.
_SCRIPTS = {
    "Latin": "A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿ",
    "Han": "々〇㐀-䶿一-鿿豈-﫿\U00020000-\U0003ffff",
    "Kana": "ぁ-ゟ゠-ヿㇰ-ㇿ",
    "Hangul": "ᄀ-ᇿ㄰-㆏가-힯",
    "Cyrillic": "Ѐ-ԯ",
    "Greek": "Ͱ-Ͽἀ-῿",
    "Arabic": "؀-ۿݐ-ݿ",
    "Hebrew": "֐-׿",
    "Devanagari": "ऀ-ॿ",
    "Thai": "฀-๿",
}


def _each(languages: str, *scripts: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(languages.split(), scripts)


LANGUAGES: dict[str, tuple[str, ...]] = {
    **_each("en fr de es it pt nl sv da no fi pl cs tr vi id ro hu la", "Latin"),
    "zh": ("Han",),
    "ja": ("Han", "Kana"),
    "ko": ("Hangul", "Han"),
    **_each("ru uk bg sr", "Cyrillic"),
    "el": ("Greek",),
    **_each("ar fa ur", "Arabic"),
    "he": ("Hebrew",),
    **_each("hi mr ne", "Devanagari"),
    "th": ("Thai",),
}
_UNSPACED = ("Han", "Kana", "Thai")  # written without spaces: each letter counts as a word
_NO_WORDS = re.compile(
    r"```.{0,9999}?```|`[^`\n]*`|\$\$.{0,999}?\$\$|\$[^$\n]*\$|\\\[.{0,500}?\\\]|\\\(.{0,500}?\\\)|\\[A-Za-z]+|https?://\S+",
    re.DOTALL,
)
_WORDS = re.compile(
    "|".join(
        [f"(?P<{name}>[{letters}])" for name, letters in _SCRIPTS.items() if name in _UNSPACED]
        + [f"(?P<{name}>[{letters}]{{2,}})" for name, letters in _SCRIPTS.items() if name not in _UNSPACED]
    )
)


def check_language(language: str) -> None:
    """Raises `ConfigError` for a language whose script is not known here."""
    if language not in LANGUAGES:
        raise ConfigError(f"rewards.target_language is {language!r}; expected one of {', '.join(sorted(LANGUAGES))}")


def language_share(text: str, language: str) -> float:
    """Words of the language's script over all words, from 0 to 1; 1 for a text without words.

    Formulas, code, commands and single letters (names of variables) are no words.
    """
    check_language(language)
    total = wanted = 0
    for word in _WORDS.finditer(_NO_WORDS.sub(" ", text)):
        total += 1
        wanted += word.lastgroup in LANGUAGES[language]
    return wanted / total if total else 1.0
