#!/usr/bin/env python3
"""Opens files of Redoubt with Python's safetensors: lists their strings and tensors, and compares every tensor with a
reading of the bytes that shares no code with either.

Usage: safetensors_check.py FILE...      (needs the packages safetensors and numpy)
Ends with 1 if a file cannot be opened or a value differs.
"""
import json
import pathlib
import struct
import sys

import numpy as np
from safetensors import safe_open

NUMPY = {"F32": "<f4", "F64": "<f8", "I8": "<i1", "U8": "<u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
         "I64": "<i8", "U64": "<u8"}


def plain_reading(path):
    """{name: (type, values)}, metadata and the offset of the data in the file, by the words of the format."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = content[8 + length + begin : 8 + length + end]
        tensors[name] = entry["dtype"], np.frombuffer(raw, NUMPY[entry["dtype"]]).reshape(entry["shape"]), begin
    return tensors, metadata, 8 + length


def check(path):
    tensors, metadata, data = plain_reading(path)
    wrong = 0
    with safe_open(path, framework="numpy") as file:
        print(f"{path}: {len(metadata)} strings, {len(tensors)} tensors")
        wrong += (file.metadata() or {}) != metadata or set(file.keys()) != set(tensors)
        for name in sorted(tensors):
            dtype, values, begin = tensors[name]
            theirs = file.get_tensor(name)
            same = theirs.dtype == values.dtype and theirs.shape == values.shape and theirs.tobytes() == values.tobytes()
            aligned = name.startswith("__pad.") or (data + begin) % 64 == 0
            wrong += not (same and aligned)
            print(f"  {name:32} {dtype:4} {list(values.shape)}" + ("" if same else "  DIFFERS")
                  + ("" if aligned else "  not aligned to 64 bytes"))
    return wrong


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    wrong = sum(check(pathlib.Path(name)) for name in sys.argv[1:])
    print("equal" if wrong == 0 else f"{wrong} differences")
    sys.exit(wrong != 0)
