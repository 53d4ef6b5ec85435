"""On a CPU nothing imports Triton: it is about a gigabyte that an installation without a GPU does not need."""

from __future__ import annotations

import ast
import subprocess
import sys

from servers import ROOT

PACKAGE = ROOT / "penstock"


def test_only_kernels_import_triton() -> None:
    importing = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "triton" for name in names):
                importing.add(file.relative_to(PACKAGE).as_posix())
    allowed = {f for f in importing if f.startswith(("ops/triton/", "attention/triton_"))}
    assert importing == allowed


def test_a_model_computes_on_a_cpu_where_triton_cannot_be_imported(bundled_model: object) -> None:
    program = (
        "import sys\n"
        "sys.modules['triton'] = None\n"
        "from penstock import LLM, SamplingParams\n"
        f"llm = LLM({str(bundled_model)!r}, max_model_len=64, device='cpu')\n"
        "answers = llm.generate('Once', SamplingParams(max_tokens=3, logprobs=2, top_p=0.9))\n"
        "print(len(answers[0].outputs[0].token_ids))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split() == ["3"]
