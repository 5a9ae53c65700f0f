"""Trees against their peers. See trees.sh.

Every figure is peer time over ours (above 1 we are faster), the median of interleaved rounds against the fastest peer;
memory is ours over theirs; quality is our metric minus LightGBM's.
"""
import argparse
import importlib.metadata
import sys

import trees_forests
import trees_predict
import trees_quality
import trees_train
from harness import cpu_name, run_parts
from trees_common import Context

PACKAGES = ("lightgbm", "xgboost", "catboost", "ydf", "scikit-learn", "scikit-learn-intelex", "onnxruntime", "tl2cgen",
            "treelite", "lleaves", "pyod")


def versions(xgboost_path):
    shown = []
    for package in PACKAGES:
        try:
            version = importlib.metadata.version(package)
            if package == "xgboost" and xgboost_path:
                version = next(iter(importlib.metadata.distributions(name="xgboost", path=[xgboost_path]))).version
            shown.append(f"{package} {version}")
        except importlib.metadata.PackageNotFoundError:
            shown.append(f"{package}: not installed")
    return ", ".join(shown)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--xgboost-path", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", help="glob over the names of figures; may be repeated")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    parts = [part for module in (trees_train, trees_quality, trees_predict, trees_forests) for part in module.figures()]
    if arguments.list:
        print("\n".join(name for names, _ in parts for name in names))
        return 0
    context = Context(arguments.build, arguments.quick, arguments.xgboost_path)
    print(f"cpu: {cpu_name()}\npeers: {versions(arguments.xgboost_path)}", flush=True)
    return 1 if run_parts(parts, context, arguments.only) else 0


if __name__ == "__main__":
    sys.exit(main())
