#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/fwd.hpp"
#include "redoubt/lifecycle/workspace.hpp"

namespace redoubt {

struct GateReport;

/// An immutable published version.
struct ModelVersion {
  std::string name;
  std::uint64_t version = 0;  ///< 1, 2, 3, ... per name
  std::string model_hash;
  std::string data_hash;  ///< of the training rows
  std::string run_id;
  std::string gate;     ///< the gate report as JSON
  bool forced = false;  ///< published although the gate did not pass
  std::string actor, reason;
  std::int64_t created_ms = 0;
  std::vector<std::string> aliases;  ///< that point at it now
};

struct PublishOptions {
  std::string alias = "production";  ///< moved to the new version in the same transaction; empty: none
  std::string actor;                 ///< empty: the workspace's actor
  bool force = false;                ///< publish even if the gate did not pass; needs actor and reason
  std::string reason;
};

/// Named models with immutable versions and movable aliases, inside a workspace. Thread-safe; every change is one
/// durable transaction with a log entry.
class Registry {
 public:
  explicit Registry(Workspace workspace) : workspace_(static_cast<Workspace&&>(workspace)) {}

  /// Publishes a model that a run of this workspace has stored. `report` must be the gate's report on exactly this
  /// model. Error(refused) unless the gate passed, or `force` is set with a reason and an actor (both go into the log);
  /// Error(not_found) if the model was not stored; Error(invalid_argument) for a bad name or alias.
  ModelVersion publish(std::string_view name, const Model& model, const GateReport& report,
                       const PublishOptions& options = {});
  /// Points the alias at the version it held before the present one. One transaction. Calling it again goes back
  /// further. Error(not_found) if there is nothing to go back to.
  ModelVersion rollback(std::string_view reference, std::string_view reason = {});
  /// Points an alias at an existing version, for example "candidate" to "production" after approval.
  ModelVersion set_alias(std::string_view name, std::string_view alias, std::uint64_t version);

  /// "name@alias", "name@version" or "name" (short for name@production). Error(not_found) lists what exists.
  ModelVersion resolve(std::string_view reference) const;
  Model load(std::string_view reference) const;
  std::vector<std::string> names() const;
  std::vector<ModelVersion> versions(std::string_view name) const;  ///< oldest first
  /// What changed between the runs of two versions.
  std::vector<ManifestChange> compare(std::string_view before, std::string_view after) const;

 private:
  Workspace workspace_;
};

}  // namespace redoubt
