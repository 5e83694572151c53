"""Conversations → ids: as published templates say it, with no control id out of a message, and a mask by structure.

In the expected texts ⟦ ⟧ stand around what the assistant has to produce.
"""

import json
import random
import time
from dataclasses import replace
from typing import Any, cast

import jinja2
import pytest
import transformers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer

from ponder.core.errors import DataError, TokenizerError
from ponder.core.types import Message, Role
from ponder.text.chat_formats import FORMATS, THINKING
from ponder.text.chat_template import ChatTemplate, EncodedChat, choose_template, template_of
from ponder.text.jinja_template import JinjaTemplate
from ponder.text.thinking_template import format_jinja, thinking_jinja
from ponder.text.tokenizer import SpecialTokens, Tokenizer
from vocabularies import DEEPSEEK, deepseek_file, mutations

BOS, EOS = DEEPSEEK.bos or "", DEEPSEEK.eos or ""
MARKERS = (
    BOS, EOS, "<｜User｜>", "<｜Assistant｜>", "<|EOT|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>",
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
)  # fmt: skip
SPECIAL = SpecialTokens(bos=BOS, eos=EOS)
FAMILIES = [chat_format.name for chat_format in FORMATS]
SPECIAL_OF = {
    "deepseek-coder": SpecialTokens(bos=BOS, eos="<|EOT|>"),
    "llama-3": SpecialTokens(bos="<|begin_of_text|>", eos="<|eot_id|>"),
    "llama-3-thinking": SpecialTokens(bos="<|begin_of_text|>", eos="<|eot_id|>"),
    "llama-3.1": SpecialTokens(bos="<|begin_of_text|>", eos="<|eot_id|>"),
    "r1-zero": SpecialTokens(bos=BOS, eos=EOS, add_bos=True),
}
# published jinja texts that are short
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEEPSEEK_LLM = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}"
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}"
    "{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% "
    "set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
PUBLISHED = {"smollm2": SMOLLM2, "deepseek-llm": DEEPSEEK_LLM, "llama-3": LLAMA3}
# of our own making, in the manner of R1's: thoughts cut off, the prompt opened
CUTS_THOUGHTS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
    "{% elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}{{ eos_token }}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)


def backend() -> RustTokenizer:
    """A byte-level BPE with the markers of every family."""
    made = RustTokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False)
    lines = [line for chat_format in FORMATS for line in (chat_format.begin, chat_format.default_system)]
    made.train_from_iterator([*lines, "User: Hello\n\nAssistant: Hi there!\n\n### Response:\n think"] * 3, trainer)
    made.add_special_tokens([AddedToken(marker, normalized=False, special=True) for marker in MARKERS])
    made.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in ("<think>", "</think>")])
    return made


_BACKEND = backend().to_str()


def tokenizer_for(family: str) -> Tokenizer:
    return Tokenizer(RustTokenizer.from_str(_BACKEND), SPECIAL_OF.get(family, SPECIAL))


def marked(tokenizer: Tokenizer, encoded: EncodedChat) -> str:
    """The text of the ids with ⟦ ⟧ around what is a target."""
    assert len(encoded.ids) == len(encoded.target)
    text, inside = "", False
    for token, target in zip(encoded.ids, encoded.target, strict=True):
        if target != inside:
            text, inside = text + ("⟦" if target else "⟧"), target
        text += tokenizer.decode([token])
    return text + ("⟧" if inside else "")


TWO_TURNS = [
    Message("system", "Be kind."),
    Message("user", "Hello"),
    Message("assistant", "Hi there!", reasoning="A greeting."),
    Message("user", "2+2?"),
    Message("assistant", "4", reasoning="Easy."),
]
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
EXPECTED = {
    "deepseek-r1": (
        f"{BOS}Be kind.<｜User｜>Hello<｜Assistant｜>⟦Hi there!{EOS}⟧<｜User｜>2+2?<｜Assistant｜><think>\n"
        f"⟦Easy.\n</think>\n\n4{EOS}⟧"
    ),
    "qwen3": (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
        "⟦Hi there!<|im_end|>⟧\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
        "⟦<think>\nEasy.\n</think>\n\n4<|im_end|>⟧\n"
    ),
    "r1-zero": (
        f"{BOS}A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
        "assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
        "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
        "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. Be kind. User: "
        f"Hello. Assistant:⟦ Hi there!{EOS}⟧User: 2+2?. Assistant:⟦<think>Easy.</think><answer>4</answer>{EOS}⟧"
    ),
    # without thoughts
    "deepseek-v3": f"{BOS}Be kind.<｜User｜>Hello<｜Assistant｜>⟦Hi there!{EOS}⟧<｜User｜>2+2?<｜Assistant｜>⟦4{EOS}⟧",
    "deepseek-llm": (f"{BOS}Be kind.\n\nUser: Hello\n\nAssistant:⟦ Hi there!{EOS}⟧User: 2+2?\n\nAssistant:⟦ 4{EOS}⟧"),
    "deepseek-coder": (
        f"{BOS}Be kind.### Instruction:\nHello\n### Response:\n⟦Hi there!\n<|EOT|>⟧\n### Instruction:\n2+2?\n"
        "### Response:\n⟦4\n<|EOT|>⟧\n"
    ),
    "chatml": (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
        "⟦Hi there!<|im_end|>⟧\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n⟦4<|im_end|>⟧\n"
    ),
    "llama-3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user"
        "<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦Hi there!<|eot_id|>⟧"
        "<|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        "⟦4<|eot_id|>⟧"
    ),
}
THOUGHTLESS = ("chatml", "llama-3")  # that Ponder has a thinking form of
EXPECTED["qwen2.5"] = EXPECTED["smollm2"] = EXPECTED["chatml"]
for _family in ("chatml", "smollm2", "qwen2.5", "llama-3"):  # as R1: the prompt opens the thought
    _last = EXPECTED[_family].rindex("⟦")
    _opened = EXPECTED[_family][:_last] + "<think>\n⟦Easy.\n</think>\n\n" + EXPECTED[_family][_last + 1 :]
    EXPECTED[f"{_family}-thinking"] = _opened
EXPECTED["llama-3.1"] = EXPECTED["llama-3"].replace(
    "Be kind.", "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nBe kind."
)
PROMPTS = {  # of one user message, "Hi", with what asks for the reply
    "deepseek-r1": f"{BOS}<｜User｜>Hi<｜Assistant｜><think>\n",
    "deepseek-v3": f"{BOS}<｜User｜>Hi<｜Assistant｜>",
    "deepseek-llm": f"{BOS}User: Hi\n\nAssistant:",
    "deepseek-coder": f"{BOS}{FORMATS[3].default_system}### Instruction:\nHi\n### Response:\n",
    "chatml": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "qwen3": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "qwen2.5": (
        f"<|im_start|>system\n{QWEN_SYSTEM}<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ),
    "smollm2": (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama-3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant"
        "<|end_header_id|>\n\n"
    ),
    "llama-3.1": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday "
        "Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>"
        "assistant<|end_header_id|>\n\n"
    ),
    "r1-zero": EXPECTED["r1-zero"].split("Be kind.")[0] + "User: Hi. Assistant:",
}

PROMPTS |= {f"{family}-thinking": PROMPTS[family] + "<think>\n" for family in THOUGHTLESS}
THINKING_FAMILIES = {"deepseek-r1", "qwen3", "r1-zero", *(f for f in FAMILIES if f.endswith("-thinking"))}
OPENING_FAMILIES = THINKING_FAMILIES - {"qwen3", "r1-zero"}  # their prompts open the thought


@pytest.mark.parametrize("family", FAMILIES)
def test_the_form_and_the_mask_of_a_conversation(family: str) -> None:
    tokenizer = tokenizer_for(family)
    messages = TWO_TURNS if family in THINKING_FAMILIES else [replace(m, reasoning=None) for m in TWO_TURNS]
    encoded = template_of(tokenizer, family).encode(messages, generation=False)
    assert marked(tokenizer, encoded) == EXPECTED[family]
    assert not encoded.opens_thought


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prompt(family: str) -> None:
    tokenizer = tokenizer_for(family)
    template = template_of(tokenizer, family)
    encoded = template.encode([Message("user", "Hi")])
    assert marked(tokenizer, encoded) == PROMPTS[family]
    assert encoded.opens_thought == (family in OPENING_FAMILIES)
    without = template.encode([Message("user", "Hi")], thinking=False)
    skipped = dict.fromkeys(OPENING_FAMILIES, "\n</think>\n\n")
    skipped |= {"qwen3": "<think>\n\n</think>\n\n", "r1-zero": "<think></think>"}
    assert tokenizer.decode(without.ids) == PROMPTS[family] + skipped.get(family, "")
    assert not without.opens_thought


def conversation(rng: random.Random) -> list[Message]:
    words = ["Hello", "2+2", "é", "你好", "😀", "\n\n", " ", "x\ty", "<b>", "User:", "think", "###", "|"]

    def text() -> str:
        inside = " ".join(rng.choices(words, k=rng.randint(1, 8)))
        return rng.choice(["", " ", "\n"]) + inside + rng.choice(["", "  ", "\n\n"])

    roles: list[Role] = ["user", "assistant"] * rng.randint(1, 3)
    messages = [Message(role, text()) for role in roles[: rng.randint(1, len(roles))]]
    return [Message("system", text()), *messages] if rng.random() < 0.5 else messages


@pytest.mark.parametrize("family", PUBLISHED)
def test_the_ids_are_those_of_transformers(family: str) -> None:
    """The published text through `apply_chat_template`, and through ours: by the family's format, and as it is."""
    tokenizer = tokenizer_for(family)
    special = tokenizer.special
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=RustTokenizer.from_str(_BACKEND),
        bos_token=special.bos,
        eos_token=special.eos,
        chat_template=PUBLISHED[family],
    )
    ours = choose_template(tokenizer, PUBLISHED[family])
    assert ours.name == family
    as_it_is = JinjaTemplate(tokenizer, PUBLISHED[family])
    rng = random.Random(0)
    for _ in range(60):
        messages = conversation(rng)
        turns = [{"role": m.role, "content": m.content} for m in messages]
        for generation in (False, True):
            expected = theirs.apply_chat_template(turns, add_generation_prompt=generation, return_dict=False)
            encoded = ours.encode(messages, generation=generation)
            assert list(encoded.ids) == expected
            assert as_it_is.encode(messages, generation=generation) == encoded  # mask and all


@pytest.fixture(scope="module")
def r1_file() -> str:
    """DeepSeek's tokenizer with the thought's tokens where R1 has them. The package carries a later edition, where
    these two ids are place holders and the tags have others.
    """
    content = json.loads(deepseek_file().read_text(encoding="utf-8"))
    names = {
        "<think>": "<｜place▁holder▁no▁798｜>",
        "</think>": "<｜place▁holder▁no▁799｜>",
        "<｜place▁holder▁no▁798｜>": "<think>",
        "<｜place▁holder▁no▁799｜>": "</think>",
    }
    for token in content["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    return json.dumps(content)


def test_r1_has_the_documented_ids(r1_file: str) -> None:
    tokenizer = Tokenizer(RustTokenizer.from_str(r1_file), DEEPSEEK)
    assert (tokenizer.control.think, tokenizer.control.end_think) == (128798, 128799)
    template = template_of(tokenizer, "deepseek-r1")
    encoded = template.encode([Message("user", "Hi")])
    assert encoded.ids == (0, 128803, *tokenizer.encode("Hi"), 128804, 128798, *tokenizer.encode("\n"))
    assert encoded.opens_thought
    reply = template.encode([Message("user", "Hi"), Message("assistant", "Ho", "Hm")], generation=False)
    assert reply.ids[: len(encoded.ids)] == encoded.ids
    written = (*tokenizer.encode("Hm\n"), 128799, *tokenizer.encode("\n\nHo"), 1)
    assert tuple(i for i, target in zip(reply.ids, reply.target, strict=True) if target) == written


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_is_a_prefix_of_its_continuation(family: str) -> None:
    """A prompt, the reply to it, the next prompt. With thoughts it holds for the turns before the first thought."""
    template = template_of(tokenizer_for(family), family)
    thinks = family in THINKING_FAMILIES - {"r1-zero"}
    rng = random.Random(1)
    for _ in range(20):
        messages = conversation(rng)
        while messages[-1].role == "assistant":
            messages = messages[:-1]
        prompt = template.encode(messages, thinking=None).ids
        reply = Message("assistant", f"x{rng.random()}", reasoning="y" if thinks else None)
        whole = template.encode([*messages, reply], generation=False).ids
        assert whole[: len(prompt)] == prompt
        if reply.reasoning is None:
            more = template.encode([*messages, reply, Message("user", "z")]).ids
            assert more[: len(whole)] == whole
        else:  # the thought is gone from the longer one: equal up to the words that ask for the reply
            more = template.encode([*messages, reply, Message("user", "z")]).ids
            asked = template.encode(messages, generation=False).ids
            assert more[: len(asked)] == asked


@pytest.mark.parametrize("family", [*FAMILIES, "jinja"])
def test_no_control_id_comes_from_a_message(family: str) -> None:
    tokenizer = tokenizer_for(family)
    template: ChatTemplate = JinjaTemplate(tokenizer, SMOLLM2)
    if family != "jinja":
        template = template_of(tokenizer, family)
    control = set(tokenizer.control_tokens.values())
    thinks = family in ("deepseek-r1", "qwen3", "r1-zero")

    def control_ids(text: str) -> list[int]:
        messages = [Message(m.role, text, text if m.reasoning and thinks else None) for m in TWO_TURNS]
        return [i for i in template.encode(messages, generation=False).ids if i in control]

    expected = control_ids("a")
    assert expected  # the template's own
    tokens = list(tokenizer.control_tokens)
    for form in (*tokens, *mutations(tokens, 120), "".join(tokens)):
        assert control_ids(form) == expected, form


def test_1000_forms_in_deepseek_s_vocabulary(r1_file: str) -> None:
    tokenizer = Tokenizer(RustTokenizer.from_str(r1_file), DEEPSEEK)
    template = template_of(tokenizer, "deepseek-r1")
    control = set(tokenizer.control_tokens.values())
    tokens = [t for t in tokenizer.control_tokens if "place" not in t]
    for form in (*tokens, *mutations(tokens, 1000)):
        messages = [Message("system", form), Message("user", form), Message("assistant", form, reasoning=form)]
        ids = template.encode(messages, generation=False).ids
        assert [i for i in ids if i in control] == [0, 128803, 128804, 128798, 128799, 1], form


# ---- jinja


def test_a_family_is_recognised_by_what_its_template_says() -> None:
    tokenizer = tokenizer_for("deepseek-r1")
    assert choose_template(tokenizer, None).name == "r1-zero"
    assert choose_template(tokenizer, "").name == "r1-zero"
    assert choose_template(tokenizer, CUTS_THOUGHTS).name == "deepseek-r1"  # it knows </think>: the prompt opens it
    assert choose_template(tokenizer, CUTS_THOUGHTS.replace("split('</think>')", "split('\0')")).name == "deepseek-v3"
    other = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
    assert choose_template(tokenizer, other).name == "jinja"


def test_any_other_template_is_followed() -> None:
    """Trimming, thoughts, the end token after a line break, a switch for thinking."""
    source = (
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}: {% if m.reasoning_content is defined %}<think>"
        "{{ m.reasoning_content | trim }}</think>{% endif %}{{ m.content | trim }}\n<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant: {% if enable_thinking %}<think>{% endif %}{% endif %}"
    )
    tokenizer = tokenizer_for("chatml")
    template = choose_template(tokenizer, source)
    messages = [Message("user", "  <think> </s>{{ 7 }} \n"), Message("assistant", " Yes. \n", reasoning=" Hm ")]
    encoded = template.encode(messages, generation=False)
    assert marked(tokenizer, encoded) == (
        f"{BOS}<|im_start|>user: <think> </s>{{{{ 7 }}}}\n<|im_end|><|im_start|>assistant: "
        "⟦<think>Hm</think>Yes.\n<|im_end|>⟧"
    )
    assert [i for i in encoded.ids if i == tokenizer.control.think] == [tokenizer.control.think]
    assert template.encode(messages[:1], thinking=True).opens_thought
    assert not template.encode(messages[:1], thinking=False).opens_thought


def refuses(source: str, *messages: Message) -> str:
    with pytest.raises(DataError) as raised:
        JinjaTemplate(tokenizer_for("chatml"), source).encode(messages)
    return str(raised.value)


def test_what_templates_refuse() -> None:
    user = Message("user", "Hi")
    assert "refuses this conversation: no system" in refuses(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}",
        Message("system", "x"),
        user,
    )
    assert "is no jinja template" in refuses("{% for %}", user)
    assert "cannot render this conversation" in refuses("{{ messages[0].content + 7 }}", user)
    assert "cannot render" in refuses("{{ ''.__class__.__mro__ }}", user)  # the sandbox
    assert "changes the text of messages" in refuses("{{ messages[0].content[:5] }}", user)
    assert "conversation is empty" in refuses("x")
    assert "no place for one" in refuses("{{ messages[1].content }}", user, Message("assistant", "a", reasoning="b"))


def test_what_families_refuse() -> None:
    tokenizer = tokenizer_for("deepseek-v3")
    template = template_of(tokenizer, "deepseek-v3")
    with pytest.raises(DataError, match="has no place for a message of role 'function'; expected system, user"):
        template.encode([Message(cast(Role, "function"), "42")])
    with pytest.raises(DataError, match="conversation is empty"):
        template.encode([])
    with pytest.raises(DataError, match="the last turn has a thought"):
        template.encode([Message("user", "a"), Message("assistant", "b", reasoning="c")], generation=False)
    with pytest.raises(DataError, match="'mistral' is unknown; expected one of deepseek-r1, "):
        template_of(tokenizer, "mistral")
    with pytest.raises(DataError, match=r"llama-3 chat template needs the control tokens <\|start_header_id\|>, "):
        template_of(Tokenizer.for_arithmetic(), "llama-3")
    with pytest.raises(TokenizerError, match=r"U\+D800"):
        template.encode([Message("user", "\ud800")])


def test_control_tokens_that_take_white_space() -> None:
    content: dict[str, Any] = json.loads(_BACKEND)
    for token in content["added_tokens"]:
        token["rstrip"] = token["content"] == "<|im_end|>"
    made = RustTokenizer.from_str(json.dumps(content))
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=RustTokenizer.from_str(json.dumps(content)), eos_token=EOS, chat_template=SMOLLM2
    )
    tokenizer = Tokenizer(made, SpecialTokens(eos=EOS))
    turns = [
        {"role": "user", "content": " a "},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    messages = [Message("user", " a "), Message("assistant", "b"), Message("user", "c")]
    for template in (choose_template(tokenizer, SMOLLM2), JinjaTemplate(tokenizer, SMOLLM2)):
        assert list(template.encode(messages).ids) == theirs.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=False
        )


# ---- jinja that changes contents, or does not end

FORM = "{% for m in messages %}<|im_start|>{{ m.role }}: TEXT<|im_end|>{% endfor %}"
CHANGES = (
    "m.content|upper", "m.content|lower", "m.content|title", "m.content|reverse", "m.content[::-1]", "m.content[0]",
    "m.content[1:]", "m.content|length", "m.content|tojson", "m.content|e", "m.content|replace('o', '0')",
    "m.content.split(' ')[0]", "m.content|list|join('-')", "'yes' if 'hi' in m.content else m.content",
    "'' if m.content|length > 20 else m.content", "m.content|wordcount",
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_template_that_changes_contents_is_refused(change: str) -> None:
    """And never by one with the template's marks in place of the words."""
    tokenizer = tokenizer_for("chatml")
    template = choose_template(tokenizer, FORM.replace("TEXT", f"{{{{ {change} }}}}"))
    assert template.name == "jinja"
    with pytest.raises(DataError, match="changes the text of messages or decides by it"):
        template.encode([Message("user", 'One "hi" & a long question')])


def test_what_a_template_says_by_a_content_is_said_where_it_is_the_same() -> None:
    """R1's cut at </think> of a reply without one; a choice that falls the same way for the marks."""
    tokenizer = tokenizer_for("chatml")
    choice = "{{ 'yes' if 'hi' in m.content else m.content.split('</think>')[-1] }}"
    template = JinjaTemplate(tokenizer, FORM.replace("TEXT", choice))
    assert tokenizer.decode(template.encode([Message("user", "Ho ho")]).ids) == "<|im_start|>user: Ho ho<|im_end|>"
    with pytest.raises(DataError, match="changes the text"):
        template.encode([Message("user", "a</think>b")])


def test_the_last_question_must_be_there() -> None:
    assert "leaves out what the user says last" in refuses("{{ messages[0].content }}", Message("system", "a"), USER)
    only_last = JinjaTemplate(tokenizer_for("chatml"), "{{ messages[-1].content }}")
    assert only_last.encode([Message("user", "dropped"), Message("assistant", "so"), USER], generation=False).ids


USER = Message("user", "Hi")


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_reply_of_nothing_is_an_end_to_learn(family: str) -> None:
    tokenizer = tokenizer_for(family)
    messages = [USER, Message("assistant", ""), Message("user", "?"), Message("assistant", "")]
    encoded = JinjaTemplate(tokenizer, PUBLISHED[family]).encode(messages, generation=False)
    assert encoded == template_of(tokenizer, family).encode(messages, generation=False)
    end = tokenizer.control.eos if family != "smollm2" else tokenizer.encode_control("<|im_end|>")
    assert [i for i, target in zip(encoded.ids, encoded.target, strict=True) if target].count(end) == 2


def test_a_template_that_asks_for_contents() -> None:
    source = FORM.replace("TEXT", "{% if m.content %}[{{ m.content }}]{% endif %}")
    tokenizer = tokenizer_for("chatml")
    encoded = JinjaTemplate(tokenizer, source).encode([USER, Message("assistant", "")], generation=False)
    assert tokenizer.decode(encoded.ids) == "<|im_start|>user: [Hi]<|im_end|><|im_start|>assistant: <|im_end|>"


ENDLESS = {
    "loops in loops": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "takes more than 300,000 steps",
    ),
    "macros that call themselves": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "takes more than 300,000 steps",
    ),
    "a recursive loop": (
        "{% for a in range(999) recursive %}{% if loop.depth < 9 %}{{ loop(range(999)) }}{% endif %}{% endfor %}",
        "takes more than 300,000 steps",
    ),
    "a text that doubles": (
        "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "too large",
    ),
    "a block that doubles": (
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        "too large",
    ),
    "a power": ("{{ 10**5000 }}", "too large"),
    "a power of a power": ("{{ 9**9**9**9 }}", "too large"),
    "a long text": ("{{ 'x' * 10**10 }}", "too large"),
    "a wide text": ("{{ 'x'.ljust(10**10) }}", "too large"),
    "a wide number": ('{{ "%150000000d" % messages|length }}', "too large"),
    "a width that is told": ('{{ "%*d" % (10**9, messages|length) }}', "too large"),
    "a wide number by a filter": ('{{ "%60000000d"|format(messages|length) }}', "too large"),
    "a wide number by a method": ('{{ "{:>300000000}".format("x") }}', "too large"),
    "a deep indent": ('{{ "a\n"|indent(10**9, true) }}', "too large"),
    "batches filled up": ('{{ messages|batch(50000000, "x")|list|length }}', "No filter named 'batch'"),
    "a long text between": ("{{ range(90000)|join('x' * 90000) }}", "too large"),
    "a long text between, by a method": ("{{ ('x' * 90000).join('a' * 90000) }}", "too large"),
    "a long text for each letter": ("{{ ('a' * 90000).replace('a', 'b' * 90000) }}", "too large"),
    "a long text for each letter, by a filter": ("{{ ('a' * 90000)|replace('a', 'b' * 90000) }}", "too large"),
    "a page at every turn": ("{% for i in range(99999) %}" + "y" * 9_000 + "{% endfor %}", "too large"),
    "a page at every turn of a macro": (
        "{% macro f() %}{% for i in range(99999) %}" + "y" * 9_000 + "{% endfor %}{% endmacro %}{{ f() }}",
        "too large",
    ),
    "a wide constant at every turn": ("{% for i in range(9999) %}{{ 'y' * 90000 }}{% endfor %}", "too large"),
    "brackets": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
    "ifs": ("{% if 1 %}" * 3000 + "{% endif %}" * 3000, "nested too deeply"),
    "fors": (
        "{% for a in [1] %}" * 40 + "{% endfor %}" * 40,
        "is no jinja template: too many statically nested blocks",
    ),
    "a long source": ("x" * 200_000, "has 200,025 characters; expected at most 200,000"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_a_template_that_does_not_end_is_refused(case: str) -> None:
    source, message = ENDLESS[case]
    before = time.process_time()
    with pytest.raises(DataError, match=message):
        choose_template(tokenizer_for("chatml"), source + "{{ messages[0].content }}").encode([USER])
    assert time.process_time() - before < 5.0


def test_filters_and_forms_do_what_jinja_does() -> None:
    source = (
        "{{ ['a', 1, 'b']|join(', ') }} {{ messages|join('/', attribute='role') }} {{ 'aXbX'|replace('X', '--') }} "
        "{{ 'aXbX'|replace('X', '-', 1) }} {{ 'a\nb'|indent(2) }} {{ 'a'|indent('> ', true) }} "
        "{{ '%s=%03d'|format('n', 7) }} {{ '%5.1f%%' % 2.25 }} {{ '{:>4}|{}'.format('x', 'y') }} "
        "{{ '-'.join(['p', 'q']) }} {{ 'aa'.replace('a', 'b', 1) }}"
    )
    template = JinjaTemplate(tokenizer_for("chatml"), source)
    rendered = template.render([USER, USER], generation=False, thinking=None)
    plain = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(source)
    assert rendered == plain.render(messages=[{"role": "user"}, {"role": "user"}])
    assert rendered.startswith("a, 1, b user/user a--b-- a-bX a\n  b > a n=007   2.2%    x|y p-q ba")


def test_loops_know_where_they_are() -> None:
    source = (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ '.' if loop.last else ',' }}{{ m.content }}"
        "{% endfor %}{% for a, b in {'k': 'v'}.items() %}{{ a ~ b }}{% else %}none{% endfor %}"
        "{% for a in nothing %}x{% else %}none{% endfor %}{% set x, y = 1, 'b' * 2 %}{{ x + 1 }}{{ y }}"
    )
    template = JinjaTemplate(tokenizer_for("chatml"), source)
    assert template.render([USER, USER], generation=False, thinking=None) == "1/2,Hi2/2.Hikvnone2bb"


@pytest.mark.parametrize("family", THOUGHTLESS)
def test_the_thinking_form_of_a_template_as_jinja(family: str) -> None:
    """Text that Ponder knows again, that says the same when it is followed as it is, and that transformers renders."""
    tokenizer = tokenizer_for(f"{family}-thinking")
    source = format_jinja(THINKING[family], tokenizer)
    ours, as_it_is = choose_template(tokenizer, source), JinjaTemplate(tokenizer, source)
    assert ours.name == f"{family}-thinking"
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=RustTokenizer.from_str(_BACKEND), bos_token=tokenizer.special.bos, chat_template=source
    )
    for messages in (TWO_TURNS, TWO_TURNS[:4], TWO_TURNS[1:], [Message("user", "Hi"), Message("assistant", "Ho")]):
        turns = [{"role": m.role, "content": m.content, "reasoning_content": m.reasoning or ""} for m in messages]
        for generation in (False, True):
            encoded = ours.encode(messages, generation=generation)
            assert tokenizer.decode(encoded.ids) == tokenizer.decode(
                as_it_is.encode(messages, generation=generation).ids
            )
            rendered = theirs.apply_chat_template(turns, add_generation_prompt=generation, tokenize=False)
            assert tokenizer.decode(encoded.ids) == rendered


@pytest.mark.parametrize("thought", ["", "x", "\n\nx"])
def test_a_learned_reply_goes_on_where_its_prompt_ends(thought: str) -> None:
    """The ids of the whole begin with those of the prompt, and all that follows is what the assistant has to say."""
    template = template_of(tokenizer_for("chatml"), "chatml-thinking")
    prompt = template.encode([Message("user", "Hi")])
    whole = template.encode([Message("user", "Hi"), Message("assistant", "Ho", thought)], generation=False)
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert whole.target.index(True) == len(prompt.ids)


def test_a_template_without_a_thinking_form_is_refused() -> None:
    tokenizer = tokenizer_for("deepseek-llm")
    with pytest.raises(DataError, match=r"cannot add thoughts to this chat template \(deepseek-llm\); expected one of"):
        thinking_jinja(tokenizer, PUBLISHED["deepseek-llm"])
    smollm2 = thinking_jinja(tokenizer_for("smollm2"), PUBLISHED["smollm2"])
    assert smollm2 == format_jinja(THINKING["chatml"], tokenizer_for("smollm2"))  # its system prompt is gone
    kept = "{{ messages }}</think>"
    assert thinking_jinja(tokenizer, kept) == kept
