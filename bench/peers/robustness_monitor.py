"""Attackers as clients of a served model among real traffic: which monitor sees them, and after how many queries.

The worker prints, for every set of traffic, attack and monitor, the queries until the first alarm. Ours runs with its
defaults. Thresholds of Blacklight and PRADA are set on earlier traffic for at most one alarm in 10,000 queries, and of
Blacklight's windows and steps the best per set is shown: it was made for images, and its own choice finds less.
"""
import collections
import pathlib
import statistics
import subprocess

from harness import figure
from trees_data import SOURCE

SETS = ("elec", "weather", "campaign", "sms", "fashion")
ATTACKS = ("hsj", "square", "boundary", "extraction", "adaptive")
FIGURES = ["robust.monitor.false_positive_rate"] + [
    f"robust.monitor.{attack}.{value}" for attack in ATTACKS for value in ("recall", "queries")]
PEER_FIGURES = [f"robust.monitor.{peer}.{value}" for peer in ("blacklight", "prada")
                for value in ("false_positive_rate",) + tuple(f"{attack}.recall" for attack in ATTACKS)]
COST = ["robust.monitor.added_ns.100", "robust.monitor.added_ns.784", "robust.guard.added_ns.100",
        "robust.guard.added_ns.784", "robust.monitor.million_callers.megabytes",
        "robust.monitor.million_callers.mean_ns"]


def worker(context, *arguments):
    path = pathlib.Path(context.build) / "bench/peer_robustness_monitor_worker"
    return subprocess.run([path, *arguments], check=True, capture_output=True, text=True).stdout.splitlines()


def cost(context):
    """Time that watching adds to a query, p50, one thread; a million callers in a table for as many."""
    for line in worker(context, "cost"):
        kind, first, second = line.split()
        if kind != "callers":
            figure(f"robust.{'monitor' if kind == 'p50' else kind}.added_ns.{first}", float(second))
        else:
            figure("robust.monitor.million_callers.megabytes", float(first) / 1e6)
            figure("robust.monitor.million_callers.mean_ns", float(second))


def recall(runs):
    return sum(r > 0 for r in runs) / len(runs)


def detection(context):
    attacks = 8 if context.quick else 20
    running = [(name, subprocess.Popen(
        [pathlib.Path(context.build) / "bench/peer_robustness_monitor_worker", "detect", f"set={name}",
         f"data={SOURCE}", f"attacks={attacks}"], stdout=subprocess.PIPE, text=True)) for name in SETS]
    runs = collections.defaultdict(dict)  # monitor -> (set, attack) -> queries, below 0: never seen
    benign = collections.defaultdict(lambda: collections.defaultdict(lambda: [0, 0]))  # kind -> (set, monitor)
    for name, process in running:
        for line in process.communicate()[0].splitlines():
            kind, _, *rest = line.split()
            if kind in ("benign", "single"):
                benign[kind][name, rest[0]] = [int(rest[1]), int(rest[2])]
            else:
                runs[rest[1]][name, rest[0]] = [int(v) for v in rest[2:]]
        if process.returncode:
            raise RuntimeError(f"the worker failed on {name}")
    # Of Blacklight's settings the best of each set, over all attacks.
    chosen = {}
    for name in SETS:
        def total(monitor):
            return sum(recall(r) for (s, a), r in runs[monitor].items() if s == name and a != "natural")
        settings = [m for m in runs if m.startswith("blacklight") and any(s == name for s, _ in runs[m])]
        chosen[name] = max(settings, key=total)
    pick = {"ours": lambda name: "ours", "blacklight": chosen.get, "prada": lambda name: "prada"}
    for name in SETS:
        for attack in dict.fromkeys(a for s, a in runs["ours"] if s == name):
            shown = []
            for monitor, of in pick.items():
                found = runs[of(name)][name, attack]
                seen = [r for r in found if r > 0]
                shown.append(f"{monitor} {recall(found):.2f}" + (f" after {statistics.median(seen):g}" if seen else ""))
            print(f"  {name} {attack}: " + ", ".join(shown), flush=True)
        print(f"  {name}: blacklight is {chosen[name]}; alarms on benign traffic, 20 callers and one: " + ", ".join(
            f"{monitor} " + " and ".join("{}/{}".format(*benign[kind][name, of(name)]) for kind in ("benign", "single"))
            for monitor, of in pick.items()), flush=True)
    for monitor, of in pick.items():
        prefix = "robust.monitor." if monitor == "ours" else f"robust.monitor.{monitor}."
        alarms = [benign["benign"][name, of(name)] for name in SETS]
        figure(prefix + "false_positive_rate", sum(a for a, _ in alarms) / sum(n for _, n in alarms))
        for attack in ATTACKS:
            found = [r for name in SETS for (s, a), rs in runs[of(name)].items()
                     if s == name and a.split(":")[0] == attack for r in rs]
            figure(prefix + attack + ".recall", recall(found))
            seen = [r for r in found if r > 0]
            if monitor == "ours":
                figure(prefix + attack + ".queries", statistics.median(seen) if seen else float("inf"))


PARTS = [(COST, cost), (FIGURES + PEER_FIGURES, detection)]
