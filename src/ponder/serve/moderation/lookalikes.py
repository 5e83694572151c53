"""Letters of other alphabets that look like Latin ones, and the Latin ones they are taken for.

Source: the confusables of Unicode Technical Standard #39, "Unicode Security Mechanisms", as far as one Cyrillic or
Greek letter, or one of the Latin alphabet's extensions, is confused with one letter of ASCII. A letter goes as its
small form looks; where that looks like none, as its capital does: case makes no difference, so both have to become the
same.
"""

_PAIRS = """
    –Cyrillic: аa гr еe оo рp сc уy хx ѕs іi јj ѡw ѵv үy һh ҽe ӏi ԁd ԛq ԝw
    –Cyrillic capitals: вb кk мm нh тt ьb ԍg
    –Greek: αa γy ιi νv οo ρp σo υu ϲc ϳj
    –Greek capitals: βb εe ζz ηh κk μm τt χx ϝf ϻm
    –Latin: ıi ɑa ɡg ɣy ɩi ɪi ʋu ʏy ᴄc ᴏo ᴜu ᴠv ᴡw ᴢz
"""
LATIN_LETTERS = {
    ord(pair[0]): pair[1] for line in _PAIRS.split("–")[1:] for pair in line.partition(":")[2].split()
}  # for `str.translate`, of texts whose case is folded
_BOTH_CASES = LATIN_LETTERS | {
    ord(chr(letter).upper()): latin for letter, latin in LATIN_LETTERS.items() if chr(letter) not in "ıſ"
}


def with_latin_letters(text: str) -> str:
    """A text of whatever case with its look-alikes as small Latin letters; everything else stays."""
    return text.translate(_BOTH_CASES)
