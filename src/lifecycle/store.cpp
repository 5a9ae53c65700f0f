#include "lifecycle/store.hpp"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lifecycle/files.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/dataset.hpp"

namespace redoubt {

using detail::Statement;

namespace {

constexpr std::size_t artifact_limit = std::size_t{1} << 34;  // 16 GiB

std::string compiler_name() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

struct Declared {
  const char* name;
  detail::PropertyType type;
};

/// Properties that ML Metadata readers see as declared by our types; all others are custom ones.
std::vector<Declared> declared_properties(const std::string& type) {
  using namespace detail;
  if (type == type_dataset)
    return {
        {"label", property_string}, {"origin", property_string}, {"schema", property_string}, {"rows", property_int}};
  if (type == type_model)
    return {{"label", property_string}, {"algorithm", property_string}, {"options", property_string},
            {"seed", property_string},  {"data_hash", property_string}, {"run_id", property_string}};
  if (type == type_run)
    return {{"label", property_string},
            {"state", property_string},
            {"parent_model", property_string},
            {"code_commit", property_string}};
  if (type == type_verdict) return {{"label", property_string}};
  return {};
}

}  // namespace

namespace detail {

std::string schema_to_json(const Schema& schema) {
  auto columns = nlohmann::json::array();
  for (const auto& column : schema.columns())
    columns.push_back({{"name", column.name},
                       {"type", to_string(column.type)},
                       {"role", to_string(column.role)},
                       {"categories", column.categories.size()}});
  return columns.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace detail

std::int64_t Workspace::Impl::now_ms() const {
  if (options.clock) return options.clock->now_ms();
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

std::string Workspace::Impl::new_run_id_locked() {
  std::array<unsigned char, 16> b{};
  if (options.id_seed) {
    Statement count(db, "SELECT COUNT(*) FROM Context");
    count.step();
    Random random(options.id_seed, static_cast<std::uint64_t>(count.integer(0)));
    for (auto& byte : b) byte = static_cast<unsigned char>(random());
  } else if (::getrandom(b.data(), b.size(), 0) != static_cast<ssize_t>(b.size())) {
    detail::fail(errc::io_error, fmt::format("the system's random source failed: {}", std::strerror(errno)));
  }
  b[6] = static_cast<unsigned char>((b[6] & 0x0f) | 0x40);  // RFC 4122, version 4
  b[8] = static_cast<unsigned char>((b[8] & 0x3f) | 0x80);
  std::string id;
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) id += '-';
    id += fmt::format("{:02x}", b[i]);
  }
  return id;
}

std::string Workspace::Impl::artifact_path(std::string_view sha256) const {
  const bool hex = std::all_of(sha256.begin(), sha256.end(),
                               [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (sha256.size() != 64 || !hex)
    detail::fail(errc::invalid_argument,
                 fmt::format("\"{}\" is not a SHA-256 (64 lower-case hexadecimal digits)", sha256));
  return fmt::format("{}/artifacts/{}/{}", directory, sha256.substr(0, 2), sha256.substr(2));
}

std::string Workspace::Impl::store(std::span<const std::byte> bytes) const {
  auto hash = sha256_hex(bytes);
  const auto path = artifact_path(hash);
  std::error_code error;
  if (std::filesystem::file_size(path, error) == bytes.size() && !error) return hash;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) detail::fail(errc::io_error, fmt::format("{}: cannot create the folder: {}", path, error.message()));
  detail::write_atomically(path, bytes);
  return hash;
}

std::vector<std::byte> Workspace::Impl::fetch(std::string_view sha256) const {
  const auto path = artifact_path(sha256);
  auto bytes = detail::read_whole(path, artifact_limit);
  if (const auto found = sha256_hex(bytes); found != sha256)
    detail::fail(errc::corrupt,
                 fmt::format("{}: content has SHA-256 {}, so it was changed after it was stored; restore "
                             "it from a backup",
                             path, found));
  return bytes;
}

std::int64_t Workspace::Impl::type_locked(detail::TypeKind kind, const std::string& name) {
  const auto key = std::pair(static_cast<int>(kind), name);
  if (const auto known = type_ids.find(key); known != type_ids.end()) return known->second;
  std::int64_t id = 0;
  {
    Statement find(db, "SELECT id FROM Type WHERE name = ? AND type_kind = ? AND version IS NULL");
    find.bind(name).bind(std::int64_t{kind});
    if (find.step()) id = find.integer(0);
  }
  if (id) {
    type_ids[key] = id;
    return id;
  }
  Statement(db, "INSERT INTO Type(name, type_kind) VALUES(?, ?)").bind(name).bind(std::int64_t{kind}).run();
  id = db.last_id();
  for (const auto& property : declared_properties(name))
    Statement(db, "INSERT INTO TypeProperty(type_id, name, data_type) VALUES(?, ?, ?)")
        .bind(id)
        .bind(std::string_view(property.name))
        .bind(std::int64_t{property.type})
        .run();
  return id;  // cached when found the next time: this transaction may still be rolled back
}

void Workspace::Impl::set_property_locked(const char* owner, std::int64_t id, std::string_view name, bool custom,
                                          const Property& value) {
  const auto sql = fmt::format(
      "INSERT OR REPLACE INTO {0}Property({1}_id, name, is_custom_property, int_value, double_value, string_value, "
      "bool_value) VALUES(?, ?, ?, ?, ?, ?, ?)",
      owner,
      owner[0] == 'A'   ? "artifact"
      : owner[0] == 'E' ? "execution"
                        : "context");
  Statement insert(db, sql.c_str());
  insert.bind(id).bind(name).bind(std::int64_t{custom});
  // SQLite stores NaN as NULL, so it travels as text.
  const bool nan = value.kind == Property::Kind::number && std::isnan(value.number);
  value.kind == Property::Kind::integer ? insert.bind(value.integer) : insert.bind_null();
  value.kind == Property::Kind::number && !nan ? insert.bind(value.number) : insert.bind_null();
  value.kind == Property::Kind::text || nan ? insert.bind(nan ? std::string_view("nan") : value.text)
                                            : insert.bind_null();
  value.kind == Property::Kind::boolean ? insert.bind(value.integer) : insert.bind_null();
  insert.run();
}

std::string Workspace::Impl::text_property_locked(const char* owner, std::int64_t id, std::string_view name) const {
  const auto sql = fmt::format(
      "SELECT string_value FROM {0}Property WHERE {1}_id = ? AND name = ? ORDER BY is_custom_property", owner,
      owner[0] == 'A'   ? "artifact"
      : owner[0] == 'E' ? "execution"
                        : "context");
  Statement select(db, sql.c_str());
  select.bind(id).bind(name);
  return select.step() ? select.text(0) : std::string();
}

void Workspace::Impl::log_locked(std::string_view actor, std::string_view action, std::string_view subject,
                                 std::string_view detail_text) {
  std::int64_t sequence = 1;
  std::string previous(64, '0');
  {
    Statement last(db, "SELECT sequence, hash FROM redoubt_log ORDER BY sequence DESC LIMIT 1");
    if (last.step()) {
      sequence = last.integer(0) + 1;
      previous = last.text(1);
    }
  }
  const auto time = now_ms();
  const auto hash = detail::log_hash(previous, sequence, time, actor, action, subject, detail_text);
  Statement(
      db,
      "INSERT INTO redoubt_log(sequence, time_ms, actor, action, subject, detail, hash) VALUES(?, ?, ?, ?, ?, ?, ?)")
      .bind(sequence)
      .bind(time)
      .bind(actor)
      .bind(action)
      .bind(subject)
      .bind(detail_text)
      .bind(hash)
      .run();
}

std::string detail::log_hash(std::string_view previous, std::int64_t sequence, std::int64_t time_ms,
                             std::string_view actor, std::string_view action, std::string_view subject,
                             std::string_view detail_text) {
  Sha256 sha;
  // Every field is preceded by its length, so that no two entries have the same text.
  const auto add = [&](std::string_view field) { sha.update(fmt::format("{}:{}", field.size(), field)); };
  add(previous);
  add(fmt::format("{}", sequence));
  add(fmt::format("{}", time_ms));
  add(actor);
  add(action);
  add(subject);
  add(detail_text);
  return to_hex(sha.finish());
}

std::int64_t Workspace::Impl::find_artifact_locked(const std::string& type, std::string_view name) {
  Statement find(db,
                 "SELECT Artifact.id FROM Artifact JOIN Type ON Type.id = Artifact.type_id WHERE Type.name = ? AND "
                 "Artifact.name = ?");
  find.bind(type).bind(name);
  return find.step() ? find.integer(0) : 0;
}

std::int64_t Workspace::Impl::add_artifact_locked(const std::string& type, std::string_view name, std::string_view uri,
                                                  std::int64_t context) {
  std::int64_t id = name.empty() ? 0 : find_artifact_locked(type, name);
  if (!id) {
    const auto type_id = type_locked(detail::kind_artifact, type);
    Statement insert(db,
                     "INSERT INTO Artifact(type_id, uri, state, name, create_time_since_epoch, "
                     "last_update_time_since_epoch) VALUES(?, ?, ?, ?, ?, ?)");
    insert.bind(type_id).bind(uri).bind(std::int64_t{detail::artifact_live});
    name.empty() ? insert.bind_null() : insert.bind(name);
    insert.bind(now_ms()).bind(now_ms()).run();
    id = db.last_id();
  }
  if (context)
    Statement(db, "INSERT OR IGNORE INTO Attribution(context_id, artifact_id) VALUES(?, ?)")
        .bind(context)
        .bind(id)
        .run();
  return id;
}

void Workspace::Impl::add_event_locked(std::int64_t artifact, std::int64_t execution, detail::EventType type,
                                       std::string_view role, std::string_view name) {
  Statement(db,
            "INSERT OR IGNORE INTO Event(artifact_id, execution_id, type, milliseconds_since_epoch) VALUES(?, ?, ?, ?)")
      .bind(artifact)
      .bind(execution)
      .bind(std::int64_t{type})
      .bind(now_ms())
      .run();
  std::int64_t event = 0;
  {
    Statement find(db, "SELECT id FROM Event WHERE artifact_id = ? AND execution_id = ? AND type = ?");
    find.bind(artifact).bind(execution).bind(std::int64_t{type});
    find.step();
    event = find.integer(0);
  }
  // Two path steps per use: the role, then the name.
  const auto role_step = detail::role_prefix + std::string(role);
  for (const auto step : {std::string_view(role_step), name})
    Statement(db, "INSERT INTO EventPath(event_id, is_index_step, step_key) VALUES(?, 0, ?)")
        .bind(event)
        .bind(step)
        .run();
}

std::int64_t Workspace::Impl::dataset_locked(const Dataset& data, const DatasetUse& use, std::string_view rows_blob,
                                             std::string_view hash, std::int64_t context) {
  const auto known = find_artifact_locked(detail::type_dataset, hash);
  const auto uri = fmt::format("artifacts/{}/{}", rows_blob.substr(0, 2), rows_blob.substr(2));
  const auto id = add_artifact_locked(detail::type_dataset, hash, uri, context);
  if (known) return id;
  set_property_locked("Artifact", id, "label", false, use.name);
  set_property_locked("Artifact", id, "origin", false, use.origin);
  set_property_locked("Artifact", id, "schema", false, detail::schema_to_json(data.schema()));
  set_property_locked("Artifact", id, "rows", false, static_cast<std::int64_t>(data.rows()));
  const auto ids = data.row_ids();
  const auto [low, high] = std::minmax_element(ids.begin(), ids.end());
  Statement(db, "INSERT INTO redoubt_rows(artifact_id, blob, first, last) VALUES(?, ?, ?, ?)")
      .bind(id)
      .bind(rows_blob)
      .bind(ids.empty() ? std::int64_t{1} : static_cast<std::int64_t>(*low))
      .bind(ids.empty() ? std::int64_t{0} : static_cast<std::int64_t>(*high))
      .run();
  const auto names = data.source_names();
  std::vector<char> present(names.size());
  for (const auto code : data.sources())
    if (code >= 0) present[static_cast<std::size_t>(code)] = 1;
  Statement source(db, "INSERT OR IGNORE INTO redoubt_source(name, artifact_id) VALUES(?, ?)");
  for (std::size_t i = 0; i < names.size(); ++i)
    if (present[i]) {
      source.rewind();
      source.bind(names[i]).bind(id).run();
    }
  return id;
}

DatasetRecord Workspace::Impl::dataset_record_locked(std::int64_t artifact) const {
  DatasetRecord record;
  Statement name(db, "SELECT name FROM Artifact WHERE id = ?");
  name.bind(artifact);
  if (name.step()) record.hash = name.text(0);
  record.name = text_property_locked("Artifact", artifact, "label");
  record.origin = text_property_locked("Artifact", artifact, "origin");
  record.schema = text_property_locked("Artifact", artifact, "schema");
  Statement rows(db, "SELECT int_value FROM ArtifactProperty WHERE artifact_id = ? AND name = 'rows'");
  rows.bind(artifact);
  if (rows.step()) record.rows = static_cast<std::uint64_t>(rows.integer(0));
  return record;
}

ModelRecord Workspace::Impl::model_record_locked(std::int64_t artifact) const {
  ModelRecord record;
  Statement name(db, "SELECT name FROM Artifact WHERE id = ?");
  name.bind(artifact);
  if (name.step()) record.hash = name.text(0);
  record.name = text_property_locked("Artifact", artifact, "label");
  record.algorithm = text_property_locked("Artifact", artifact, "algorithm");
  record.options = text_property_locked("Artifact", artifact, "options");
  record.data_hash = text_property_locked("Artifact", artifact, "data_hash");
  record.seed = std::strtoull(text_property_locked("Artifact", artifact, "seed").c_str(), nullptr, 10);
  return record;
}

Manifest Workspace::Impl::build_manifest_locked(std::int64_t context, std::string_view run_id) const {
  Manifest m;
  m.run_id = run_id;
  m.run_name = text_property_locked("Context", context, "label");
  m.state = text_property_locked("Context", context, "state");
  m.parent_model = text_property_locked("Context", context, "parent_model");
  m.code_commit = text_property_locked("Context", context, "code_commit");
  m.library_version = version();
  m.compiler = compiler_name();
  m.compiler_flags = REDOUBT_COMPILER_FLAGS;
  m.isa = to_string(active_isa());
  m.cpu = cpu_description();

  Statement events(db, R"sql(
    SELECT Event.id, Event.artifact_id, Event.type, Type.name FROM Association
    JOIN Event ON Event.execution_id = Association.execution_id
    JOIN Artifact ON Artifact.id = Event.artifact_id JOIN Type ON Type.id = Artifact.type_id
    WHERE Association.context_id = ? ORDER BY Event.id)sql");
  events.bind(context);
  while (events.step()) {
    const auto artifact = events.integer(1);
    const auto type = events.text(3);
    if (type == detail::type_model && events.integer(2) == detail::event_output)
      m.models.push_back(model_record_locked(artifact));
    if (type != detail::type_dataset) continue;
    auto record = dataset_record_locked(artifact);
    Statement path(db, "SELECT step_key FROM EventPath WHERE event_id = ? ORDER BY rowid");
    path.bind(events.integer(0));
    while (path.step()) {
      record.role = path.text(0).substr(std::string_view(detail::role_prefix).size());
      if (path.step()) record.name = path.text(0);
      if (std::find(m.datasets.begin(), m.datasets.end(), record) == m.datasets.end()) m.datasets.push_back(record);
    }
  }
  Statement metrics(db, R"sql(
    SELECT Type.name, ExecutionProperty.name, double_value FROM Association
    JOIN Execution ON Execution.id = Association.execution_id JOIN Type ON Type.id = Execution.type_id
    JOIN ExecutionProperty ON ExecutionProperty.execution_id = Execution.id
    WHERE Association.context_id = ? AND ExecutionProperty.name LIKE 'metric.%' ORDER BY Execution.id)sql");
  metrics.bind(context);
  while (metrics.step()) {
    const auto stage = metrics.text(0).substr(std::string_view(detail::stage_prefix).size());
    const auto key = stage + "." + metrics.text(1).substr(std::string_view("metric.").size());
    m.metrics[key] = metrics.is_null(2) ? std::nan("") : metrics.number(2);
  }
  return m;
}

std::int64_t Workspace::Impl::context_of_run_locked(std::string_view run_id) const {
  Statement find(db,
                 "SELECT Context.id FROM Context JOIN Type ON Type.id = Context.type_id WHERE Context.name = ? AND "
                 "Type.name = ?");
  find.bind(run_id).bind(std::string_view(detail::type_run));
  if (!find.step()) detail::fail(errc::not_found, fmt::format("no run \"{}\" in {}", run_id, directory));
  return find.integer(0);
}

std::string Workspace::Impl::run_of_stage_locked(std::int64_t execution) const {
  Statement find(db,
                 "SELECT Context.name FROM Association JOIN Context ON Context.id = Association.context_id WHERE "
                 "Association.execution_id = ?");
  find.bind(execution);
  return find.step() ? find.text(0) : std::string();
}

std::string Workspace::Impl::rows_blob_locked(std::int64_t dataset) const {
  Statement find(db, "SELECT blob FROM redoubt_rows WHERE artifact_id = ?");
  find.bind(dataset);
  if (!find.step())
    detail::fail(errc::corrupt, fmt::format("{}/redoubt.db: dataset {} has no rows entry", directory, dataset));
  return find.text(0);
}

DataImpact Workspace::Impl::impact_locked(const std::vector<std::int64_t>& datasets) const {
  DataImpact impact;
  std::vector<std::int64_t> models;
  for (const auto dataset : datasets) {
    impact.datasets.push_back(dataset_record_locked(dataset));
    Statement trained(db, R"sql(
      SELECT DISTINCT Out.artifact_id FROM Event AS In_
      JOIN EventPath ON EventPath.event_id = In_.id AND EventPath.step_key = 'role:train'
      JOIN Event AS Out ON Out.execution_id = In_.execution_id AND Out.type = 4
      JOIN Artifact ON Artifact.id = Out.artifact_id JOIN Type ON Type.id = Artifact.type_id
      WHERE In_.artifact_id = ? AND In_.type = 3 AND Type.name = ? ORDER BY Out.artifact_id)sql");
    trained.bind(dataset).bind(std::string_view(detail::type_model));
    while (trained.step())
      if (std::find(models.begin(), models.end(), trained.integer(0)) == models.end())
        models.push_back(trained.integer(0));
  }
  for (const auto model : models) {
    impact.models.push_back(model_record_locked(model));
    Statement versions(db, "SELECT name, version FROM redoubt_version WHERE model_hash = ? ORDER BY name, version");
    versions.bind(impact.models.back().hash);
    while (versions.step()) {
      std::string aliases;
      Statement alias(db, R"sql(
        SELECT alias FROM redoubt_alias AS a WHERE name = ? AND version = ? AND live = 1 AND id =
          (SELECT MAX(id) FROM redoubt_alias AS b WHERE b.name = a.name AND b.alias = a.alias AND b.live = 1)
        ORDER BY alias)sql");
      alias.bind(versions.text(0)).bind(versions.integer(1));
      while (alias.step()) aliases += (aliases.empty() ? " (" : ", ") + alias.text(0);
      impact.releases.push_back(
          fmt::format("{}@{}{}", versions.text(0), versions.integer(1), aliases.empty() ? "" : aliases + ")"));
    }
  }
  return impact;
}

}  // namespace redoubt
