#!/usr/bin/env python3
"""Parse time of each public header in units of <vector> on this machine; fails above the budget of the house plan.

CPU time of the compiler's front end (-fsyntax-only), best of several runs, interleaved with <vector>. Every header is run
once, on all CPUs; those that come near their budget, where one disturbed run would decide, are measured again alone with
more runs, and those above it with more still, since on a busy machine five runs can all be disturbed.
Usage: parse_budget.py SOURCE_DIR COMPILER
"""
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile

BUDGET = {"redoubt/fwd.hpp": 0.2, "redoubt/predict.hpp": 4.0, "redoubt/redoubt.hpp": 8.0}
ANY = 4.0
NEAR = 0.9  # of the budget: a disturbed run is seldom this much too short


def cpu_seconds(compiler, include, text):
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
        file.write(text)
        file.flush()
        command = [compiler, "-std=c++20", "-fsyntax-only", "-I", include, file.name]
        # Its own child alone; the driver has waited for the front end by then.
        pid = os.posix_spawnp(compiler, command, os.environ)
        _, status, used = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed")
    return used.ru_utime + used.ru_stime


def measure(root, compiler, headers, rounds):
    """{header: CPU seconds / those of <vector>} and the seconds of <vector>; the start of the compiler is taken off."""
    units = {"<vector>": "#include <vector>\n", "(nothing)": ""}
    best = {name: 1e9 for name in [*units, *headers]}

    def run(name, text):
        best[name] = min(best[name], cpu_seconds(compiler, str(root / "include"), text))

    for _ in range(rounds):
        for i, header in enumerate(headers):
            if i % 8 == 0:
                for name, text in units.items():
                    run(name, text)
            run(header, f'#include "{header}"\n')
    nothing = best.pop("(nothing)")
    unit = best.pop("<vector>") - nothing
    return {h: (best[h] - nothing) / unit for h in headers}, unit


def ratio(root, compiler, header, rounds):
    return measure(pathlib.Path(root), compiler, [header], rounds)[0][header]


def main(root, compiler):
    include = root / "include"
    headers = sorted(str(p.relative_to(include)) for p in include.rglob("*.hpp") if "interop" not in p.parts)
    cpus = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(cpus) as pool:
        parts = pool.map(lambda part: measure(root, compiler, part, rounds=1)[0], [headers[i::cpus] for i in range(cpus)])
        measured = {header: ratio for part in parts for header, ratio in part.items()}
    near = [h for h, r in measured.items() if h in BUDGET or r > NEAR * BUDGET.get(h, ANY)]
    again, unit = measure(root, compiler, near, rounds=5)
    measured |= again
    for rounds in (15, 40):
        above = [h for h, r in measured.items() if r > BUDGET.get(h, ANY)]
        if above:
            again, unit = measure(root, compiler, above, rounds)
            measured |= again
    ratios = sorted((r, h) for h, r in measured.items())
    over = [(r, h) for r, h in ratios if r > BUDGET.get(h, ANY)]
    print(f"<vector> = {unit * 1000:.0f} ms; the five most expensive headers, in units of it:")
    for ratio, header in ratios[-5:][::-1]:
        print(f"  {ratio:5.2f}  {header}")
    for name in BUDGET:
        print(f"figure parse.{name} {measured[name]:.2f}")
    for ratio, header in over:
        print(f"over budget: {header} {ratio:.2f} > {BUDGET.get(header, ANY)}")
    return bool(over)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
