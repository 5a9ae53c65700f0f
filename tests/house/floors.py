#!/usr/bin/env python3
"""Fails on an include that climbs the floors, and on a heavy header reachable from a public one.

Rooms on one floor do not include each other, except in the written order of the third and fourth floors
(metrics below model; the estimators below what uses them).
"""
import pathlib
import re
import sys

RANK = {
    "core": 0, "kernels": 1, "data": 2, "metrics": 3, "model": 4,
    "linear": 5, "trees": 5, "nn": 5, "neighbors": 5,
    "interop": 6, "robustness": 6, "lifecycle": 7, "serve": 8, "advisor": 8, "cli": 9,
}
HEAVY = re.compile(r"#include <(Eigen|xtensor|xtl|tbb|oneapi|cblas|lapack|nlohmann|simdjson|sqlite3|boost|httplib|openssl|"
                   r"immintrin|x86intrin|fmt|zlib|xxhash|regex|filesystem|random|thread|ranges|functional|iostream)")
INCLUDE = re.compile(r'#include "(?:redoubt/)?([a-z_]+)/')


def room_of(path, root):
    parts = path.relative_to(root).parts
    if parts[0] == "include":
        return parts[2] if len(parts) > 3 else None  # umbrella headers belong to no room
    return parts[1]


def problems(root):
    files = [p for top in ("include", "src") for p in (root / top).rglob("*.[hc]pp")]
    for path in sorted(files):
        room = room_of(path, root)
        if room is None:
            continue
        if room not in RANK:
            yield f"{path.relative_to(root)}: room '{room}' has no floor"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(root)}:{number}"
            match = INCLUDE.match(line)
            if match and match.group(1) in RANK:
                other = match.group(1)
                if other != room and RANK[other] >= RANK[room]:
                    yield f"{where}: {room} (floor {RANK[room]}) includes {other} (floor {RANK[other]})"
            if path.suffix == ".hpp" and "include" in path.parts and room != "interop" and HEAVY.match(line):
                yield f"{where}: heavy header in a public header: {line.strip()}"


def self_test():
    """The check itself must be able to fail."""
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        header = root / "include/redoubt/kernels/x.hpp"
        header.parent.mkdir(parents=True)
        (root / "src").mkdir()
        header.write_text('#include "redoubt/model/model.hpp"\n#include <fmt/format.h>\n')
        assert len(list(problems(root))) == 2, "floors.py does not see a planted violation"


if __name__ == "__main__":
    self_test()
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) or "floors: every include goes down")
    sys.exit(bool(found))
