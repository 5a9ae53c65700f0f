// Our side of bench/peers/data.sh, and the file that both sides read.
//   peer_data_worker generate FILE MEGABYTES
//   peer_data_worker csv FILE            reads the file once per line on stdin and prints the seconds
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include "bench/support/csv_sample.hpp"
#include "redoubt/data/csv.hpp"

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "generate" && argc == 4) {
    redoubt::bench::write_csv_sample(argv[2], std::strtoull(argv[3], nullptr, 10) * 1'000'000);
    return 0;
  }
  if (mode == "csv" && argc == 3) {
    for (std::string line; std::getline(std::cin, line);) {
      const auto start = std::chrono::steady_clock::now();
      const redoubt::Dataset data = redoubt::read_csv(argv[2]);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      std::printf("%.6f\n", seconds.count());
      std::fflush(stdout);
      if (data.rows() == 0 || !data.quarantine().empty()) return 1;
    }
    return 0;
  }
  std::fprintf(stderr, "usage: %s generate FILE MEGABYTES | csv FILE\n", argv[0]);
  return 2;
}
