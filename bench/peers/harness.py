"""Interleaved timing of several contenders, and the `figure NAME VALUE` lines.

A contender is a worker process that reads a line, does one unit of work, and prints its seconds. Workers stay alive, so
start-up, imports and page cache are warm for both sides; the rounds alternate, so a drifting clock hits both alike.
Ratios are peer time over ours: above 1 we are faster.
"""
import fnmatch
import platform
import select
import statistics
import subprocess
import sys
import time
import traceback


class Worker:
    def __init__(self, name, command, **options):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
        self.seconds = []

    def ask(self, request, patience=None):
        """The answer to one line. After `patience` seconds without one the worker is ended: RuntimeError."""
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the reason is in its exit code
        if patience and not select.select([self.process.stdout], [], [], patience)[0]:
            self.process.kill()
            raise RuntimeError(f"no answer to \"{request}\" within {patience:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended: exit code {self.process.wait()}")
        return line

    def run(self):
        return float(self.ask("run"))

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def interleave(workers, rounds, warm_up=1):
    """Runs all workers `rounds` times in turn, after `warm_up` untimed rounds; fills worker.seconds."""
    for round_number in range(warm_up + rounds):
        for worker in workers:
            seconds = worker.run()
            if round_number >= warm_up:
                worker.seconds.append(seconds)
    for worker in workers:
        worker.close()


def median_ratio(peer, ours):
    """Median over the rounds of peer time / our time in the same round."""
    return statistics.median(p / o for p, o in zip(peer.seconds, ours.seconds))


def figure(name, value):
    print(f"figure {name} {value:.4g}", flush=True)


def cpu_name():
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def run_parts(parts, context, only):
    """Runs the parts ((names of their figures), function) that `only` (globs, or None for all) asks for; how many failed."""
    failed = 0
    for names, function in parts:
        if only and not any(fnmatch.fnmatch(name, pattern) for name in names for pattern in only):
            continue
        start = time.monotonic()
        try:
            function(context)
        except Exception:  # the others are still worth having
            failed += 1
            traceback.print_exc(file=sys.stdout)
            print(f"failed: {' '.join(names)}", flush=True)
        print(f"  [{time.monotonic() - start:.0f} s]", flush=True)
    return failed
