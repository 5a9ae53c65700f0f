#pragma once
// What Workspace and Registry share: the open database, the artifact folder and the log.
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "lifecycle/sqlite.hpp"
#include "lifecycle/store_schema.hpp"
#include "redoubt/data/schema.hpp"
#include "redoubt/lifecycle/workspace.hpp"

namespace redoubt {

/// Members named *_locked expect `mutex` to be held; those that write expect a Transaction as well.
struct Workspace::Impl {
  std::string directory;
  WorkspaceOptions options;
  mutable std::mutex mutex;
  mutable detail::Database db;
  std::map<std::pair<int, std::string>, std::int64_t> type_ids;

  std::int64_t now_ms() const;
  std::string new_run_id_locked();

  std::string artifact_path(std::string_view sha256) const;
  std::string store(std::span<const std::byte> bytes) const;
  std::vector<std::byte> fetch(std::string_view sha256) const;

  std::int64_t type_locked(detail::TypeKind kind, const std::string& name);
  void set_property_locked(const char* owner, std::int64_t id, std::string_view name, bool custom,
                           const Property& value);
  std::string text_property_locked(const char* owner, std::int64_t id, std::string_view name) const;
  void log_locked(std::string_view actor, std::string_view action, std::string_view subject, std::string_view detail);

  /// Id of the artifact of that type and name, 0 if there is none.
  std::int64_t find_artifact_locked(const std::string& type, std::string_view name);
  std::int64_t add_artifact_locked(const std::string& type, std::string_view name, std::string_view uri,
                                   std::int64_t context);
  void add_event_locked(std::int64_t artifact, std::int64_t execution, detail::EventType type, std::string_view role,
                        std::string_view name);
  std::int64_t dataset_locked(const Dataset& data, const DatasetUse& use, std::string_view rows_blob,
                              std::string_view hash, std::int64_t context);

  DatasetRecord dataset_record_locked(std::int64_t artifact) const;
  ModelRecord model_record_locked(std::int64_t artifact) const;
  Manifest build_manifest_locked(std::int64_t context, std::string_view run_id) const;
  std::int64_t context_of_run_locked(std::string_view run_id) const;
  std::string run_of_stage_locked(std::int64_t execution) const;
  DataImpact impact_locked(const std::vector<std::int64_t>& datasets) const;
  std::string rows_blob_locked(std::int64_t dataset) const;
};

namespace detail {

inline constexpr const char* type_run = "redoubt.Run";
inline constexpr const char* type_dataset = "redoubt.Dataset";
inline constexpr const char* type_model = "redoubt.Model";
inline constexpr const char* type_verdict = "redoubt.Verdict";
inline constexpr const char* type_manifest = "redoubt.Manifest";
inline constexpr const char* role_prefix = "role:";
inline constexpr const char* stage_prefix = "redoubt.stage.";

std::string log_hash(std::string_view previous, std::int64_t sequence, std::int64_t time_ms, std::string_view actor,
                     std::string_view action, std::string_view subject, std::string_view detail_text);
std::string schema_to_json(const Schema& schema);

}  // namespace detail
}  // namespace redoubt
