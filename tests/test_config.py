import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from ponder.core.config import apply_settings, parse_overrides, read_toml, to_toml
from ponder.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Rates:
    learning_rate: float = 3e-4
    beta: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True, kw_only=True)
class Wide:
    rank: int
    heads: int = 4


@dataclass(frozen=True, kw_only=True)
class Narrow:
    kv_heads: int


@dataclass(frozen=True, kw_only=True)
class Grpo:
    clip_low: float = 0.2
    clip_high: float = 0.28
    normalise: Literal["token", "sequence"] = "token"
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        if self.clip_low > self.clip_high:
            raise ConfigError(f"grpo.clip_low = {self.clip_low} exceeds clip_high = {self.clip_high}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    name: str = "zero"
    seed: int = 0
    resample: bool = False
    limit: int | None = None
    share: int | float = 0.5
    output: Path = Path("runs")
    sizes: tuple[int, ...] = (1, 2)
    attention: Wide | Narrow = field(default_factory=lambda: Wide(rank=8))
    extra: Wide | None = None
    grpo: Grpo = field(default_factory=Grpo)


def refusal(settings: dict[str, object], config: object = Recipe(), where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        apply_settings(config, settings, where=where)
    return str(caught.value)


def test_settings_replace_only_what_they_name() -> None:
    config = apply_settings(Recipe(), {"seed": 7, "grpo": {"clip_high": 1, "rates": {"beta": [0.8, 0.9]}}})
    assert config == Recipe(seed=7, grpo=Grpo(clip_high=1.0, rates=Rates(beta=(0.8, 0.9))))
    assert isinstance(config.grpo.clip_high, float)
    assert isinstance(config.grpo.rates.beta, tuple)


def test_checks_see_the_final_values_only() -> None:
    raised = apply_settings(Grpo(), {"clip_low": 0.5, "clip_high": 0.6})  # clip_low alone would be refused
    assert (raised.clip_low, raised.clip_high) == (0.5, 0.6)
    assert refusal({"grpo": {"clip_low": 0.5}}) == "grpo.clip_low = 0.5 exceeds clip_high = 0.28"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grpo": {"clip_hihg": 0.3}}, "unknown setting 'grpo.clip_hihg'; did you mean 'grpo.clip_high'?"),
        ({"grop": {"clip_high": 0.3}}, "unknown setting 'grop'; did you mean 'grpo'?"),
        ({"clip_high": 0.3}, "unknown setting 'clip_high'; did you mean 'grpo.clip_high'?"),
        (
            {"grpo": {"learning-rate": 1.0}},
            "unknown setting 'grpo.learning-rate'; did you mean 'grpo.rates.learning_rate'?",
        ),
        ({"rank": 3}, "unknown setting 'rank'; did you mean 'attention.rank'?"),
        ({"attention": {"zzz": 1}}, "unknown setting 'attention.zzz'; settings here: attention.rank, attention.heads"),
        ({"extra": {"rank": 1, "haeds": 2}}, "unknown setting 'extra.haeds'; did you mean 'extra.heads'?"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_full_name(settings: dict[str, object], message: str) -> None:
    assert refusal(settings) == message


def test_where_is_part_of_every_name() -> None:
    assert (
        refusal({"clip_hihg": 1}, Grpo(), "grpo") == "unknown setting 'grpo.clip_hihg'; did you mean 'grpo.clip_high'?"
    )
    assert refusal({"clip_low": "a"}, Grpo(), "grpo").startswith("setting 'grpo.clip_low': got")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": True}, "'seed': got true; expected a whole number"),
        ({"seed": 1.0}, "'seed': got 1.0; expected a whole number"),
        ({"seed": "1"}, "'seed': got \"1\"; expected a whole number; write 1 without quotes"),
        ({"seed": [1]}, "'seed': got [1]; expected a whole number"),
        ({"seed": {"a": 1}}, "'seed': got a table with a; expected a whole number"),
        ({"seed": None}, "'seed': got none; expected a whole number"),
        ({"resample": 1}, "'resample': got 1; expected true or false"),
        (
            {"resample": "True"},
            "'resample': got \"True\"; expected true or false; write true, small and without quotes",
        ),
        ({"name": 3}, "'name': got 3; expected a text; put it in quotes: \"3\" (in a shell: '\"3\"')"),
        ({"name": ["a"]}, "'name': got ['a']; expected a text"),
        ({"output": 3}, "'output': got 3; expected a path (a text); put it in quotes: \"3\" (in a shell: '\"3\"')"),
        ({"grpo": {"clip_high": True}}, "'grpo.clip_high': got true; expected a number"),
        ({"grpo": {"clip_high": ".3"}}, "'grpo.clip_high': got \".3\"; expected a number; write 0.3 without quotes"),
        ({"grpo": {"clip_high": math.nan}}, "'grpo.clip_high': got nan; expected a number"),
        ({"grpo": {"clip_high": "nan"}}, "'grpo.clip_high': got \"nan\"; expected a number"),
        (
            {"grpo": {"normalise": "tokens"}},
            '\'grpo.normalise\': got "tokens"; expected one of "token", "sequence"; did you mean token?',
        ),
        ({"grpo": {"rates": {"beta": [0.9]}}}, "'grpo.rates.beta': got [0.9]; expected a list of 2"),
        ({"sizes": [1, "2"]}, "'sizes[1]': got \"2\"; expected a whole number; write 2 without quotes"),
        ({"sizes": 3}, "'sizes': got 3; expected a list such as [1, 2]"),
        ({"share": "a"}, "'share': got \"a\"; expected a whole number or a number"),
        ({"limit": "many"}, "'limit': got \"many\"; expected a whole number"),
        ({"extra": {"heads": 2}}, "'extra' lacks rank; a new Wide must be given in full"),
    ],
)
def test_a_wrong_type_is_refused(settings: dict[str, object], message: str) -> None:
    assert refusal(settings).removeprefix("setting ").removeprefix("section ") == message


def test_numbers_beyond_a_double_and_long_values_are_refused_in_one_short_line() -> None:
    assert "expected a number that fits a double" in refusal({"grpo": {"clip_high": 10**400}})
    assert len(refusal({"seed": "x" * 10_000})) < 200


def test_a_value_for_a_section_names_its_settings() -> None:
    message = refusal({"grpo": 3})
    assert message.startswith("'grpo' is a section with settings of its own, got 3; set one of grpo.clip_low,")


def test_a_union_keeps_its_present_section_unless_another_is_given_in_full() -> None:
    assert apply_settings(Recipe(), {"attention": {"heads": 2}}).attention == Wide(rank=8, heads=2)
    assert apply_settings(Recipe(), {"attention": {"kv_heads": 2}}).attention == Narrow(kv_heads=2)
    narrow = Recipe(attention=Narrow(kv_heads=1))
    assert apply_settings(narrow, {"attention": {"rank": 3}}).attention == Wide(rank=3)
    assert (
        refusal({"attention": {"heads": 3}}, narrow)
        == "section 'attention' lacks rank; a new Wide must be given in full"
    )


def test_none_switches_off_and_a_full_table_switches_on() -> None:
    on = apply_settings(Recipe(), {"extra": {"rank": 3}, "limit": 5})
    assert (on.extra, on.limit) == (Wide(rank=3), 5)
    off = apply_settings(on, {"extra": "none", "limit": "none"})
    assert (off.extra, off.limit) == (None, None)
    assert apply_settings(on, {"extra": {"heads": 9}}).extra == Wide(rank=3, heads=9)


def test_a_number_keeps_its_exact_type_in_a_union() -> None:
    assert type(apply_settings(Recipe(), {"share": 1}).share) is int
    assert type(apply_settings(Recipe(), {"share": 1.0}).share) is float


def test_arguments_become_a_tree() -> None:
    arguments = [
        "--grpo.clip_high=0.3",
        "--seed=1",
        "--grpo.kl_weight",
        "0.1",
        "--x",
        "-1",
        "--task=chain",
        "--on=true",
    ]
    assert parse_overrides(arguments) == {
        "grpo": {"clip_high": 0.3, "kl_weight": 0.1},
        "seed": 1,
        "x": -1,
        "task": "chain",
        "on": True,
    }
    assert parse_overrides(["--a=1", "--a=2"]) == {"a": 2}
    assert parse_overrides(["--a.b=1", "--a={c = 2}", "--a.d=3"]) == {"a": {"b": 1, "c": 2, "d": 3}}


def test_a_name_that_a_person_chose_may_stand_in_quotes() -> None:
    arguments = ["--sets.my-own.kind=math", "--sets.2024.kind=code", '--sets."my own.v2".kind=exact', '--"sets".Ü=1']
    assert parse_overrides(arguments) == {
        "sets": {"my-own": {"kind": "math"}, "2024": {"kind": "code"}, "my own.v2": {"kind": "exact"}, "Ü": 1}
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("[1, 2]", [1, 2]), ('"1"', "1"), ("'a b'", "a b"), ("none", "none"), ("", ""), ("a=b", "a=b"),
        ("5#a", "5#a"), ("1, y = 2", "1, y = 2"), ("1\ny = 2", "1\ny = 2"), ("2025-01-20", "2025-01-20"),
        ("True", "True"), ("1,", "1,"), ("1}", "1}"), ("思考", "思考"),
        ("[" * 5000, "[" * 5000), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_a_value_is_toml_or_else_the_text_itself(text: str, value: object) -> None:
    assert parse_overrides([f"--a={text}"]) == {"a": value}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seed=1"], "unexpected argument 'seed=1'; expected a setting such as --seed=1"),
        (["--seed"], "setting --seed has no value; write --seed=VALUE"),
        (["--seed", "--name=a"], "setting --seed has no value"),
        (["--=1"], "'--=1' names no setting"),
        (["--a..b=1"], "'--a..b=1' names no setting"),
        (["--a b.c=1"], "'--a b.c=1' names no setting; expected a form such as --grpo.clip_high=0.3, and a name with"),
        (['--a."b.c=1'], "names no setting"),
        (['--a."".c=1'], "names no setting"),
        (["--a=1", "--a.b=2"], "--a.b makes 'a' a section"),
        (["--a.b=2", "--a=1"], "--a gives 'a' a value"),
    ],
)
def test_malformed_arguments_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        Recipe(),
        Recipe(limit=3, extra=Wide(rank=1), sizes=(), output=Path("a b/c")),
        Recipe(name='quote " and 思考\n\ttab', grpo=Grpo(clip_high=math.inf), share=1, attention=Narrow(kv_heads=3)),
    ],
)
def test_a_config_comes_back_from_toml_whatever_it_is_applied_to(config: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    other = Recipe(limit=9, extra=Wide(rank=9, heads=9), seed=9, grpo=Grpo(clip_low=0.0))
    assert apply_settings(Recipe(), read_toml(path)) == config
    assert apply_settings(other, read_toml(path)) == config


@given(st.text(st.characters(codec="utf-8")), st.floats(allow_nan=False, min_value=0.3), st.integers())
def test_every_text_and_number_survives_toml_and_arguments(name: str, clip: float, seed: int) -> None:
    config = Recipe(name=name, seed=seed, grpo=Grpo(clip_high=clip))
    assert apply_settings(Recipe(), tomllib.loads(to_toml(config))) == config
    arguments = [f"--seed={seed}", f"--grpo.clip_high={clip!r}", f"--name={tomli_w.dumps({'x': name})[4:].strip()}"]
    assert apply_settings(Recipe(), parse_overrides(arguments)) == config


def test_every_way_a_file_can_fail_has_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            read_toml(path)
        return str(caught.value)

    (tmp_path / "zero.toml").write_text("seed = 1\n")
    assert message(tmp_path / "zeor.toml").endswith(f"did you mean {tmp_path / 'zero.toml'}?")
    assert "nor a folder" in message(tmp_path / "no" / "zero.toml")
    assert message(tmp_path) == f"{tmp_path} is a folder; expected a TOML file"
    (tmp_path / "binary").write_bytes(b"\x93NUMPY\xff\x00")
    assert "is not a TOML file: byte 0 is not UTF-8 text" in message(tmp_path / "binary")
    (tmp_path / "broken").write_text("a = 1\nb = = 2\n")
    assert "line 2" in message(tmp_path / "broken")
    (tmp_path / "twice").write_text("a = 1\na = 2\n")
    assert "is not valid TOML" in message(tmp_path / "twice")
    (tmp_path / "deep").write_text("a = " + "[" * 100_000)
    assert "is not valid TOML" in message(tmp_path / "deep")
    (tmp_path / "long").write_text("a = " + "9" * 5000)
    assert "is not valid TOML" in message(tmp_path / "long")
    assert "is not valid TOML" in message(tmp_path / "nul\0byte") or "cannot read" in message(tmp_path / "nul\0byte")

    def deny(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny)
    assert message(tmp_path / "zero.toml").endswith("Permission denied; check the path and its permissions")


@dataclass(frozen=True, kw_only=True)
class Shop:
    prices: Mapping[str, float] = field(default_factory=dict)
    shapes: Mapping[str, Wide] | None = None


def test_a_table_of_names_keeps_the_present_ones_and_comes_back_from_toml() -> None:
    shop = apply_settings(Shop(prices={"tea": 1.0, "milk": 2.0}), {"prices": {"milk": 3, "V4 pro": 4.5}})
    assert shop.prices == {"tea": 1.0, "milk": 3.0, "V4 pro": 4.5}
    shop = apply_settings(shop, {"shapes": {"a": {"rank": 2, "heads": 8}}})
    shop = apply_settings(shop, parse_overrides(["--shapes.a.rank=3", "--shapes.b.rank=5"]))
    assert shop.shapes == {"a": Wide(rank=3, heads=8), "b": Wide(rank=5)}
    assert apply_settings(Shop(), tomllib.loads(to_toml(shop))) == shop
    assert refusal({"prices": {"tea": "dear"}}, Shop()) == ("setting 'prices.tea': got \"dear\"; expected a number")
    assert "section 'shapes.c' lacks rank" in refusal({"shapes": {"c": {"heads": 2}}}, Shop())
    assert "expected a table of names" in refusal({"prices": 3}, Shop())
