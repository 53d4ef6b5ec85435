"""The GPU benchmark: rows in processes of their own, each with a limit of time, and a table of what is known so far.

Whatever a row does, the others are measured, and what was measured is kept: the JSON file is written after every row.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LAST_WORDS = 2000  # characters of a failed row's output that are kept


@dataclass(frozen=True)
class RowPlan:
    """A row of the table.

    Attributes:
        limit_s: seconds that its process may take.
        goal: least (or with `less_is_better`, most) value of `field`; None where there is none.
        needs: rows without which it says nothing.
    """

    key: str
    title: str
    limit_s: float
    field: str = ""
    goal: float | None = None
    unit: str = "%"
    less_is_better: bool = False
    needs: tuple[str, ...] = ("ceilings",)


PLANS = [
    RowPlan("ceilings", "what the device does by torch", 40, needs=()),
    RowPlan("decode_1", "decode, batch 1, 8B bf16: share of measured bandwidth", 75, "bandwidth_share", 0.88),
    RowPlan("decode_256", "decode, batch 256 at context 1024, 8B bf16: share of the larger floor", 90, "share", 0.80),
    RowPlan("prefill", "prefill of 16k tokens, 8B bf16: share of the measured matrix rate", 60, "share", 0.65),
    RowPlan("decode_fp8", "fp8 weights, decode batch 1: x bf16", 75, "ratio", 1.6, "x", needs=("ceilings", "decode_1")),
    RowPlan("overhead", "engine overhead, 0.6B at batch 256: device busy", 60, "share", 0.95, needs=()),
    RowPlan("start", "process start to first token, 8B from local disk", 110, "seconds", 15.0, "s", True, needs=()),
    RowPlan("attention", "attention backends, a layer of the 8B in ms", 120, needs=()),
]


class Bench:
    """Runs rows and writes down what they give.

    Args:
        out: path of the results, without suffix.
        seconds: for all rows together.
        say: called with a line for the user.
    """

    def __init__(self, out: Path, seconds: float, rehearse: bool, say: Callable[[str], None]):
        self._out = out
        self._until = time.monotonic() + seconds
        self._rehearse = rehearse
        self._say = say
        self.results: dict[str, Any] = {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "rehearsal": rehearse,
            "rows": [],
        }

    def run(self, plans: list[RowPlan]) -> None:
        self._write()
        for plan in plans:
            self._say(f"{plan.key} ...")
            began = time.monotonic()
            measured, failure = self._measure(plan)
            row = {"key": plan.key, "measured": measured, "failure": failure, "took_s": time.monotonic() - began}
            self.results["rows"].append(row)
            self._write()
            self._say(f"{plan.key}: {failure if measured is None else describe(plan, measured)}")

    def _measure(self, plan: RowPlan) -> tuple[dict[str, Any] | None, str | None]:
        known = {row["key"] for row in self.results["rows"] if row["measured"] is not None}
        if missing := [key for key in plan.needs if key not in known]:
            return None, f"needs {', '.join(missing)}, which was not measured"
        limit = min(plan.limit_s, self._until - time.monotonic())
        if limit < 1:
            return None, "no time was left"
        command = [sys.executable, str(HERE / "rows.py"), plan.key, str(self._out.with_suffix(".json"))]
        command += ["--rehearse"] if self._rehearse else []
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, start_new_session=True
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            output, _ = process.communicate()
            return None, f"took longer than {limit:.0f} s: {output[-LAST_WORDS:]}"
        measured = last_measurement(output)
        if process.returncode or measured is None:
            return None, f"exit status {process.returncode}: {output[-LAST_WORDS:]}"
        return measured, None

    def _write(self) -> None:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._out.with_suffix(".json").write_text(json.dumps(self.results, indent=1) + "\n")
        self._out.with_suffix(".md").write_text(table(self.results) + "\n")


def last_measurement(output: str) -> dict[str, Any] | None:
    """The last line that is one: libraries may have words of their own when a process ends."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            with suppress(ValueError):
                measured: dict[str, Any] = json.loads(line)
                return measured
    return None


def describe(plan: RowPlan, measured: dict[str, Any]) -> str:
    """A measurement in a few words."""
    if plan.field:
        return _in_unit(measured[plan.field], plan.unit)
    if plan.key == "ceilings":
        rates = f"{measured['bandwidth'] / 1e12:.2f} TB/s copied, {measured['read'] / 1e12:.2f} TB/s read"
        return f"{rates}, {measured['bf16'] / 1e12:.0f} TFLOP/s in bf16"
    return "; ".join(
        f"{name}: {found if isinstance(found, str) else ', '.join(f'{c} {ms:.3f}' for c, ms in found.items())}"
        for name, found in measured.items()
    )


def table(results: dict[str, Any]) -> str:
    """All rows as markdown: what was measured, the goal, and whether it is met."""
    by_key = {row["key"]: row for row in results["rows"]}
    ceilings = (by_key.get("ceilings") or {}).get("measured") or {}
    lines = [
        f"Measured {results['began']} at {results['commit']} on {ceilings.get('device', 'an unknown device')}, "
        f"torch {ceilings.get('torch', '?')}; weights are random.",
        "",
        "| workload | measured | goal | met | step |",
        "|---|---|---|---|---|",
    ]
    if results["rehearsal"]:
        lines[0] = "A rehearsal: small models on the CPU. The numbers mean nothing. " + lines[0]
    for plan in PLANS:
        row = by_key.get(plan.key)
        if row is None:
            continue
        measured = row["measured"]
        if measured is None:
            why = " ".join(row["failure"].replace("|", "/").split())[:300]
            lines.append(f"| {plan.title} | not measured: {why} | {_goal(plan)} | | |")
            continue
        step = f"{measured['step_ms']:.2f} ms" if "step_ms" in measured else ""
        met = {None: "", True: "yes", False: "no"}[_met(plan, measured)]
        lines.append(f"| {plan.title} | {describe(plan, measured)} | {_goal(plan)} | {met} | {step} |")
    return "\n".join(lines)


def _met(plan: RowPlan, measured: dict[str, Any]) -> bool | None:
    if plan.goal is None:
        return None
    value = float(measured[plan.field])
    return value <= plan.goal if plan.less_is_better else value >= plan.goal


def _goal(plan: RowPlan) -> str:
    if plan.goal is None:
        return ""
    return f"{'<=' if plan.less_is_better else '>='} {_in_unit(plan.goal, plan.unit)}"


def _in_unit(value: float, unit: str) -> str:
    return f"{value:.1%}" if unit == "%" else f"{value:.2f} {unit}"


def _commit() -> str:
    try:
        found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    except OSError:  # a machine without git
        return "an unknown commit"
    return found.stdout.strip() or "an unknown commit"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench gpu", description=__doc__)
    parser.add_argument("--rows", default="", help="keys with commas between them; all by default")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu-latest", help="no suffix")
    parser.add_argument("--seconds", type=float, default=500.0, help="for all rows together")
    parser.add_argument("--rehearse", action="store_true", help="small models on the CPU, to try the program itself")
    parser.add_argument("--render", type=Path, help="print the table of a JSON file and measure nothing")
    args = parser.parse_args()
    if args.render:
        print(table(json.loads(args.render.read_text())))
        return 0
    wanted = [key for key in args.rows.split(",") if key]
    if unknown := set(wanted) - {plan.key for plan in PLANS}:
        parser.error(f"no row {min(unknown)}; there are {', '.join(plan.key for plan in PLANS)}")
    bench = Bench(args.out, args.seconds, args.rehearse, lambda line: print(line, file=sys.stderr, flush=True))
    bench.run([plan for plan in PLANS if not wanted or plan.key in wanted])
    print(table(bench.results))
    return 1 if any(row["measured"] is None for row in bench.results["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
