"""Name of a parser -> its class. A new form is a file and a line here; a plug-in file adds its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from penstock.errors import StartError
from penstock.parsers.reasoning.base import ReasoningParser
from penstock.parsers.tool.base import ToolParser
from penstock.plugins import Registry

TOOL_PARSERS = Registry(
    "tool parser",
    {
        "deepseek_v3": "penstock.parsers.tool.deepseek_v3:DeepseekV3ToolParser",
        "deepseek_v31": "penstock.parsers.tool.deepseek_v31:DeepseekV31ToolParser",
        "deepseek_v32": "penstock.parsers.tool.deepseek_v32:DeepseekV32ToolParser",
        "deepseek_v4": "penstock.parsers.tool.deepseek_v32:DeepseekV32ToolParser",
        "glm45": "penstock.parsers.tool.glm45:Glm45ToolParser",
        "glm47": "penstock.parsers.tool.glm45:Glm45ToolParser",
        "granite": "penstock.parsers.tool.granite:GraniteToolParser",
        "granite-20b-fc": "penstock.parsers.tool.granite_20b_fc:Granite20bFcToolParser",
        "granite4": "penstock.parsers.tool.hermes:HermesToolParser",
        "hermes": "penstock.parsers.tool.hermes:HermesToolParser",
        "hunyuan_a13b": "penstock.parsers.tool.jamba:JambaToolParser",
        "internlm": "penstock.parsers.tool.internlm:InternlmToolParser",
        "jamba": "penstock.parsers.tool.jamba:JambaToolParser",
        "kimi_k2": "penstock.parsers.tool.kimi_k2:KimiK2ToolParser",
        "lfm2": "penstock.parsers.tool.lfm2:Lfm2ToolParser",
        "ling3": "penstock.parsers.tool.glm45:Glm45ToolParser",
        "llama3_json": "penstock.parsers.tool.llama3_json:Llama3JsonToolParser",
        "llama4_json": "penstock.parsers.tool.llama3_json:Llama3JsonToolParser",
        "llama4_pythonic": "penstock.parsers.tool.llama4_pythonic:Llama4PythonicToolParser",
        "longcat": "penstock.parsers.tool.longcat:LongcatToolParser",
        "mimo": "penstock.parsers.tool.qwen3_coder:Qwen3CoderToolParser",
        "minimax_m2": "penstock.parsers.tool.minimax_m2:MinimaxM2ToolParser",
        "mistral": "penstock.parsers.tool.mistral:MistralToolParser",
        "openai": "penstock.parsers.tool.openai:OpenaiToolParser",
        "phi4_mini_json": "penstock.parsers.tool.phi4_mini_json:Phi4MiniJsonToolParser",
        "poolside_v1": "penstock.parsers.tool.glm45:Glm45ToolParser",
        "pythonic": "penstock.parsers.tool.pythonic:PythonicToolParser",
        "qwen3_coder": "penstock.parsers.tool.qwen3_coder:Qwen3CoderToolParser",
        "qwen3_json": "penstock.parsers.tool.hermes:HermesToolParser",
        "qwen3_xml": "penstock.parsers.tool.qwen3_coder:Qwen3CoderToolParser",
        "seed_oss": "penstock.parsers.tool.seed_oss:SeedOssToolParser",
        "step3p5": "penstock.parsers.tool.qwen3_coder:Qwen3CoderToolParser",
    },
)

REASONING_PARSERS = Registry(
    "reasoning parser",
    {
        "deepseek_r1": "penstock.parsers.reasoning.deepseek_r1:DeepseekR1ReasoningParser",
        "deepseek_v3": "penstock.parsers.reasoning.deepseek_v3:DeepseekV3ReasoningParser",
        "deepseek_v4": "penstock.parsers.reasoning.deepseek_v3:DeepseekV3ReasoningParser",
        "glm45": "penstock.parsers.reasoning.glm45:Glm45ReasoningParser",
        "glm47": "penstock.parsers.reasoning.glm45:Glm45ReasoningParser",
        "gpt_oss": "penstock.parsers.reasoning.gpt_oss:GptOssReasoningParser",
        "granite": "penstock.parsers.reasoning.granite:GraniteReasoningParser",
        "holo2": "penstock.parsers.reasoning.glm45:Glm45ReasoningParser",
        "hunyuan_a13b": "penstock.parsers.reasoning.hunyuan_a13b:HunyuanA13bReasoningParser",
        "kimi_k2": "penstock.parsers.reasoning.kimi_k2:KimiK2ReasoningParser",
        "ling3": "penstock.parsers.reasoning.qwen3:Qwen3ReasoningParser",
        "mimo": "penstock.parsers.reasoning.qwen3:Qwen3ReasoningParser",
        "minimax_m2": "penstock.parsers.reasoning.deepseek_r1:DeepseekR1ReasoningParser",
        "mistral": "penstock.parsers.reasoning.mistral:MistralReasoningParser",
        "nemotron_v3": "penstock.parsers.reasoning.qwen3:Qwen3ReasoningParser",
        "olmo3": "penstock.parsers.reasoning.deepseek_r1:DeepseekR1ReasoningParser",
        "openai_gptoss": "penstock.parsers.reasoning.gpt_oss:GptOssReasoningParser",
        "qwen3": "penstock.parsers.reasoning.qwen3:Qwen3ReasoningParser",
        "seed_oss": "penstock.parsers.reasoning.seed_oss:SeedOssReasoningParser",
        "step3": "penstock.parsers.reasoning.deepseek_r1:DeepseekR1ReasoningParser",
        "step3p5": "penstock.parsers.reasoning.deepseek_r1:DeepseekR1ReasoningParser",
    },
)

_loaded: set[Path] = set()  # plug-ins
P = TypeVar("P", type[ToolParser], type[ReasoningParser])


def register_tool_parser(name: str) -> Callable[[type[ToolParser]], type[ToolParser]]:
    """Decorator for a class of a plug-in file: it is the tool parser of that name from now on."""
    return _registering(TOOL_PARSERS, name)


def register_reasoning_parser(name: str) -> Callable[[type[ReasoningParser]], type[ReasoningParser]]:
    """The same for a reasoning parser."""
    return _registering(REASONING_PARSERS, name)


def _registering(registry: Registry, name: str) -> Callable[[P], P]:
    def register(cls: P) -> P:
        registry.register(name, cls)
        return cls

    return register


def load_plugin(path: str) -> None:
    """Run a plug-in: a Python file that registers parsers when it is imported. A second time nothing happens.

    Raises:
        StartError: there is no such file, or it fails.
    """
    file = Path(path)
    if file.absolute() in _loaded:
        return
    spec = importlib.util.spec_from_file_location(f"penstock_plugin_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise StartError(f"the plug-in {path!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:  # whatever the user's own code raises
        raise StartError(f"the plug-in {path!r} failed: {type(e).__name__}: {e}") from e
    _loaded.add(file.absolute())
