"""Rules for the tests of moderation."""

from ponder.serve.moderation.rules import RuleBook, parse_rules

RULES = """
[[rules]]
number = 1
title = { en = "Weapons", zh = "武器" }
description = { en = "No building of weapons.", zh = "不提供武器制作方法。" }
action = "retract"
terms = ["pipe bomb", "土制炸弹", "Sarin"]
patterns = ["炸弹.{0,4}(制作|配方)", "\\\\bc-?4\\\\b"]

[[rules]]
number = 2
title = { en = "Private data", zh = "个人信息" }
description = { en = "No identity numbers.", zh = "不提供身份证号。" }
action = "refuse"
on = ["thought", "output"]
patterns = ["[0-9]{17}[0-9x]"]

[[rules]]
number = 7
title = { en = "Watched words", zh = "关注词" }
description = { en = "Noted only.", zh = "仅记录。" }
action = "flag"
terms = ["lottery", "彩票"]
"""

REVIEWED = """
[[rules]]
number = 3
title = { en = "Attacks", zh = "攻击" }
description = { en = "No planning of attacks.", zh = "不策划攻击。" }
action = "retract"
terms = ["attack"]
review = true
"""


def rules() -> RuleBook:
    return parse_rules(RULES)


def terms_only() -> RuleBook:
    """Without expressions, for which a fixed number of characters is held back."""
    lines = [line for line in RULES.splitlines() if not line.startswith("patterns")]
    return parse_rules("\n".join(lines).replace('on = ["thought", "output"]', 'terms = ["identity number"]'))
