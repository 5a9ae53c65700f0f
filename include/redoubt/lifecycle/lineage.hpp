#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/fwd.hpp"
#include "redoubt/lifecycle/manifest.hpp"

namespace redoubt {

enum class LineageKind : std::uint8_t { dataset, stage, model, verdict, release };
const char* to_string(LineageKind kind) noexcept;

struct LineageNode {
  std::string id;  ///< unique in the graph
  LineageKind kind = LineageKind::stage;
  std::string label;   ///< short: a name
  std::string detail;  ///< longer: hash, state, metrics
  std::string run_id;  ///< run that made it; empty for a dataset or model that no stage produced
};

struct LineageEdge {
  std::size_t from = 0, to = 0;  ///< indices into `nodes`; data flows from -> to
  std::string label;             ///< role of the input, empty for outputs
};

/// Who made what from what, for drawing and for walking. Edges always point downstream.
struct LineageGraph {
  std::vector<LineageNode> nodes;
  std::vector<LineageEdge> edges;

  /// Nodes from which `node` can be reached, itself included: everything that went into it.
  LineageGraph upstream(std::size_t node) const;
  std::size_t find(const std::string& id) const noexcept;  ///< index or nodes.size()
};

/// Answer to "where does this model come from?"
struct ModelOrigin {
  ModelRecord model;
  std::string run_id;
  std::string run_name;
  std::vector<DatasetRecord> trained_on;  ///< inputs of role "train" of the stage that made it
};

/// Answer to "which rows are in this dataset?" Parallel arrays, ordered by row id.
struct DatasetRows {
  std::vector<RowId> ids;
  std::vector<std::int32_t> sources;  ///< codes into source_names, -1 = missing; empty without sources
  std::vector<std::string> source_names;
};

/// Answer to "what did this row, or this source, get into?"
struct DataImpact {
  std::vector<DatasetRecord> datasets;
  std::vector<ModelRecord> models;    ///< models trained on one of them
  std::vector<std::string> releases;  ///< "name@version" of published ones, with the aliases that point at them
};

}  // namespace redoubt
