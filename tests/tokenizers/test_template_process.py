"""A stranger's template renders as any other in its own process, and whatever it does there ends with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from penstock.errors import ClientError
from penstock.tokenizers import template_process
from penstock.tokenizers.chat_template import ChatTemplate
from penstock.tokenizers.template_process import TemplateProcess

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
PLAIN = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{{ documents }}{{ extra }}"


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while any("template_process" in " ".join(p.cmdline()) for p in psutil.Process().children()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run(*sources: str, **arguments: Any) -> list[str | ClientError]:
    """What each source gives, one after the other, with the same parent."""

    async def render_all() -> list[str | ClientError]:
        process = TemplateProcess()
        found: list[str | ClientError] = []
        for source in sources:
            template = ChatTemplate(source, {"bos_token": "<s>"})
            try:
                found.append(await process.render(template, messages=CHAT, **arguments))
            except ClientError as e:
                found.append(e)
        await process.close()
        return found

    return asyncio.run(render_all())


def test_renders_as_in_the_same_process() -> None:
    arguments: dict[str, Any] = {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "add_generation_prompt": False,
        "continue_final_message": True,
        "documents": [{"title": "t"}],
        "chat_template_kwargs": {"extra": [1, {"a": None}]},
    }
    template = ChatTemplate(PLAIN, {"bos_token": "<s>"})
    assert run(PLAIN, PLAIN, **arguments) == [template.render(CHAT, **arguments)] * 2


def test_errors_come_back_as_they_are() -> None:
    first, second, third = run("{% if %}", "{{ raise_exception('no') }}", "fine")
    assert isinstance(first, ClientError)
    assert isinstance(second, ClientError)
    assert (first.param, second.param, str(second), third) == ("chat_template", "messages", "no", "fine")


def test_what_uses_too_much_ends_and_the_next_one_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory in lists that no limit of the sandbox sees, and one call that never comes back."""
    monkeypatch.setattr(template_process, "MAX_SECONDS", 3.0)
    memory = (
        "{% set x = namespace(a=range(99999)|list) %}"
        "{% for i in range(999) %}{% set x.a = [x.a|map('string')|list, x.a] %}{% endfor %}"
    )
    slow = "{% set l = [[1] * 10] * 99999 %}{{ (l | sum(start=[])) | length }}"
    began = time.monotonic()
    for hostile in (memory, slow):
        first, second = run(hostile, "fine")
        assert isinstance(first, ClientError)
        assert second == "fine"
    assert time.monotonic() - began < 30


def test_a_reader_that_leaves_takes_the_process_with_it() -> None:
    async def leave() -> str:
        process = TemplateProcess()
        slow = ChatTemplate("{% for i in range(99999) %}{% for j in range(9) %}{% endfor %}{% endfor %}")
        task = asyncio.create_task(process.render(slow, messages=CHAT))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        text = await process.render(ChatTemplate("fine"), messages=CHAT)
        await process.close()
        return text

    assert asyncio.run(leave()) == "fine"
