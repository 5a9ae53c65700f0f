#!/usr/bin/env python3
"""tests/ and bench/ mirror include/ (and src/, for what is tested by itself there): fails on an orphan test or benchmark,
on a public header with neither a test of its own nor a line in UNTESTED that says where its behaviour is tested, and on
a test case with a semicolon in its name, which CTest would cut in two and then run neither half of."""
import pathlib
import re
import sys

# Headers without behaviour of their own, and where what they declare is exercised.
UNTESTED = {
    "data/row_stream.hpp": "tests/nn/streaming_test.cpp",
    "kernels/epilogue.hpp": "tests/kernels/matmul_test.cpp",
    "model/parts.hpp": "tests/model/model_test.cpp",
    "nn/layer.hpp": "tests/nn/sequential_test.cpp",
    "nn/training_objective.hpp": "tests/nn/trainer_test.cpp",
    "nn/training_callback.hpp": "tests/nn/neural_network_test.cpp",
    "core/progress.hpp": "tests/trees/gradient_boosting_test.cpp",
}


def main(root):
    found = []
    include = root / "include/redoubt"
    for top, suffix in (("tests", "_test.cpp"), ("bench", "_bench.cpp")):
        for path in sorted((root / top).rglob("*" + suffix)):
            relative = path.relative_to(root / top)
            if relative.parts[0] in ("house", "support", "end_to_end", "cli"):
                continue
            header = include / relative.parent / (path.name[: -len(suffix)] + ".hpp")
            if not header.exists() and not (root / "src" / header.relative_to(include)).exists():
                found.append(f"{path.relative_to(root)}: no header {header.relative_to(root)}")
    for path in sorted((root / "tests").rglob("*.cpp")):
        for name in re.findall(r'TEST_CASE\(\s*"([^"]*;[^"]*)"', path.read_text()):
            found.append(f"{path.relative_to(root)}: a semicolon in the name of the test \"{name}\"")
    for header in sorted(include.rglob("*/*.hpp")):
        relative = header.relative_to(include)
        test = root / "tests" / relative.parent / (header.stem + "_test.cpp")
        if test.exists():
            if str(relative) in UNTESTED:
                found.append(f"mirror.py: {relative} has a test now; remove it from UNTESTED")
        elif str(relative) not in UNTESTED:
            found.append(f"{header.relative_to(root)}: no test {test.relative_to(root)}")
        elif not (root / UNTESTED[str(relative)]).exists():
            found.append(f"mirror.py: {UNTESTED[str(relative)]} does not exist")
    print("\n".join(found) or "mirror: tests and benchmarks match the headers")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
