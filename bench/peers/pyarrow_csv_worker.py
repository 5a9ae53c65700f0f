"""One pyarrow CSV read per line on stdin; prints the seconds. Usage: FILE BLOCK_BYTES"""
import sys
import time

import pyarrow as pa
import pyarrow.csv

pa.set_cpu_count(1)
pa.set_io_thread_count(1)
path, block = sys.argv[1], int(sys.argv[2])
for _ in sys.stdin:
    start = time.perf_counter()
    table = pa.csv.read_csv(path, read_options=pa.csv.ReadOptions(use_threads=False, block_size=block),
                            parse_options=pa.csv.ParseOptions(newlines_in_values=True))  # the file has quoted line ends
    print(time.perf_counter() - start, flush=True)
    del table
