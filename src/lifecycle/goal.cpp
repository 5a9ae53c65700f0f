#include "redoubt/lifecycle/goal.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "lifecycle/files.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

using nlohmann::json;

constexpr std::size_t goal_limit = 1 << 20;

/// Parses one goal and remembers enough to say where something is wrong.
class GoalReader {
 public:
  GoalReader(std::string_view text, std::string_view origin) : text_(text), origin_(origin) {}

  Goal read() {
    try {
      const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
        if (event == json::parse_event_t::key && depth == 1 && !keys_.insert(parsed.get<std::string>()).second)
          fail_at(parsed.get<std::string>(), "is given twice");
        return true;
      };
      document_ = json::parse(text_, watch);
    } catch (const json::parse_error& error) {
      fail(error.byte ? error.byte - 1 : 0, "not valid JSON");
    }
    if (!document_.is_object()) fail(0, "the goal must be a JSON object");
    Goal goal;
    goal.target = text("target");
    goal.metric = text("metric");
    goal.threshold = number("threshold", -1e300, 1e300, true, 0);
    goal.latency_budget_us = number("latency_budget_us", 0, 1e12, false, goal.latency_budget_us);
    goal.max_regression = number("max_regression", 0, 1e300, false, goal.max_regression);
    goal.max_canary_flips = number("max_canary_flips", 0, 1, false, goal.max_canary_flips);
    goal.min_slice = number("min_slice", -1e300, 1e300, document_.contains("slices"), goal.min_slice);
    goal.min_slice_rows =
        static_cast<std::uint64_t>(number("min_slice_rows", 1, 1e15, false, static_cast<double>(goal.min_slice_rows)));
    if (const auto found = document_.find("slices"); found != document_.end()) {
      if (!found->is_array()) fail_at("slices", "must be a list of column names");
      for (const auto& name : *found) {
        if (!name.is_string()) fail_at("slices", "must be a list of column names");
        goal.slices.push_back(name.get<std::string>());
      }
    }
    constexpr std::string_view known[] = {"target",         "metric",           "threshold", "latency_budget_us",
                                          "max_regression", "max_canary_flips", "min_slice", "min_slice_rows",
                                          "slices"};
    for (const auto& [key, value] : document_.items())
      if (std::find(std::begin(known), std::end(known), key) == std::end(known))
        fail_at(key, fmt::format("is unknown; known keys are {}", fmt::join(known, ", ")));
    return goal;
  }

 private:
  std::string text(const char* key) {
    const auto found = document_.find(key);
    if (found == document_.end()) fail(0, fmt::format("key \"{}\" is missing", key));
    if (!found->is_string() || found->get_ref<const std::string&>().empty())
      fail_at(key, fmt::format("must be a non-empty text, not {}", found->type_name()));
    return found->get<std::string>();
  }

  double number(const char* key, double low, double high, bool required, double fallback) {
    const auto found = document_.find(key);
    if (found == document_.end()) {
      if (required) fail(0, fmt::format("key \"{}\" is missing", key));
      return fallback;
    }
    if (!found->is_number()) fail_at(key, fmt::format("must be a number, not {}", found->type_name()));
    const auto value = found->get<double>();
    if (!(value >= low && value <= high)) fail_at(key, fmt::format("is {}, outside [{}, {}]", value, low, high));
    return value;
  }

  [[noreturn]] void fail_at(const std::string& key, const std::string& what) {
    const auto position = text_.find("\"" + key + "\"");
    fail(position == std::string_view::npos ? 0 : position, fmt::format("key \"{}\" {}", key, what));
  }

  [[noreturn]] void fail(std::size_t byte, const std::string& what) {
    byte = std::min(byte, text_.size());
    std::size_t line = 1, column = 1;
    for (std::size_t i = 0; i < byte; ++i) {
      ++column;
      if (text_[i] == '\n') ++line, column = 1;
    }
    detail::fail(errc::parse_error, fmt::format("{}:{}:{}: {}", origin_, line, column, what));
  }

  std::string_view text_, origin_;
  json document_;
  std::set<std::string> keys_;
};

}  // namespace

Goal Goal::from_json(std::string_view text, std::string_view origin) { return GoalReader(text, origin).read(); }

Goal Goal::read(const std::string& path) {
  const auto bytes = detail::read_whole(path, goal_limit);
  return from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

std::string Goal::to_json() const {
  json document{{"target", target}, {"metric", metric}, {"threshold", threshold}, {"max_regression", max_regression}};
  if (latency_budget_us > 0) document["latency_budget_us"] = latency_budget_us;
  if (max_canary_flips >= 0) document["max_canary_flips"] = max_canary_flips;
  if (!slices.empty()) {
    document["slices"] = slices;
    document["min_slice"] = min_slice;
    document["min_slice_rows"] = min_slice_rows;
  }
  return document.dump();
}

bool lower_is_better(std::string_view metric) noexcept {
  for (const auto* name : {"log_loss", "brier", "calibration_error", "rmse", "mae"})
    if (metric == name) return true;
  return false;
}

}  // namespace redoubt
