"""What the parts of trees.py share: where things are, how contenders start, and the rounds."""
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from harness import Worker

HERE = pathlib.Path(__file__).resolve().parent


class Context:
    """Settings of a run: our worker, the newer XGBoost's folder, rounds."""

    def __init__(self, build, quick, xgboost_path):
        self.build = pathlib.Path(build)
        self.ours_path = str(self.build / "bench/peer_trees_worker")
        self.quick = quick
        self.rounds = 5 if quick else 11
        self.xgboost_path = xgboost_path
        self.folder = tempfile.TemporaryDirectory()

    def file(self, name):
        return str(pathlib.Path(self.folder.name) / name)

    def ours(self, mode, **settings):
        return Worker("redoubt", [self.ours_path, mode] + [f"{k}={v}" for k, v in settings.items()])

    def say_cores(self):
        """A virtual machine's CPUs may share a cache for a while (30 to 40 ns) and then not (160 ns and more), which decides
        what two threads can gain."""
        time = subprocess.run([self.ours_path, "cores"], check=True, capture_output=True, text=True).stdout.strip()
        print(f"  one CPU sees what the other wrote after {time} ns", flush=True)

    def python(self, script, name, label=None, **settings):
        """A peer's worker. Its complaints go to a file, of which the last line names why it did not run."""
        if name == "xgboost" and self.xgboost_path:
            settings["path"] = self.xgboost_path
        errors = open(self.file(f"errors-{time.monotonic_ns()}"), "w+")
        worker = Worker(label or name, [sys.executable, str(HERE / script), name, json.dumps(settings)], stderr=errors)
        worker.errors = errors
        return worker


def reason(worker, error):
    """Why a contender did not run."""
    if not hasattr(worker, "errors") or "no answer" in str(error):
        return str(error)
    worker.errors.seek(0)
    lines = [line for line in worker.errors.read().splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else str(error)


def stop(worker):
    try:
        worker.close()
    except (subprocess.TimeoutExpired, BrokenPipeError, OSError):
        worker.process.kill()
        worker.process.wait()


def probe(workers, budget):
    """Waits until all have read and binned, runs each once to warm up, then those within twice the fastest peer once or
    twice more; worker.best is the fastest run. Returns those that ran; the others are named with the reason."""
    running, fastest = [], math.inf
    for step in ("ready", "run"):
        for worker in list(running if step == "run" else workers):
            try:
                if step == "ready":
                    worker.ask(step, 90)
                    running.append(worker)
                    continue
                worker.best = float(worker.ask(step, min(30, 3 + 5 * fastest)))  # who needs longer is not the fastest
                if worker is not workers[0]:
                    fastest = min(fastest, worker.best)
            except (RuntimeError, ValueError) as error:
                print(f"  {worker.name}: not run: {reason(worker, error)}", flush=True)
                stop(worker)
                if worker in running:
                    running.remove(worker)
    for worker in running:
        if worker.best < 2 * fastest:
            worker.best = min(worker.best, *(worker.run() for _ in range(2 if worker.best < budget else 1)))
    return running


def duel(ours, peers, rounds):
    """Rounds in which ours and the given peers alternate; returns {peer: median over the rounds of peer over ours}."""
    for contender in [ours, *peers]:
        contender.seconds = []
    for _ in range(rounds):
        for contender in [ours, *peers]:
            contender.seconds.append(contender.run())
    return {p: statistics.median(a / b for a, b in zip(p.seconds, ours.seconds)) for p in peers}


def near_best(probed, close=0.85):
    """Those within 1/`close` of the fastest."""
    fastest = min(p.best for p in probed)
    return [p for p in probed if p.best * close <= fastest]


def against_best(ours, peers, rounds, budget=1.0, unit=1e3, unit_name="ms", close=0.85, quiet=False):
    """Probes all, then alternates ours with every peer that is within 1/`close` of the best: the best of them is the
    one that has the lowest median. Returns (ratio, best peer, all that ran)."""
    running = probe([ours, *peers], budget)
    if ours not in running:
        raise RuntimeError("ours did not run")
    others = [p for p in running if p is not ours]
    if not others:
        raise RuntimeError("no peer ran")
    finalists = near_best(others, close)
    ratios = duel(ours, finalists, rounds)
    best = min(ratios, key=ratios.get)
    for p in [] if quiet else others:
        seconds = statistics.median(p.seconds) if p in finalists else p.best
        print(f"  {p.name}: {seconds * unit:.4g} {unit_name}" + ("" if p in finalists else " (probe)"), flush=True)
    if not quiet:
        print(f"  redoubt: {statistics.median(ours.seconds) * unit:.4g} {unit_name}; best peer: {best.name}", flush=True)
    return ratios[best], best, running
