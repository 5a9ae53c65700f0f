"""Neural networks against their peers. See nn.sh. Times are peer over ours: above 1 we are faster."""
import argparse
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tempfile

import nn_infer
import nn_train
from harness import cpu_name, run_parts


class Context:
    """Settings of a run."""

    def __init__(self, arguments):
        self.build = pathlib.Path(arguments.build)
        self.ours_path = str(self.build / "bench/peer_nn_worker")
        self.torch_python = arguments.torch_python
        self.quick = arguments.quick
        self.rounds = 5 if arguments.quick else 11
        self.folder = tempfile.TemporaryDirectory()

    def file(self, name):
        return str(pathlib.Path(self.folder.name) / name)


def versions(torch_python):
    shown = []
    for package in ("onnxruntime", "openvino"):
        try:
            shown.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            shown.append(f"{package}: not installed")
    torch = subprocess.run([torch_python or "false", "-c", "import torch; print('torch', torch.__version__)"],
                           capture_output=True, text=True)
    return ", ".join(shown + [torch.stdout.strip() or "torch: not installed"])


def products(context):
    subprocess.run([str(context.build / "bench/peer_nn_products")] + (["--quick"] if context.quick else []), check=True,
                   env=os.environ | {"OMP_NUM_THREADS": "1"})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--torch-python", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", help="glob over the names of figures; may be repeated")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    parts = [(["nn.matmul.fp32.peak_fraction", "nn.matmul.fp32.peak_fraction_worst"], products)]
    parts += [part for module in (nn_infer, nn_train) for part in module.figures()]
    if arguments.list:
        print("\n".join(name for names, _ in parts for name in names))
        return 0
    context = Context(arguments)
    print(f"cpu: {cpu_name()}\npeers: {versions(arguments.torch_python)}", flush=True)
    return 1 if run_parts(parts, context, arguments.only) else 0


if __name__ == "__main__":
    sys.exit(main())
