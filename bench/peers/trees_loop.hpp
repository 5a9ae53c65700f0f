#pragma once
// The timed loop around prediction, the same for ours (trees_worker.cpp) and theirs (trees_engines.cpp).
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace redoubt::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// KEY=VALUE arguments.
class Settings {
 public:
  Settings(int argc, char** argv) {
    for (int i = 2; i < argc; ++i) {
      const std::string text = argv[i];
      const auto equals = text.find('=');
      values_[text.substr(0, equals)] = equals == std::string::npos ? "1" : text.substr(equals + 1);
    }
  }
  bool has(const std::string& name) const { return values_.contains(name); }
  std::string text(const std::string& name) const { return values_.at(name); }
  int number(const std::string& name, int otherwise) const {
    return has(name) ? std::atoi(values_.at(name).c_str()) : otherwise;
  }
  double real(const std::string& name, double otherwise) const {
    return has(name) ? std::atof(values_.at(name).c_str()) : otherwise;
  }
  /// Path of a file in `dir`.
  std::string file(const std::string& name) const { return text("dir") + "/" + name; }

 private:
  std::map<std::string, std::string> values_;
};

/// The main of a worker MODE KEY=VALUE...: the exit code of run(mode, settings), or 1 with the message of an error.
inline int run_worker(int argc, char** argv, int (*run)(const std::string& mode, const Settings& settings)) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODE KEY=VALUE...\n", argv[0]);
    return 2;
  }
  try {
    return run(argv[1], Settings(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

/// The 99th percentile of single calls: seconds of call(begin, batch), one every millisecond for about `budget`
/// seconds, as requests arrive. The caller sleeps between them.
template <class Call>
double tail(std::size_t rows, std::size_t batch, double budget, Call&& call) {
  std::vector<double> seconds;
  for (std::size_t begin = 0; begin + batch <= rows; begin += batch) call(begin, batch);
  const double start = now();
  for (std::size_t i = 0; now() - start < budget; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const double begin = now();
    call(i * batch % (rows - rows % batch), batch);
    seconds.push_back(now() - begin);
  }
  const auto at = static_cast<std::ptrdiff_t>(seconds.size() * 99 / 100);
  std::nth_element(seconds.begin(), seconds.begin() + at, seconds.end());
  return seconds[static_cast<std::size_t>(at)];
}

/// Answers the lines on stdin: "ready" at once, "predict FILE" by `predict`, anything else by `seconds`.
inline int serve(const std::function<double()>& seconds, const std::function<void(const std::string&)>& predict) {
  for (std::string line; std::getline(std::cin, line);) {
    if (line.starts_with("predict ")) {
      predict(line.substr(8));
      std::printf("ok\n");
    } else if (line == "ready") {
      std::printf("ok\n");
    } else {
      std::printf("%.12f\n", seconds());
    }
    std::fflush(stdout);
  }
  return 0;
}

/// Seconds per row of `call(begin, count)`, which predicts rows [begin, begin + count) of `rows`.
/// Hot: passes over all rows in batches, for about `budget` seconds. Cold: before every timed call 96 MB of other
/// memory are written, which leaves no cache of this machine a line of the model; the median of the calls.
class PredictLoop {
 public:
  PredictLoop(std::size_t rows, const Settings& settings)
      : rows_(rows), batch_(static_cast<std::size_t>(settings.number("batch", 1))), cold_(settings.has("cold")) {
    if (cold_) other_.resize(96'000'000);
  }

  template <class Call>
  double operator()(Call&& call) {
    return cold_ ? run_cold(call) : run_hot(call);
  }

 private:
  template <class Call>
  double run_hot(Call& call) {
    const double budget = 0.1;
    const double start = now();
    double seconds = 0;
    std::size_t done = 0;
    do {
      const std::size_t until = std::min(done + std::max<std::size_t>(batch_, 256), done + rows_);
      while (done < until) {
        const std::size_t begin = done % (rows_ - rows_ % batch_);
        call(begin, batch_);
        done += batch_;
      }
      seconds = now() - start;
    } while (seconds < budget);
    return seconds / static_cast<double>(done);
  }

  template <class Call>
  double run_cold(Call& call) {
    const std::size_t calls = batch_ >= 1000 ? 5 : 25;
    std::vector<double> seconds;
    for (std::size_t i = 0; i < calls; ++i) {
      ++round_;
      for (std::size_t k = 0; k < other_.size(); k += 64) other_[k] = static_cast<char>(other_[k] + round_);
      const std::size_t begin = (round_ * 37 * batch_) % (rows_ - batch_ + 1);
      const double start = now();
      call(begin, batch_);
      seconds.push_back(now() - start);
    }
    std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(calls / 2), seconds.end());
    return seconds[calls / 2] / static_cast<double>(batch_);
  }

  std::size_t rows_, batch_;
  bool cold_;
  std::size_t round_ = 0;
  std::vector<char> other_;
};

}  // namespace redoubt::bench
