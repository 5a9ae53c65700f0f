"""Neural networks against ONNX Runtime and OpenVINO (inference) and PyTorch (training). See nn.sh."""
import argparse
import pathlib
import sys
import tempfile

import nn_infer
import nn_train
from harness import cpu_name, run_parts


class Context:
    """Settings of a run: our workers, rounds."""

    def __init__(self, build, quick, torch_python):
        self.build = pathlib.Path(build)
        self.quick = quick
        self.torch_python = torch_python
        self.rounds = 5 if quick else 11
        self.folder = tempfile.TemporaryDirectory()

    def file(self, name):
        return pathlib.Path(self.folder.name) / name


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--torch-python", default="", help="a Python that has PyTorch")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    parts = nn_infer.figures() + nn_train.figures()
    if arguments.list:
        print("\n".join(name for names, _ in parts for name in names))
        return 0
    print(f"cpu: {cpu_name()}")
    nn_infer.say_versions()
    nn_train.say_version(arguments.torch_python)
    context = Context(arguments.build, arguments.quick, arguments.torch_python)
    return 1 if run_parts(parts, context, arguments.only) else 0


if __name__ == "__main__":
    sys.exit(main())
