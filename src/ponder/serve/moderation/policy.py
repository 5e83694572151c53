"""The rules as people read them, and the notices they are told. Both say the truth: which rule, what it is about."""

from collections.abc import Mapping
from dataclasses import dataclass

from ponder.serve.moderation.rules import Action, Language, Rule, RuleBook

_TITLE: Mapping[Language, str] = {"en": "Rules of this site", "zh": "本站规则"}
_ACTIONS: Mapping[Language, Mapping[Action, str]] = {
    "en": {
        "retract": "An answer is withdrawn, also while it is being written; a question is not answered.",
        "refuse": "An answer ends there; a question is not answered.",
        "flag": "It is noted for the people who run this site; nothing is withheld.",
    },
    "zh": {
        "retract": "回答会被撤回，生成过程中也会撤回；问题不予回答。",
        "refuse": "回答在该处终止；问题不予回答。",
        "flag": "仅记录给本站管理者，不作任何拦截。",
    },
}
_EXPLANATION: Mapping[Language, str] = {
    "en": "Questions, thoughts and answers are compared with these rules as they come. Where a rule applies, the "
    "notice names it. A note is kept of the rule, the account, the time, the place in the text and a digest that "
    "nobody can read, not of the text itself. If you think a decision is wrong, you can appeal at the message.",
    "zh": "问题、思考过程与回答会实时按照以下规则进行检查。触发规则时，提示会说明是哪一条。系统只记录规则、账号、时间、"
    "文本中的位置以及无法还原的摘要，不记录文本内容本身。如果您认为处理有误，可以在该消息处提出申诉。",
}
_REVIEWED: Mapping[Language, str] = {
    "en": "A second opinion by a model is asked for first.",
    "zh": "处理前会先由模型复核。",
}
_NOTICES: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "retract": "This answer was withdrawn by this site's rule {number}: {title}",
        "refuse": "This answer was ended here by this site's rule {number}: {title}",
        "input": "This question is not answered, by this site's rule {number}: {title}",
    },
    "zh": {
        "retract": "本回答已根据本站规则第 {number} 条撤回：{title}",
        "refuse": "本回答已根据本站规则第 {number} 条在此终止：{title}",
        "input": "根据本站规则第 {number} 条，该问题不予回答：{title}",
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicRule:
    """A rule without what it looks for."""

    number: int
    title: str
    description: str
    action: Action


class Policy:
    """What is published of a book of rules."""

    def __init__(self, book: RuleBook) -> None:
        self._book = book

    def title(self, language: Language) -> str:
        return _TITLE[language]

    def rules(self, language: Language) -> list[PublicRule]:
        return [
            PublicRule(
                number=rule.number,
                title=rule.title[language],
                description=rule.description[language],
                action=rule.action,
            )
            for rule in self._book.rules
        ]

    def to_markdown(self, language: Language) -> str:
        """The whole page, without its title."""
        parts = [_EXPLANATION[language]]
        for rule in self._book.rules:
            parts.append(f"## {rule.number}. {rule.title[language]}")
            consequence = _ACTIONS[language][rule.action]
            if rule.review:
                consequence = (
                    f"{_REVIEWED[language]} {consequence}"
                    if language == "en"
                    else (f"{_REVIEWED[language]}{consequence}")
                )
            parts += [rule.description[language], f"*{consequence}*"]
        return "\n\n".join(parts) + "\n"


def notice_of(rule: Rule, what: str, language: Language) -> str:
    """What a person is told. `what`: "input" for a question, else the action on an answer."""
    return _NOTICES[language][what].format(number=rule.number, title=rule.title[language])


def language_of(text: str) -> Language:
    """That of a text, as far as a notice needs it: Chinese where it has Chinese characters."""
    return "zh" if any("\u4e00" <= character <= "\u9fff" for character in text) else "en"
