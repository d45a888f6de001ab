"""Chat templates that read the clock are told the run's date, and never look it up themselves."""

from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checkout import CHECKOUT

from contracts.chat import ChatFormat, Message
from contracts.clock import reads_clock, template_of
from contracts.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATES = CHECKOUT / "tests" / "templates"
MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)

QUESTION: list[Message] = [{"role": "user", "content": "Hello"}]
SYSTEM: list[Message] = [{"role": "system", "content": "Be brief."}, *QUESTION]
LONGER: list[Message] = [*QUESTION, {"role": "assistant", "content": "Hi"}, *QUESTION]

# Only in conversations of more than two turns, only beside tools, only on Tuesdays.
RARELY = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '\n' }}"
    "{{ m['content'] }}{% if CONDITION %}{{ strftime_now('%A') }}{% endif %}<|eot_id|>{% endfor %}"
)


def told(
    tokenizer: "PreTrainedTokenizerFast", template: str, day: date | None = None
) -> ChatFormat:
    changed = deepcopy(tokenizer)
    changed.chat_template = template
    return ChatFormat(changed, date=day)


@pytest.mark.parametrize("name", ["clock-header", "clock-default-system"])
@pytest.mark.parametrize("messages", [QUESTION, LONGER], ids=["one question", "several turns"])
def test_prompts_hold_the_date_that_is_given_not_todays(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast", name: str, messages: list[Message]
) -> None:
    template = (TEMPLATES / f"{name}.jinja").read_text()
    monday, again, tuesday = (
        told(tiny_llama_tokenizer, template, day) for day in (MONDAY, MONDAY, TUESDAY)
    )
    assert monday.prompt_ids(messages) == again.prompt_ids(messages)
    assert monday.prompt_ids(messages) != tuesday.prompt_ids(messages)
    text = monday.tokenizer.decode(monday.response_tokens(messages, "Hi").prompt)
    assert "02 Mar 2026" in text or "2026-03-02" in text


def test_a_date_string_of_the_templates_own_default_is_the_runs_date_too(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    default = "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}"
    template = "{{ bos_token }}" + default + "{{ date_string }}"  # as Llama-3.1's
    template += "{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}"
    chat = told(tiny_llama_tokenizer, template, MONDAY)
    assert "02 Mar 2026" in chat.tokenizer.decode(chat.prompt_ids(QUESTION))


@pytest.mark.parametrize("name", ["clock-header", "clock-default-system"])
def test_without_a_date_such_a_template_is_refused(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast", name: str
) -> None:
    with pytest.raises(UserError, match=r"reads the clock.*; set its `date`, e\.g\. `date: 20"):
        told(tiny_llama_tokenizer, (TEMPLATES / f"{name}.jinja").read_text())


@pytest.mark.parametrize(
    "condition", ["loop.index > 2", "tools", "strftime_now('%w') == '2'", "m['role'] == 'tool'"]
)
def test_one_that_reads_it_in_rare_conversations_alone_is_found_as_well(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast", condition: str
) -> None:
    template = RARELY.replace("CONDITION", condition)
    assert reads_clock(template)
    with pytest.raises(UserError, match="reads the clock"):
        told(tiny_llama_tokenizer, template)


def test_words_in_a_text_or_a_comment_read_no_clock(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    assert not reads_clock("{# strftime_now #}date_string {{ 'strftime_now' + bos_token }}")
    assert not reads_clock(tiny_llama_tokenizer.chat_template)
    assert reads_clock("{{ strftime_now( ")  # broken: whoever renders it says so


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
def test_whatever_differs_on_two_dates_reads_the_clock(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast", path: Path
) -> None:
    template = path.read_text()

    def rendered(day: date) -> list[str]:
        return [
            tiny_llama_tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, strftime_now=day.strftime
            )
            for messages in (QUESTION, LONGER)
        ]

    assert reads_clock(template) == (rendered(MONDAY) != rendered(TUESDAY))


def test_a_models_template_is_found_in_either_of_its_files(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast", tmp_path: Path
) -> None:
    template = (TEMPLATES / "clock-header.jinja").read_text()
    assert template_of(str(tmp_path)) == ""
    changed = deepcopy(tiny_llama_tokenizer)
    changed.chat_template = template
    for folder, beside in (("beside", True), ("inside", False)):
        changed.save_pretrained(tmp_path / folder, save_jinja_files=beside)
        assert (tmp_path / folder / "chat_template.jinja").exists() == beside
        assert reads_clock(template_of(str(tmp_path / folder)))
