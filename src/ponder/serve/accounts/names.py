"""Names and passwords as people type them.

Two names are the same if they look the same to a program that knows Unicode: compatibility forms and case do not count
(UTS #46's and PRECIS' way, RFC 8265: NFKC and case folding). What cannot be seen cannot be in a name, and Latin,
Cyrillic and Greek letters, which look alike, cannot stand in one name together.
"""

import re
import unicodedata

from ponder.serve.errors import ApiError

LONGEST_NAME = 254  # characters: the longest address of e-mail (RFC 5321)
MOST_TYPED = 1_000  # characters of a text that is tried as a name
LONGEST_PASSWORD = 1_000
_EMAIL = re.compile(r"[^@]+@[^@.]+(\.[^@.]+)+")
_INVISIBLE = ("C", "Z")  # control, format, surrogate, private use, unassigned; separators
_ALIKE = {"LATIN", "CYRILLIC", "GREEK"}
_COMMON = frozenset(
    """
    12345678 123456789 1234567890 password password1 passw0rd qwertyui qwerty123 qwertyuiop 11111111 00000000 abcd1234
    abc12345 iloveyou letmein1 welcome1 admin123 administrator sunshine princess football baseball 1q2w3e4r 1qaz2wsx
    zaq12wsx asdfghjk deepseek woaini1314 5201314520 a1234567 aa123456 88888888 66666666
    """.split()  # noqa: SIM905
)


def shown_name(name: str) -> str:
    """A name as it is kept. Raises `ApiError` 422 for one that nobody could read or type."""
    text = unicodedata.normalize("NFC", name.strip())
    if not text:
        raise _bad_name("is empty")
    if len(text) > LONGEST_NAME:
        raise _bad_name(f"has {len(text)} characters, more than {LONGEST_NAME}")
    if any(unicodedata.category(character).startswith(_INVISIBLE) for character in text):
        raise _bad_name("holds a space or an invisible character")
    if "@" in text and not _EMAIL.fullmatch(text):
        raise _bad_name("holds an @ but is no address of e-mail")
    if any(len(_alphabets(part)) > 1 for part in _parts(text)):
        raise _bad_name("mixes letters of different alphabets that look alike")
    return text


def name_key(name: str) -> str:
    """What is equal for two spellings of the same name. Takes any text, so that a login can be tried with it: what no
    name can hold, and a database perhaps not either, is replaced.
    """
    visible = "".join("\ufffd" if unicodedata.category(c).startswith("C") else c for c in name[:MOST_TYPED].strip())
    folded = unicodedata.normalize("NFKC", visible).casefold()
    return unicodedata.normalize("NFKC", folded)[: 2 * LONGEST_NAME]


def checked_password(password: str, name: str, least: int) -> str:
    """A new password in the form that is hashed. Raises `ApiError` 422 for one that is too easy to guess."""
    if len(password) < least:
        raise _bad_password(f"has fewer than {least} characters")
    if len(password) > LONGEST_PASSWORD:
        raise _bad_password(f"has more than {LONGEST_PASSWORD} characters")
    text = password_form(password)
    plain = text.casefold()
    if plain in _COMMON or len(set(plain)) < 4:
        raise _bad_password("is one of the first that are tried")
    if plain in (name_key(name), name_key(name).partition("@")[0]):
        raise _bad_password("is the name")
    return text


def password_form(password: str) -> str:
    """Two keyboards may send the same character in two forms (RFC 8265, 4.2: NFC)."""
    return unicodedata.normalize("NFC", password)


def _parts(name: str) -> list[str]:
    """What has to be of one alphabet: a name, or the parts of an address, whose domain may be in another."""
    own, _, domain = name.partition("@")
    return [own, *domain.split(".")]


def _alphabets(text: str) -> set[str]:
    """Which of the alphabets that look alike it has letters of (UTS #39, 5: mixed scripts)."""
    letters = [letter for letter in unicodedata.normalize("NFKC", text) if letter.isalpha()]
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in letters} & _ALIKE


def _bad_name(what: str) -> ApiError:
    return ApiError(422, f"the name {what}; expected an address of e-mail, or letters and digits", param="name")


def _bad_password(what: str) -> ApiError:
    return ApiError(422, f"the password {what}; choose another one, such as four words", param="password")
