"""CSV reading against pyarrow, and the cost of the light header. See data.sh."""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import pyarrow

from harness import Worker, cpu_name, figure, interleave, median_ratio


def csv_against_pyarrow(worker, megabytes, rounds, folder):
    path = os.path.join(folder, "sample.csv")
    subprocess.run([worker, "generate", path, str(megabytes)], check=True)
    gigabytes = os.path.getsize(path) / 1e9
    # The peer at its best: the block size that is fastest for it on this file.
    candidates = {}
    for block in (1 << 20, 4 << 20, 16 << 20):
        probe = Worker("pyarrow", [sys.executable, str(pathlib.Path(__file__).with_name("pyarrow_csv_worker.py")), path, str(block)])
        interleave([probe], rounds=2)
        candidates[block] = min(probe.seconds)
    block = min(candidates, key=candidates.get)
    ours = Worker("redoubt", [worker, "csv", path])
    peer = Worker("pyarrow", [sys.executable, str(pathlib.Path(__file__).with_name("pyarrow_csv_worker.py")), path, str(block)])
    interleave([ours, peer], rounds)
    print(f"csv: {gigabytes * 1000:.0f} MB, one thread, {rounds} interleaved rounds; pyarrow {pyarrow.__version__}, block {block >> 20} MiB")
    figure("data.csv.gb_per_second", gigabytes / statistics.median(ours.seconds))
    figure("data.csv.pyarrow_gb_per_second", gigabytes / statistics.median(peer.seconds))
    figure("data.csv.vs_pyarrow", median_ratio(peer, ours))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    print(f"cpu: {cpu_name()}")
    with tempfile.TemporaryDirectory() as folder:
        csv_against_pyarrow(arguments.worker, 200, 5 if arguments.quick else 15, folder)
    sys.path.insert(0, os.path.join(arguments.source, "tests", "house"))
    import parse_budget
    figure("model.predict_header.compile_vs_vector",
           parse_budget.ratio(arguments.source, "g++", "redoubt/predict.hpp", rounds=5 if arguments.quick else 15))


if __name__ == "__main__":
    main()
