"""What rules find: folded texts, words, expressions; and the same in whatever pieces a text comes."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation_rules import RULES, rules
from ponder.core.errors import ConfigError
from ponder.serve.moderation.matcher import Match, Matcher, TextScanner, scan
from ponder.serve.moderation.normalize import Normalizer, normalize
from ponder.serve.moderation.patterns import Pattern, PatternError
from ponder.serve.moderation.rules import parse_rules

SIGNS = RULES.replace('"lottery"', '"c++", "tnt炸药", "vitamin-c", "4 20", "ЁЖ", "lottery"')
MATCHER = Matcher(rules().rules)
SIGNED = Matcher(parse_rules(SIGNS).rules)
# texts that come near to matching all the time
PIECES = ["pipe", " ", "bomb", "Pipe\u200b", "ｂｏｍｂ", "土制", "炸", "弹", "制作", "配方", "c", "-", "4", "sa", "rín"]
PIECES += ["土", "制", ",", "。", "-", "_", ".", " ", "і", "е", "р", "s", "a", "r", "n", "c++", "----"]
PIECES += ["\n\t", "lottery", "彩票", "1234567890", "12345678", "X", "ﬁ", "\u0301", "b", "o", "m", "。", "\u00ad", "é"]
texts = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=40)


def cut(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


def found(text: str) -> list[tuple[int, str]]:
    return [(match.rule.number, match.text) for match in scan(MATCHER, text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a pipe bomb.", [(1, "pipe bomb")]),
        ("PIPE \n\t BOMB", [(1, "pipe bomb")]),
        ("ｐｉｐｅ　ｂｏｍｂ", [(1, "pipe bomb")]),
        ("pi\u200bpe bo\u00admb", [(1, "pipe bomb")]),
        ("s\u0301arín", [(1, "sarin")]),
        ("pipe bombs and windpipe bomb", []),
        ("sarinated", []),
        ("一个土制炸弹吗", [(1, "土制炸弹")]),
        ("炸弹的详细配方", [(1, "炸弹的详细配方")]),
        ("炸弹的非常非常详细的配方", []),
        ("take C-4 or c4", [(1, "c-4")]),
        ("c40", []),
        ("id 11010519491231002X ok", [(2, "11010519491231002x")]),
        ("lottery, lottery, 彩票", [(7, "lottery")]),
        ("彩票 and a pipe bomb", [(7, "彩票"), (1, "pipe bomb")]),
        ("a pіpе bоmb", [(1, "pipe bomb")]),  # Cyrillic i, e and o
        ("a ΡΙΡΕ ΒΟΜΒ", [(1, "pipe bomb")]),  # Greek
        ("a РІРЕ ВОМВ", [(1, "pipe bomb")]),  # Cyrillic
        ("土 制 炸 弹", [(1, "土 制 炸 弹")]),
        ("土-制「炸」弹", [(1, "土-制「炸」弹")]),
        ("土，制，炸，弹", [(1, "土，制，炸，弹".replace("，", ","))]),
        ("出土，制炸弹", []),  # a clause ends
        ("土     制炸\n弹", [(1, "土 制炸 弹")]),
        ("土-----制炸弹", []),  # too far apart
        ("a pipe-bomb", [(1, "pipe-bomb")]),
        ("a pipe_bomb", [(1, "pipe_bomb")]),
        ("a pipe – bomb", [(1, "pipe – bomb")]),
        ("p.i.p.e b.o.m.b", [(1, "p.i.p.e b.o.m.b")]),
        ("p i p e  b o m b", [(1, "p i p e b o m b")]),
        ("pi-pe bo.mb", [(1, "pi-pe bo.mb")]),
        ("pipebomb", []),
        ("sa rin", []),
        ("He dropped the pipe. Bomb squads came.", []),
        ("pipe, bomb", []),
        ("pipe bombs, pipe b0mb, pype bomb", []),  # neither plurals nor other spellings
    ],
)
def test_what_is_found(text: str, expected: list[tuple[int, str]]) -> None:
    assert found(text) == expected


@given(texts)
def test_folding_is_the_same_in_whatever_pieces(text: str) -> None:
    normalizer = Normalizer()
    pieces = [normalizer.push(character) for character in text]
    assert "".join(folded for folded, _ in pieces) == normalize(text)
    for place, (folded, origins) in enumerate(pieces):
        assert origins == [place] * len(folded)


@given(texts)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@settings(max_examples=400)
@given(texts, st.lists(st.integers(0, 200), max_size=12))
def test_the_same_is_found_in_whatever_pieces(text: str, cuts: list[int]) -> None:
    for matcher in (MATCHER, SIGNED):
        check_pieces(matcher, text, cuts)


def check_pieces(matcher: Matcher, text: str, cuts: list[int]) -> None:
    scanner = TextScanner(matcher)
    told: list[Match] = []
    shown = 0
    for piece in cut(text, cuts):
        told += scanner.push(piece)
        assert shown <= scanner.safe <= len(text)
        shown = scanner.safe
    told += scanner.finish()
    assert told == scan(matcher, text)
    assert scanner.safe == len(text)


@settings(max_examples=400)
@given(texts, st.lists(st.integers(0, 200), max_size=12))
def test_no_character_of_a_match_is_shown_before_it_is_told(text: str, cuts: list[int]) -> None:
    scanner = TextScanner(MATCHER)
    for piece in cut(text, cuts):
        before = scanner.safe
        for match in scanner.push(piece):
            assert scanner.origin(match) >= before
    before = scanner.safe
    for match in scanner.finish():
        assert scanner.origin(match) >= before


def test_no_more_is_held_back_than_could_still_match() -> None:
    scanner = TextScanner(Matcher([rule for rule in rules().rules if rule.number == 7]))
    safe = []
    for character in "hello lot of 彩虹!":
        scanner.push(character)
        safe.append(scanner.safe)
    # after    h  e  l  l  o     l  o  t     o   f       彩  虹  !
    assert safe == [1, 2, 2, 3, 3, 3, 6, 6, 6, 6, 11, 12, 13, 13, 15, 16]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c++ and c", ["c++"]),  # as it is written
        ("c and c+", []),
        ("tnt 炸药", ["tnt 炸药"]),
        ("tnt，炸药", []),
        ("vitamin-c", ["vitamin-c"]),
        ("vitamin.c", ["vitamin.c"]),
        ("a vitamin c", []),  # the term has no space
        ("in 4-20 ways, 4.2, 0", ["4-20"]),
        ("4, 2, 0 and 42.0", []),
        ("ёж", ["eж"]),
        ("ёжик", []),
    ],
)
def test_signs_of_a_term_are_meant(text: str, expected: list[str]) -> None:
    assert [match.text for match in scan(SIGNED, text)] == expected


def test_expressions_know_look_alikes_too() -> None:
    pattern = Pattern("бомба[0-9]{2}")
    text = normalize("БОМБА 12 бомба12")
    assert text == "бomбa 12 бomбa12"
    assert pattern.search(text, 0) == (9, 16)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("a.*b", "'*' has no bound; write {0,20}"),
        ("a+", "'+' has no bound; write {1,20}"),
        ("a{2,}", "a '{' begins a count"),
        ("^a", "'^' is not offered"),
        ("a$", "'$' is not offered"),
        ("(a", "there is a '(' without its ')'"),
        ("a)", "there is a ')' without its '('"),
        ("[a", "it ends too early"),
        ("a?", "it matches the empty text"),
        (r"\b", "it can match 0 characters"),
        ("(a{200}){2}", "it can match 400 characters"),
        ("(?i)a", "only '(?:' is offered"),
        (r"\1a", r"'\1' is not offered"),
        ("ｂ", "write 'b'"),
        ("[b-a]", "invalid character class range"),
    ],
)
def test_expressions_without_a_bound_are_refused(source: str, complaint: str) -> None:
    with pytest.raises(PatternError, match=None) as error:
        Pattern(source)
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("source", "width"),
    [("abc", 3), ("a{2,5}b?", 6), ("(ab|c{4})d", 5), (r"[\]a-z]{3}\d\b", 4), (r"\p{Han}{2}.", 3), ("[[:digit:]x]", 1)],
)
def test_the_greatest_length_of_a_match_is_known(source: str, width: int) -> None:
    assert Pattern(source).width == width


def test_an_expression_that_would_take_other_engines_forever_is_quick() -> None:
    pattern = Pattern("(a?){30}a{30}")
    began = time.perf_counter()
    assert pattern.search("a" * 29 + "b", 0) is None
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('action = "retract"', 'action = "delete"', "line 6: 'action' of rule 1: expected 'retract'"),
        ('"Sarin"]', '"Sarin"', "Unclosed array"),
        ('"pipe bomb"', '"\\u200b"', "line 7: a term of rule 1 has 0 characters"),
        ("[0-9]{17}[0-9x]", "[0-9]+x", "line 16: the pattern '[0-9]+x' of rule 2: '+' has no bound"),
        ('on = ["thought"', 'on = ["thoughts"', "line 15: 'on' of rule 2 has 'thoughts'"),
        ("number = 7", "number = 1", "line 19: there are two rules with the number 1"),
        ("number = 7", 'number = "7"', "line 19: 'number' of a rule"),
        ('en = "Watched words", ', "", "line 20: 'title' of rule 7: expected { en"),
        ('terms = ["lottery", "彩票"]', "", "line 19: rule 7 has neither 'terms' nor 'patterns'"),
        ('action = "flag"', 'action = "flag"\nseverity = 3', "line 23: unknown key 'severity'"),
        (RULES, "", "line 1: there are no rules"),
        (RULES, "rule = 3", "line 1: unknown key 'rule'"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_line(old: str, new: str, complaint: str) -> None:
    assert old in RULES
    with pytest.raises(ConfigError) as error:
        parse_rules(RULES.replace(old, new))
    assert complaint in str(error.value)
