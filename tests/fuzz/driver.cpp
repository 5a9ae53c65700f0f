// Runs a fuzz target without libFuzzer: `fuzz_x SEEDS [RUNS [SECONDS]]` replays every file in the folder SEEDS (it may
// be absent), then RUNS deterministic mutations of them, for SECONDS at most. `fuzz_x FILE` replays one file. An input
// that crashes is left in `crash-input` in the working folder.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "redoubt/core/random.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;
constexpr std::size_t max_size = 1 << 14;

Bytes current;  // for the crash handler

void save_crash(int signal) {
  const int fd = ::open("crash-input", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd >= 0) {
    [[maybe_unused]] const auto written = ::write(fd, current.data(), current.size());
    ::close(fd);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void run(const Bytes& input) {
  current = input;
  LLVMFuzzerTestOneInput(current.data(), current.size());
}

Bytes read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Bytes mutate(const std::vector<Bytes>& seeds, redoubt::Random& random) {
  static const char* const tokens[] = {
      "\"",   "\"\"", ",",    "\n",   "\r\n",         "\t",        "{", "}",  ":", "?",
      "%",    "1e9",  "-1",   "0",    "NaN",          "99999999",  "'", "\\", ";", "@data",
      "qid:", "1:1",  "\xff", "\xc3", "\xef\xbb\xbf", "4294967296"};
  Bytes input = seeds[random.below(seeds.size())];
  const auto count = 1 + random.below(6);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::size_t at = random.below(input.size() + 1);
    const std::size_t length = std::min<std::size_t>(input.size() - at, 1 + random.below(16));
    const auto from = input.begin() + static_cast<std::ptrdiff_t>(at);
    switch (random.below(8)) {
      case 0:
        if (at < input.size()) input[at] ^= static_cast<std::uint8_t>(1u << random.below(8));
        break;
      case 1:
        if (at < input.size()) input[at] = static_cast<std::uint8_t>(random.below(256));
        break;
      case 2: input.erase(from, from + static_cast<std::ptrdiff_t>(length)); break;
      case 3: {  // a part twice
        const Bytes part(from, from + static_cast<std::ptrdiff_t>(length));
        input.insert(from, part.begin(), part.end());
        break;
      }
      case 4: {
        const std::string token = tokens[random.below(std::size(tokens))];
        input.insert(from, token.begin(), token.end());
        break;
      }
      case 5: {  // a border value, in either byte order
        static const std::uint64_t values[] = {
            0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, ~std::uint64_t{0}};
        const std::uint64_t value = values[random.below(std::size(values))];
        const std::size_t width = std::size_t{1} << random.below(4);
        const bool little = random.below(2) != 0;
        for (std::size_t b = 0; b < width && at + b < input.size(); ++b) {
          input[at + b] = static_cast<std::uint8_t>(value >> (8 * (little ? b : width - 1 - b)));
        }
        break;
      }
      case 6: {  // the end of another seed
        const Bytes& other = seeds[random.below(seeds.size())];
        input.resize(at);
        input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(random.below(other.size() + 1)),
                     other.end());
        break;
      }
      default: input.resize(at); break;
    }
    if (input.size() > max_size) input.resize(max_size);
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, save_crash);
  const std::filesystem::path path = argc > 1 ? argv[1] : "";
  const std::uint64_t runs = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 20000;
  const double seconds = argc > 3 ? std::strtod(argv[3], nullptr) : 4;
  if (std::filesystem::is_regular_file(path)) {
    run(read(path));
    return 0;
  }
  std::vector<std::filesystem::path> files;
  if (std::filesystem::is_directory(path)) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<Bytes> seeds;
  for (const auto& file : files) seeds.push_back(read(file));
  for (const Bytes& seed : seeds) run(seed);
  redoubt::Random random(1);
  for (std::size_t size = 0; size < 64; size += 9) {  // some bytes to start from, whatever the seeds are
    Bytes bytes(size);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.below(256));
    seeds.push_back(bytes);
  }
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t done = 0;
  for (; done < runs; ++done) {
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > seconds) break;
    run(mutate(seeds, random));
  }
  std::printf("%zu seeds, %llu mutated inputs, no crash\n", files.size(), static_cast<unsigned long long>(done));
  return 0;
}
