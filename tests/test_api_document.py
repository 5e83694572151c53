"""docs/api.md is true: the fields that it tells of exist, and none is left out."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from ponder.serve.anthropic.request import MessagesBody
from ponder.serve.responses.request import ResponsesBody
from ponder.serve.wire.chat_request import ChatRequest

DOCUMENT = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
WITHOUT_EFFECT = {"store", "truncation", "service_tier"}  # that the document names all the same


def section(heading: str) -> str:
    return DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(("heading", "body"), [("Responses", ResponsesBody), ("Messages", MessagesBody)])
def test_a_table_has_every_field_and_no_other(heading: str, body: type[BaseModel]) -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", section(heading), re.MULTILINE)
    named = {name.split(".")[0] for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    fields = set(body.model_fields)
    assert named - fields - WITHOUT_EFFECT == set()
    assert fields - named - {"model"} == set()


@pytest.mark.parametrize("name", sorted(ChatRequest.model_fields))
def test_every_field_of_a_chat_is_named(name: str) -> None:
    assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", DOCUMENT)
