"""Run every benchmark and write RESULTS.md from their JSON lines.

python benchmarks/run.py [--peer PEER/bin/python] [--scripts help,segment] [--small] [--render]

Each script's line goes to results.jsonl, in place of an older one of the same script; RESULTS.md is
written anew from that file after each. A trial (--small) leaves both alone and prints.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parts.side_by_side import arguments

HERE = Path(__file__).resolve().parent
LINES = HERE / "results.jsonl"
RESULTS = HERE / "RESULTS.md"
SCRIPTS = (
    "help",
    "create_targets",
    "localize",
    "evaluate",
    "first_batch",
    "train_step",
    "arithmetic",
    "segment",
    "many_runs",
    "shared_work",
    "growth",
)
HEAD = "| work | unit | octopi | octopi 1.7.0 | ratio | must | aim |"


def main() -> None:
    """Run the scripts asked for and tell what they found."""
    parser = arguments("Run every benchmark and write RESULTS.md.")
    parser.add_argument("--scripts", default=",".join(SCRIPTS), help="with commas between")
    parser.add_argument("--render", action="store_true", help="only write RESULTS.md anew")
    args = parser.parse_args()
    lines = read_lines()
    for script in [] if args.render else args.scripts.split(","):
        line = run(script, options(args, script))
        if args.small:
            print(render([line]))
            continue
        lines[script] = line
        LINES.write_text("".join(f"{text(line)}\n" for line in lines.values()), encoding="utf-8")
        RESULTS.write_text(render(ordered(lines)), encoding="utf-8")
    if args.render:
        RESULTS.write_text(render(ordered(lines)), encoding="utf-8")


def options(args: Any, script: str) -> list[str]:
    """Return the arguments that are passed on to a script."""
    out = ["--threads", str(args.threads)]
    if args.peer:
        out += ["--peer", args.peer]
    if args.repeats and script != "growth":
        out += ["--repeats", str(args.repeats)]
    return [*out, "--small"] if args.small else out


def run(script: str, words: Sequence[str]) -> dict[str, Any]:
    """Run a script and return its JSON line."""
    command = [sys.executable, str(HERE / f"{script}.py"), *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    return json.loads(done.stdout.splitlines()[-1])


def read_lines() -> dict[str, dict[str, Any]]:
    """Script -> its last JSON line."""
    if not LINES.exists():
        return {}
    lines = [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()]
    return {line["benchmark"]: line for line in lines}


def ordered(lines: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort the lines in the order of the scripts."""
    return [lines[script] for script in SCRIPTS if script in lines]


def text(line: Mapping[str, Any]) -> str:
    """Format a line as it is stored."""
    return json.dumps(line, ensure_ascii=False)


def render(lines: Sequence[Mapping[str, Any]]) -> str:
    """RESULTS.md."""
    rows = [row(line, figure) for line in lines for figure in line["figures"]]
    parts = [
        "# Results",
        "",
        "Medians, with the smallest and the largest in brackets; written by `benchmarks/run.py`",
        "from `results.jsonl`. A ratio is octopi's median by that of octopi 1.7.0 on the same",
        "volumes, networks and threads in the same run, turn about. Memory is the peak of resident",
        "memory of the process. ✓ reached, ✗ not reached, – no limit, ? not compared (`--peer`).",
        "",
        HEAD,
        "|" + "---|" * (HEAD.count("|") - 1),
        *rows,
        "",
        *skipped(lines),
        *grown(lines),
        "## Where and with what",
        "",
        *(f"- {fact}" for fact in facts(lines)),
    ]
    return "\n".join(parts) + "\n"


def row(line: Mapping[str, Any], figure: Mapping[str, Any]) -> str:
    """Format one figure."""
    ratio = "" if figure["ratio"] is None else f"{figure['ratio']:.2f}×"
    cells = [
        f"{figure['figure']}{' (small sizes)' if line['small'] else ''}",
        figure["unit"],
        spread(figure["ours"]),
        spread(figure["peer"]),
        ratio,
        limit(figure, "must"),
        limit(figure, "aim"),
    ]
    return f"| {' | '.join(cells)} |"


def spread(values: Mapping[str, Any] | None) -> str:
    """Format a median and how far the others are from it."""
    if values is None:
        return ""
    low, median, high = (f"{values[key]:.3g}" for key in ("low", "median", "high"))
    return median if low == high else f"{median} ({low} … {high})"


def limit(figure: Mapping[str, Any], name: str) -> str:
    """Format a limit of a figure, `must` or `aim`, and whether it was reached."""
    told, reached = figure[name], figure[f"{name}_reached"]
    if not told:
        return "–"
    return f"{told} {'?' if reached is None else '✓' if reached else '✗'}"


def skipped(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say why the peer has no figure, where it has none."""
    reasons: dict[str, dict[str, None]] = {}
    for line in lines:
        is_one_reason = len({figure["peer_skipped"] for figure in line["figures"]}) == 1
        for figure in line["figures"]:
            if figure["peer_skipped"]:
                name = f"all of {line['benchmark']}" if is_one_reason else figure["figure"]
                reasons.setdefault(figure["peer_skipped"], {})[name] = None
    if not reasons:
        return []
    told = [f"- {reason}: {'; '.join(figures)}" for reason, figures in reasons.items()]
    return ["Where octopi 1.7.0 has no figure:", "", *told, ""]


def grown(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Format how cost grows, from the line of growth.py."""
    line = next((line for line in lines if line["benchmark"] == "growth"), None)
    if line is None:
        return []
    rows = [
        f"| {c['command']} | {c['against']}: {_ends(c['values'])} | {_ends(c['cpu'])} | "
        f"{c['per_unit']:g} | {_ends(c['gb'])} |"
        for c in line["curves"]
    ]
    return [
        "## How cost grows",
        "",
        f"![CPU seconds and memory against the work]({line['plot']})",
        "",
        "| command | against | CPU s, start-up included | CPU s for one more | peak GB |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _ends(values: Sequence[float]) -> str:
    return f"{values[0]:g} … {values[-1]:g}"


def facts(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Machines, versions and load."""
    out: list[str] = []
    for line in lines:
        machine = line["machine"]
        bf16 = ", ".join(machine["bf16"]) or "no bf16"
        load = f"{line['load'][0]} before, {line['load'][1]} after"
        out.append(
            f"{line['benchmark']}: {machine['processor']} ({bf16}), {machine['cores']} cores, "
            f"{machine['memory_gb']} GB, {machine['system']}; {line['sizes']['threads']} threads; "
            f"load {load}; {line['seconds']:.0f} s"
        )
    for side in ("ours", "peer"):
        found = {
            ", ".join(f"{name} {version}" for name, version in line["versions"][side].items())
            for line in lines
            if side in line["versions"]
        }
        out += [f"versions, {side}: {told}" for told in sorted(found)]
    return out


if __name__ == "__main__":
    main()
