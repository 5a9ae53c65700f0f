#!/usr/bin/env python3
"""Takes the C++ blocks out of README.md so that they are compiled, never merely shown.

readme.py README --first-program     prints the first block (the ten-line program)
readme.py README --all DIR           writes each block as DIR/readme_N.cpp; a block without main() is wrapped in one
"""
import pathlib
import re
import sys


def blocks(readme):
    return re.findall(r"^```cpp\n(.*?)^```", readme.read_text(), re.M | re.S)


def main(argv):
    found = blocks(pathlib.Path(argv[1]))
    if not found:
        sys.exit("README has no C++ block")
    if argv[2] == "--first-program":
        print(found[0], end="")
        return
    folder = pathlib.Path(argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(found):
        includes = "".join(line + "\n" for line in text.splitlines() if line.startswith("#include"))
        if "int main" not in text:
            body = "\n".join(line for line in text.splitlines() if not line.startswith("#include"))
            text = f"#include <redoubt/redoubt.hpp>\n{includes}int main() {{\n{body}\n}}\n"
        (folder / f"readme_{number}.cpp").write_text(text)
        print(folder / f"readme_{number}.cpp")


if __name__ == "__main__":
    main(sys.argv)
