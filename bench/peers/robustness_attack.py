"""Attacks on networks trained here, beside AutoAttack, ART and Foolbox on the same networks in PyTorch.
Parts of robustness.sh; the peers run in the environment of $PEERS_TORCH."""
import gzip
import os
import pathlib
import statistics

import numpy as np

from harness import Worker, figure
from trees_data import SOURCE

HERE = pathlib.Path(__file__).resolve().parent
FASHION = SOURCE / "fashion_mnist"
NETWORKS = ("mlp", "cnn")
RADIUS = 0.03


def idx(name, skip, count):
    with gzip.open(FASHION / name) as file:
        file.read(skip)
        return np.frombuffer(file.read(count), np.uint8)


class Contest:
    """One trained network, ours and in PyTorch, over the first `count` test images."""

    def __init__(self, context, network, count, threads):
        self.folder = pathlib.Path(context.file(f"attack_{network}"))
        ours = str(context.build / "bench/peer_robustness_attack_worker")
        if not self.folder.exists():
            self.folder.mkdir()
            trainer = Worker("redoubt", [
                ours, "train", f"images={FASHION}/train-images-idx3-ubyte.gz",
                f"labels={FASHION}/train-labels-idx1-ubyte.gz", f"network={network}", f"dir={self.folder}", "threads=2"])
            if trainer.process.wait():
                raise RuntimeError("the network was not trained")
        pixels = idx("t10k-images-idx3-ubyte.gz", 16, count * 784).reshape(count, 784)
        np.save(self.folder / "rows.npy", (pixels / 255).astype(np.float32))
        np.save(self.folder / "labels.npy", idx("t10k-labels-idx1-ubyte.gz", 8, count).astype(np.int32))
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        self.ours = Worker("redoubt", [ours, "attack", f"dir={self.folder}", f"threads={threads}"])
        self.peer = Worker("peer", [os.environ["PEERS_TORCH"], str(HERE / "robustness_attack_peer.py"),
                                    str(self.folder), network, str(threads)], env=environment)
        print(f"  {network}: " + self.peer.ask("versions").strip(), flush=True)
        scores = [self.folder / "ours.npy", self.folder / "theirs.npy"]
        for worker, path in zip((self.ours, self.peer), scores):
            worker.ask(f"scores {path}")
        apart = np.abs(np.load(scores[0]) - np.load(scores[1])).max()
        if apart > 1e-4:
            raise RuntimeError(f"the logits of the two networks differ by {apart}")

    def close(self):
        self.ours.close()
        self.peer.close()


def numbers(answer):
    return [float(word) for word in answer.split()]


def accuracy(network):
    """Robust accuracy under our bundle less that under AutoAttack's APGD-CE, targeted APGD and Square: not above 0."""
    def run(context):
        contest = Contest(context, network, 300 if context.quick else 1000, threads=2)
        found = contest.folder / "found.npy"
        seconds, ours, gradients, queries = numbers(contest.ours.ask(f"bundle {RADIUS} 100 {found}"))
        in_torch, = numbers(contest.peer.ask(f"accuracy {found} {RADIUS}"))
        clean, = numbers(contest.peer.ask(f"accuracy {contest.folder / 'rows.npy'} 0"))
        peer_seconds, theirs = numbers(contest.peer.ask(f"autoattack {RADIUS} 100 5000 1"))
        contest.close()
        print(f"{network}: accuracy {clean:.3f}, under attacks of {RADIUS}: redoubt {ours:.4f} ({in_torch:.4f} in PyTorch, "
              f"{seconds:.1f} s, {gradients:.0f} gradients, {queries:.0f} queries), autoattack {theirs:.4f} "
              f"({peer_seconds:.1f} s); two threads", flush=True)
        figure(f"robust.accuracy_minus_autoattack.{network}", ours - theirs)
    return run


def speed(peer):
    """PGD of 40 steps, one thread: time of the peer, at the batch that suits it best, over ours. We stop at a row that is
    broken; per gradient: time of a gradient of the peer over ours."""
    def run(context):
        ratios, per_gradient = [], []
        steps = 40
        for network, count in zip(NETWORKS, (512, 128)):
            contest = Contest(context, network, count, threads=1)
            pgd = f"{RADIUS} {steps} {RADIUS / 4}"
            best = min((16, 32, 64, 128, 256, 512), key=lambda batch: min(numbers(
                contest.peer.ask(f"{peer} {RADIUS} 8 {RADIUS / 4} {count} {batch}"))[0] for _ in range(2)))
            contest.ours.ask(f"pgd {pgd} {count}")
            times, theirs = [], []
            for _ in range(3 if context.quick else 7):
                ours = numbers(contest.ours.ask(f"pgd {pgd} {count}"))
                answer = numbers(contest.peer.ask(f"{peer} {pgd} {count} {best}"))
                times.append(ours[0])
                theirs.append(answer[0])
            contest.close()
            ratios.append(statistics.median(t / o for t, o in zip(theirs, times)))
            per_gradient.append(ratios[-1] * ours[2] / (count * steps))
            print(f"PGD of {steps} steps, {count} images, {network}: redoubt {statistics.median(times):.3f} s, {peer} "
                  f"{statistics.median(theirs):.3f} s in batches of {best}; accuracy {ours[1]:.4f} and {answer[1]:.4f}; "
                  f"ratio {ratios[-1]:.2f}, per gradient {per_gradient[-1]:.2f}", flush=True)
        figure(f"robust.attack.vs_{peer}", min(ratios))
        figure(f"robust.attack.vs_{peer}.per_gradient", min(per_gradient))
    return run


PARTS = [([f"robust.accuracy_minus_autoattack.{network}"], accuracy(network)) for network in NETWORKS] + [
    ([f"robust.attack.vs_{peer}", f"robust.attack.vs_{peer}.per_gradient"], speed(peer)) for peer in ("art", "foolbox")]
