"""What is printed and kept: the table, the facts of the machine, the raw lines."""

from __future__ import annotations

import datetime
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

import goals
from ceilings import Rates
from goals import Verdict

ROOT = Path(__file__).resolve().parent.parent.parent
MET = {True: "yes", False: "**no**", None: "-"}


def machine_facts(threads: int, versions: dict[str, str]) -> dict[str, Any]:
    """What must be known of machine and programs to read the figures."""
    cpu = "unknown CPU"
    flags: list[str] = []
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            cpu = value.strip()
        if name.strip() == "flags":
            known = value.split()
            flags = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if f in known]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu,
        "instructions": flags,
        "cores": psutil.cpu_count(logical=False),
        "threads": threads,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "versions": versions,
    }


def table(verdicts: list[Verdict], memory_bound: float | None) -> str:
    """One line per row: limit, every engine of the row, best peer, Penstock, ratio, goal, whether it is met."""
    lines = ["| row | | limit | peers | best peer | Penstock | of limit | ratio | goal | met |", "|---" * 10 + "|"]
    for v in verdicts:
        peers = [f"{name} {show(value)}" for name, value in v.values.items() if not name.startswith(goals.OURS)]
        own = [f"{name} {show(value)}" for name, value in v.values.items() if name.startswith(goals.OURS)]
        best = f"{v.best_peer} {show(v.values[v.best_peer])}" if v.best_peer else "-"
        share = f"{100 * v.values[v.ours] / v.limit:.0f} %" if v.ours and v.limit and v.row.better == "more" else "-"
        cells = [v.row.key, v.row.title, show(v.limit), ", ".join(peers) or "-", best, ", ".join(own) or "-", share]
        cells += [f"{v.ratio:.2f}" if v.ratio is not None else "-"]
        cells += [goals.goal_text(v.row, memory_bound) or "-", MET[v.met]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(
    verdicts: list[Verdict], facts: dict[str, Any], rates: Rates | None, memory_bound: float | None, notes: list[str]
) -> str:
    """The table with what is needed to read it."""
    measured = ""
    if rates:
        measured = (
            f"It read {rates['read'] / 1e9:.1f} GB/s, multiplied {rates['bf16'] / 1e9:.0f} GFLOP/s in bf16 and "
            f"{rates['int8'] / 1e9:.0f} GOP/s in int8 (medians of what was measured before every row).\n"
        )
    lines = [
        f"# CPU, {facts['date']}\n",
        f"Machine: {facts['cpu']} ({', '.join(facts['instructions'])}), {facts['cores']} cores, {facts['threads']} "
        f"threads, {facts['memory_gib']} GiB, Linux {facts['kernel']}, Python {facts['python']}. {measured}",
        table(verdicts, memory_bound),
        "",
        *(f"- {name}: {version}" for name, version in facts["versions"].items()),
        f"- commit {facts['commit']}",
        *(f"- {note}" for note in notes),
        "",
    ]
    return "\n".join(lines)


def show(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
