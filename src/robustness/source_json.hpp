#pragma once
#include <nlohmann/json.hpp>

#include "redoubt/robustness/poisoning/sources.hpp"

namespace redoubt::detail {

/// One entry of "sources" in the JSON of a screen and of a robustness report.
inline nlohmann::json source_json(const SourceSuspicion& s) {
  nlohmann::json json = {{"source", s.source},     {"rows", s.rows},       {"suspicious", s.suspicious},
                         {"expected", s.expected}, {"p_value", s.p_value}, {"q_value", s.q_value},
                         {"score", s.score}};
  if (!s.label.empty()) json["label"] = s.label;
  return json;
}

}  // namespace redoubt::detail
