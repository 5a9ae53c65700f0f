#include "redoubt/robustness/monitor/blacklight.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <unordered_map>
#include <vector>

#include "redoubt/core/hash.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt {

struct Blacklight::State {
  BlacklightOptions options;
  std::vector<float> low, inverse, salt;
  std::unordered_map<std::uint64_t, std::vector<std::uint64_t>> queries_of;  // fingerprint -> latest queries
  std::vector<std::vector<std::uint64_t>> ring;                              // fingerprints by query, modulo its size
  std::vector<std::uint16_t> shared;  // by query, modulo the ring; zero between calls
  std::vector<std::size_t> touched;
  std::uint64_t now = 0;
  static constexpr std::size_t most_per_print = 64;

  State(MatrixView<const float> reference, const BlacklightOptions& o) : options(o) {
    const auto require = [](bool ok, const char* name, const auto& value, const char* range) {
      if (!ok)
        detail::fail(errc::invalid_argument,
                     fmt::format("BlacklightOptions::{} is {}; it must be {}", name, value, range));
    };
    require(o.step > 0 && o.step <= 1, "step", o.step, "in (0, 1]");
    require(o.window >= 1, "window", o.window, "at least 1");
    require(o.keep >= 1 && o.keep <= 4096, "keep", o.keep, "in [1, 4096]");
    require(o.matches >= 1 && o.matches <= o.keep, "matches", o.matches, "in [1, keep]");
    require(o.queries >= 1 && o.queries <= (std::size_t{1} << 24), "queries", o.queries, "in [1, 2^24]");
    if (reference.rows() == 0 || reference.cols() == 0)
      detail::fail(errc::invalid_argument, "Blacklight: the reference is empty");
    options.window = std::min(o.window, reference.cols());
    Random random(o.key, 3);
    for (std::size_t c = 0; c < reference.cols(); ++c) {
      float least = INFINITY, most = -INFINITY;
      for (std::size_t r = 0; r < reference.rows(); ++r)
        if (const float v = reference(r, c); std::isfinite(v)) least = std::min(least, v), most = std::max(most, v);
      const float range = most > least ? most - least : 1;
      low.push_back(std::isfinite(least) ? least : 0);
      inverse.push_back(static_cast<float>(1 / (options.step * range)));
      salt.push_back(static_cast<float>(random.uniform()));
    }
    ring.resize(options.queries);
    shared.resize(options.queries);
  }

  std::vector<std::uint64_t> prints(std::span<const float> row) const {
    std::vector<std::int16_t> steps(row.size());
    for (std::size_t c = 0; c < row.size(); ++c) {
      const float v = std::floor((row[c] - low[c]) * inverse[c] + salt[c]);
      steps[c] = v == v ? static_cast<std::int16_t>(std::clamp(v, -30000.0f, 30000.0f)) : std::int16_t{32000};
    }
    std::vector<std::uint64_t> hashes;
    hashes.reserve(row.size());
    for (std::size_t c = 0; c + options.window <= row.size(); ++c)
      // The place of the window counts, too: equal values elsewhere are another fingerprint.
      hashes.push_back(hash64(std::as_bytes(std::span(steps).subspan(c, options.window)), options.key + c));
    if (hashes.size() > options.keep) {
      const auto kept = hashes.begin() + static_cast<std::ptrdiff_t>(options.keep);
      std::nth_element(hashes.begin(), kept, hashes.end(), std::greater<>());
      hashes.erase(kept, hashes.end());
    }
    return hashes;
  }

  std::size_t match_and_store(std::vector<std::uint64_t> hashes) {
    std::size_t most = 0;
    touched.clear();
    for (const std::uint64_t h : hashes)
      if (const auto found = queries_of.find(h); found != queries_of.end())
        for (const std::uint64_t query : found->second) {
          std::uint16_t& n = shared[query % ring.size()];
          if (n == 0) touched.push_back(query % ring.size());
          most = std::max<std::size_t>(most, ++n);
        }
    for (const std::size_t at : touched) shared[at] = 0;
    auto& slot = ring[now % ring.size()];
    for (const std::uint64_t h : slot) {  // the oldest query is forgotten
      const auto found = queries_of.find(h);
      if (found == queries_of.end()) continue;
      std::erase(found->second, now - ring.size());
      if (found->second.empty()) queries_of.erase(found);
    }
    for (const std::uint64_t h : hashes) {
      auto& queries = queries_of[h];
      if (queries.size() == most_per_print) queries.erase(queries.begin());
      queries.push_back(now);
    }
    slot = std::move(hashes);
    ++now;
    return most;
  }
};

Blacklight::Blacklight(MatrixView<const float> reference, const BlacklightOptions& options)
    : state_(Shared<State>::make(reference, options)) {}

BlacklightVerdict Blacklight::observe(std::span<const float> row) {
  BlacklightVerdict verdict;
  if (row.size() != state_->low.size()) {
    verdict.status = errc::shape_mismatch;
    return verdict;
  }
  verdict.matches = state_->match_and_store(state_->prints(row));
  verdict.suspicious = verdict.matches >= state_->options.matches;
  return verdict;
}

}  // namespace redoubt
