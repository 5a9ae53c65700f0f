#include "redoubt/lifecycle/workspace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "lifecycle/store.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/lifecycle/registry.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {

using detail::Statement;
using detail::Transaction;
using Lock = std::lock_guard<std::mutex>;

// --- opening ----------------------------------------------------------------------------------------

Workspace Workspace::open(const std::string& directory, const WorkspaceOptions& options) {
  auto impl = Shared<Impl>::make();
  std::error_code error;
  std::filesystem::create_directories(directory + "/artifacts", error);
  if (error)
    detail::fail(errc::io_error, fmt::format("{}: cannot create the workspace: {}", directory, error.message()));
  impl->directory = directory;
  impl->options = options;
  auto& db = impl->db;
  db.open(directory + "/redoubt.db", options.busy_timeout_ms);

  Transaction transaction(db);
  db.run(
      "CREATE TABLE IF NOT EXISTS `MLMDEnv` (`schema_version` INTEGER PRIMARY KEY);"
      "CREATE TABLE IF NOT EXISTS redoubt_env (schema_version INTEGER PRIMARY KEY)");
  const auto check = [&](const char* table, int expected) {
    Statement version(db, fmt::format("SELECT schema_version FROM {}", table).c_str());
    if (!version.step()) {
      Statement(db, fmt::format("INSERT INTO {} VALUES(?)", table).c_str()).bind(std::int64_t{expected}).run();
    } else if (version.integer(0) != expected) {
      detail::fail(errc::unsupported, fmt::format("{}/redoubt.db: {} says schema version {}, this library reads {}",
                                                  directory, table, version.integer(0), expected));
    }
  };
  check("MLMDEnv", detail::mlmd_schema_version);
  check("redoubt_env", detail::workspace_schema_version);
  db.run(detail::mlmd_tables);
  db.run(detail::redoubt_tables);
  transaction.commit();
  return Workspace(std::move(impl));
}

const std::string& Workspace::directory() const noexcept { return impl_->directory; }

std::string Workspace::store(std::span<const std::byte> bytes) { return impl_->store(bytes); }
std::vector<std::byte> Workspace::fetch(std::string_view sha256) const { return impl_->fetch(sha256); }
Registry Workspace::registry() const { return Registry(*this); }

// --- a run ------------------------------------------------------------------------------------------

struct Run::State {
  Shared<Workspace::Impl> store;
  std::string id;
  std::int64_t context = 0;
  bool open = true;

  Manifest end(const char* state, std::string_view action, std::string_view reason);
};

struct RunStage::State {
  Shared<Workspace::Impl> store;
  std::string run_id, kind;
  std::int64_t context = 0, execution = 0;
  bool open = true;

  void require_open() const {
    if (!open) detail::fail(errc::invalid_argument, fmt::format("stage \"{}\" of run {} has ended", kind, run_id));
  }
  std::string subject() const { return run_id + "/" + kind; }
  void end(detail::ExecutionState state, std::string_view reason);
};

Run Workspace::begin_run(std::string_view name, const RunOptions& options) {
  auto state = std::make_unique<Run::State>();
  state->store = impl_;
  Lock lock(impl_->mutex);
  auto& store = *impl_;
  Transaction transaction(store.db);
  state->id = store.new_run_id_locked();
  const auto type = store.type_locked(detail::kind_context, detail::type_run);
  Statement(store.db,
            "INSERT INTO Context(type_id, name, create_time_since_epoch, last_update_time_since_epoch) "
            "VALUES(?, ?, ?, ?)")
      .bind(type)
      .bind(state->id)
      .bind(store.now_ms())
      .bind(store.now_ms())
      .run();
  state->context = store.db.last_id();
  const auto set = [&](const char* key, std::string value) {
    store.set_property_locked("Context", state->context, key, false, std::move(value));
  };
  set("label", std::string(name));
  set("state", "running");
  set("parent_model", options.parent_model);
  set("code_commit", options.code_commit);
  for (const auto& [key, value] : options.properties)
    store.set_property_locked("Context", state->context, key, true, value);
  store.log_locked(store.options.actor, "run.begin", state->id, name);
  transaction.commit();
  return Run(state.release());
}

Run::Run(Run&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
Run::~Run() {
  const std::unique_ptr<State> owned(state_);
  if (!state_ || !state_->open) return;
  try {
    state_->end("failed", "run.fail", "abandoned");
  } catch (...) {  // the store is gone: the run stays "running", which is what is known about it
  }
}

const std::string& Run::id() const noexcept { return state_->id; }
Manifest Run::complete() { return state_->end("complete", "run.complete", ""); }
Manifest Run::fail(std::string_view reason) { return state_->end("failed", "run.fail", reason); }

Manifest Run::State::end(const char* new_state, std::string_view action, std::string_view reason) {
  if (!open) detail::fail(errc::invalid_argument, fmt::format("run {} has ended already", id));
  Lock lock(store->mutex);
  Transaction transaction(store->db);
  store->set_property_locked("Context", context, "state", false, new_state);
  if (!reason.empty()) store->set_property_locked("Context", context, "reason", true, std::string(reason));
  auto manifest = store->build_manifest_locked(context, id);
  const auto text = manifest.to_json();
  const auto blob = store->store(std::as_bytes(std::span(text.data(), text.size())));
  store->add_artifact_locked(detail::type_manifest, blob,
                             fmt::format("artifacts/{}/{}", blob.substr(0, 2), blob.substr(2)), context);
  store->set_property_locked("Context", context, "manifest", true, blob);
  store->log_locked(store->options.actor, action, id,
                    reason.empty() ? fmt::format("manifest {}", blob) : fmt::format("manifest {}: {}", blob, reason));
  transaction.commit();
  open = false;
  return manifest;
}

RunStage Run::begin_stage(std::string_view kind, const Properties& properties) {
  if (!state_->open) detail::fail(errc::invalid_argument, fmt::format("run {} has ended already", state_->id));
  if (kind.empty() || kind.size() > 100) detail::fail(errc::invalid_argument, "a stage needs a kind of 1 to 100 bytes");
  auto stage = std::make_unique<RunStage::State>();
  stage->store = state_->store;
  stage->run_id = state_->id;
  stage->kind = kind;
  stage->context = state_->context;
  auto& store = *state_->store;
  Lock lock(store.mutex);
  Transaction transaction(store.db);
  const auto type = store.type_locked(detail::kind_execution, detail::stage_prefix + stage->kind);
  Statement(store.db,
            "INSERT INTO Execution(type_id, last_known_state, create_time_since_epoch, "
            "last_update_time_since_epoch) VALUES(?, ?, ?, ?)")
      .bind(type)
      .bind(std::int64_t{detail::execution_running})
      .bind(store.now_ms())
      .bind(store.now_ms())
      .run();
  stage->execution = store.db.last_id();
  Statement(store.db, "INSERT INTO Association(context_id, execution_id) VALUES(?, ?)")
      .bind(stage->context)
      .bind(stage->execution)
      .run();
  for (const auto& [key, value] : properties)
    store.set_property_locked("Execution", stage->execution, key, true, value);
  store.log_locked(store.options.actor, "stage.begin", stage->subject(), "");
  transaction.commit();
  return RunStage(stage.release());
}

// --- a stage ----------------------------------------------------------------------------------------

RunStage::RunStage(RunStage&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
RunStage::~RunStage() {
  const std::unique_ptr<State> owned(state_);
  if (!state_ || !state_->open) return;
  try {
    state_->end(detail::execution_failed, "abandoned");
  } catch (...) {  // as in ~Run
  }
}

void RunStage::complete() { state_->end(detail::execution_complete, ""); }
void RunStage::fail(std::string_view reason) { state_->end(detail::execution_failed, reason); }

void RunStage::State::end(detail::ExecutionState new_state, std::string_view reason) {
  require_open();
  Lock lock(store->mutex);
  Transaction transaction(store->db);
  Statement(store->db, "UPDATE Execution SET last_known_state = ?, last_update_time_since_epoch = ? WHERE id = ?")
      .bind(std::int64_t{new_state})
      .bind(store->now_ms())
      .bind(execution)
      .run();
  if (!reason.empty()) store->set_property_locked("Execution", execution, "reason", true, std::string(reason));
  store->log_locked(store->options.actor, new_state == detail::execution_complete ? "stage.complete" : "stage.fail",
                    subject(), reason);
  transaction.commit();
  open = false;
}

void RunStage::set(const Properties& properties) {
  state_->require_open();
  auto& store = *state_->store;
  Lock lock(store.mutex);
  Transaction transaction(store.db);
  for (const auto& [key, value] : properties)
    store.set_property_locked("Execution", state_->execution, key, true, value);
  transaction.commit();
}

void RunStage::metric(std::string_view name, double value) { set({{"metric." + std::string(name), value}}); }

namespace {

/// Row ids and sources of a dataset as bytes: a safetensors container, ordered by row id.
std::vector<std::byte> rows_to_bytes(const Dataset& data) {
  const auto ids = data.row_ids();
  std::vector<std::size_t> order(ids.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return ids[a] < ids[b]; });
  std::vector<std::uint64_t> sorted;
  sorted.reserve(order.size());
  for (const auto row : order) sorted.push_back(ids[row]);
  Archive archive;
  archive.put("ids", sorted);
  if (const auto sources = data.sources(); !sources.empty()) {
    std::vector<std::int32_t> codes;
    codes.reserve(order.size());
    for (const auto row : order) codes.push_back(sources[row]);
    archive.put("sources", codes);
    const auto names = data.source_names();
    archive.set_list("source_names", names);
  }
  return archive.to_bytes();
}

DatasetRows rows_from_bytes(std::span<const std::byte> bytes, std::string_view origin) {
  const auto archive = Archive::from_bytes(bytes, origin);
  DatasetRows rows;
  rows.ids = archive.get_vector<std::uint64_t>("ids");
  if (archive.has_tensor("sources")) {
    rows.sources = archive.get_vector<std::int32_t>("sources");
    rows.source_names = archive.get_list("source_names");
  }
  return rows;
}

std::string role_of(const Dataset& data, const DatasetUse& use) {
  if (!use.role.empty()) return use.role;
  return data.sealed() ? "holdout" : "train";
}

}  // namespace

static void record_dataset(Workspace::Impl& store, const Dataset& data, DatasetUse use, std::int64_t context,
                           std::int64_t execution, const std::string& subject, detail::EventType event) {
  use.role = role_of(data, use);
  const auto hash = data.hash();
  const auto blob = store.store(rows_to_bytes(data));
  Lock lock(store.mutex);
  Transaction transaction(store.db);
  const auto artifact = store.dataset_locked(data, use, blob, hash, context);
  store.add_event_locked(artifact, execution, event, use.role, use.name);
  store.log_locked(store.options.actor, event == detail::event_input ? "data.input" : "data.output", subject,
                   fmt::format("{} as {}", hash, use.role));
  transaction.commit();
}

void RunStage::input(const Dataset& data, const DatasetUse& use) {
  state_->require_open();
  record_dataset(*state_->store, data, use, state_->context, state_->execution, state_->subject(), detail::event_input);
}

void RunStage::output(const Dataset& data, const DatasetUse& use) {
  state_->require_open();
  record_dataset(*state_->store, data, use, state_->context, state_->execution, state_->subject(),
                 detail::event_output);
}

void RunStage::input(const Model& model) {
  state_->require_open();
  const auto hash = model.hash();
  auto& store = *state_->store;
  Lock lock(store.mutex);
  Transaction transaction(store.db);
  const auto artifact = store.find_artifact_locked(detail::type_model, hash);
  if (!artifact)
    detail::fail(errc::not_found,
                 fmt::format("model {} is not stored in {}; use the model that RunStage::output returned", hash,
                             store.directory));
  store.add_event_locked(artifact, state_->execution, detail::event_input, "model",
                         store.text_property_locked("Artifact", artifact, "label"));
  store.log_locked(store.options.actor, "model.input", state_->subject(), hash);
  transaction.commit();
}

Model RunStage::output(const Model& model, std::string_view name) {
  state_->require_open();
  auto stored = model.with_lineage(state_->run_id);
  auto& store = *state_->store;
  const auto hash = store.store(stored.to_bytes());
  const auto& info = stored.info();
  Lock lock(store.mutex);
  Transaction transaction(store.db);
  const auto artifact = store.add_artifact_locked(
      detail::type_model, hash, fmt::format("artifacts/{}/{}", hash.substr(0, 2), hash.substr(2)), state_->context);
  const auto set = [&](const char* key, std::string value) {
    store.set_property_locked("Artifact", artifact, key, false, std::move(value));
  };
  set("label", std::string(name));
  set("algorithm", info.algorithm);
  set("options", info.options);
  set("seed", fmt::format("{}", info.seed));
  set("data_hash", info.data_hash);
  set("run_id", state_->run_id);
  store.add_event_locked(artifact, state_->execution, detail::event_output, "model", name);
  store.log_locked(store.options.actor, "model.output", state_->subject(), hash);
  transaction.commit();
  return stored;
}

void RunStage::verdict(std::string_view name, std::string_view json) {
  state_->require_open();
  if (!nlohmann::json::accept(json))
    detail::fail(errc::parse_error, fmt::format("verdict \"{}\" of stage \"{}\" is not JSON", name, state_->kind));
  auto& store = *state_->store;
  const auto blob = store.store(std::as_bytes(std::span(json.data(), json.size())));
  Lock lock(store.mutex);
  Transaction transaction(store.db);
  const auto artifact = store.add_artifact_locked(
      detail::type_verdict, "", fmt::format("artifacts/{}/{}", blob.substr(0, 2), blob.substr(2)), state_->context);
  store.set_property_locked("Artifact", artifact, "label", false, std::string(name));
  store.set_property_locked("Artifact", artifact, "blob", true, blob);
  store.add_event_locked(artifact, state_->execution, detail::event_output, "verdict", name);
  store.log_locked(store.options.actor, "verdict", state_->subject(), fmt::format("{} {}", name, blob));
  transaction.commit();
}

// --- questions --------------------------------------------------------------------------------------

std::vector<RunRecord> Workspace::runs() const {
  Lock lock(impl_->mutex);
  std::vector<RunRecord> runs;
  Statement select(impl_->db,
                   "SELECT Context.id, Context.name, create_time_since_epoch FROM Context JOIN Type ON "
                   "Type.id = Context.type_id WHERE Type.name = ? ORDER BY Context.id");
  select.bind(std::string_view(detail::type_run));
  while (select.step())
    runs.push_back({select.text(1), impl_->text_property_locked("Context", select.integer(0), "label"),
                    impl_->text_property_locked("Context", select.integer(0), "state"), select.integer(2)});
  return runs;
}

Manifest Workspace::manifest(std::string_view run_id) const {
  std::string blob;
  {
    Lock lock(impl_->mutex);
    blob = impl_->text_property_locked("Context", impl_->context_of_run_locked(run_id), "manifest");
  }
  if (blob.empty())
    detail::fail(errc::not_found, fmt::format("run {} has no manifest: it has not ended, or its process died", run_id));
  const auto bytes = impl_->fetch(blob);
  return Manifest::from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

Model Workspace::load_model(std::string_view model_hash) const {
  return Model::from_bytes(impl_->fetch(model_hash), fmt::format("{}/artifacts/{}", directory(), model_hash));
}

std::vector<std::string> Workspace::verdicts(std::string_view run_id) const {
  std::vector<std::string> blobs;
  {
    Lock lock(impl_->mutex);
    const auto context = impl_->context_of_run_locked(run_id);
    Statement select(impl_->db,
                     "SELECT Artifact.id FROM Attribution JOIN Artifact ON Artifact.id = "
                     "Attribution.artifact_id JOIN Type ON Type.id = Artifact.type_id WHERE "
                     "Attribution.context_id = ? AND Type.name = ? ORDER BY Artifact.id");
    select.bind(context).bind(std::string_view(detail::type_verdict));
    while (select.step()) blobs.push_back(impl_->text_property_locked("Artifact", select.integer(0), "blob"));
  }
  std::vector<std::string> verdicts;
  for (const auto& blob : blobs) {
    const auto bytes = impl_->fetch(blob);
    verdicts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return verdicts;
}

ModelOrigin Workspace::origin(std::string_view model_hash) const {
  Lock lock(impl_->mutex);
  auto& store = *impl_;
  const auto artifact = store.find_artifact_locked(detail::type_model, model_hash);
  if (!artifact) detail::fail(errc::not_found, fmt::format("no model {} in {}", model_hash, store.directory));
  ModelOrigin origin;
  origin.model = store.model_record_locked(artifact);
  origin.run_id = store.text_property_locked("Artifact", artifact, "run_id");
  origin.run_name = store.text_property_locked("Context", store.context_of_run_locked(origin.run_id), "label");
  Statement inputs(store.db, R"sql(
    SELECT DISTINCT In_.id, In_.artifact_id FROM Event AS Out
    JOIN Event AS In_ ON In_.execution_id = Out.execution_id AND In_.type = 3
    JOIN EventPath ON EventPath.event_id = In_.id AND EventPath.step_key = 'role:train'
    JOIN Artifact ON Artifact.id = In_.artifact_id JOIN Type ON Type.id = Artifact.type_id
    WHERE Out.artifact_id = ? AND Out.type = 4 AND Type.name = ? ORDER BY In_.id)sql");
  inputs.bind(artifact).bind(std::string_view(detail::type_dataset));
  while (inputs.step()) {
    auto record = store.dataset_record_locked(inputs.integer(1));
    record.role = "train";
    origin.trained_on.push_back(std::move(record));
  }
  return origin;
}

DatasetRows Workspace::rows_of(std::string_view dataset_hash) const {
  std::string blob;
  {
    Lock lock(impl_->mutex);
    const auto artifact = impl_->find_artifact_locked(detail::type_dataset, dataset_hash);
    if (!artifact) detail::fail(errc::not_found, fmt::format("no dataset {} in {}", dataset_hash, impl_->directory));
    blob = impl_->rows_blob_locked(artifact);
  }
  return rows_from_bytes(impl_->fetch(blob), blob);
}

DataImpact Workspace::impact_of_row(RowId row, std::string_view origin) const {
  struct Candidate {
    std::int64_t artifact;
    std::string blob;
  };
  std::vector<Candidate> candidates;
  {
    Lock lock(impl_->mutex);
    Statement select(impl_->db, "SELECT artifact_id, blob, first, last FROM redoubt_rows ORDER BY artifact_id");
    while (select.step()) {
      const auto first = static_cast<RowId>(select.integer(2)), last = static_cast<RowId>(select.integer(3));
      if (row < first || row > last) continue;
      if (!origin.empty() && impl_->text_property_locked("Artifact", select.integer(0), "origin") != origin) continue;
      candidates.push_back({select.integer(0), select.text(1)});
    }
  }
  std::vector<std::int64_t> datasets;
  for (const auto& candidate : candidates) {
    const auto rows = rows_from_bytes(impl_->fetch(candidate.blob), candidate.blob);
    if (std::binary_search(rows.ids.begin(), rows.ids.end(), row)) datasets.push_back(candidate.artifact);
  }
  Lock lock(impl_->mutex);
  return impl_->impact_locked(datasets);
}

DataImpact Workspace::impact_of_source(std::string_view source) const {
  Lock lock(impl_->mutex);
  std::vector<std::int64_t> datasets;
  Statement select(impl_->db, "SELECT artifact_id FROM redoubt_source WHERE name = ? ORDER BY artifact_id");
  select.bind(source);
  while (select.step()) datasets.push_back(select.integer(0));
  return impl_->impact_locked(datasets);
}

LineageGraph Workspace::lineage_graph(std::string_view run_id) const {
  Lock lock(impl_->mutex);
  auto& store = *impl_;
  LineageGraph graph;
  std::map<std::int64_t, std::size_t> artifact_node;
  const auto short_hash = [](const std::string& hash) { return hash.substr(0, 12); };

  const auto node_of_artifact = [&](std::int64_t artifact) {
    if (const auto known = artifact_node.find(artifact); known != artifact_node.end()) return known->second;
    LineageNode node;
    node.id = fmt::format("artifact:{}", artifact);
    Statement type(store.db,
                   "SELECT Type.name FROM Artifact JOIN Type ON Type.id = Artifact.type_id WHERE Artifact.id = ?");
    type.bind(artifact);
    type.step();
    const auto type_name = type.text(0);
    if (type_name == detail::type_dataset) {
      const auto record = store.dataset_record_locked(artifact);
      node.kind = LineageKind::dataset;
      node.label = record.name;
      node.detail = fmt::format("{} rows, {}", record.rows, short_hash(record.hash));
    } else if (type_name == detail::type_model) {
      const auto record = store.model_record_locked(artifact);
      node.kind = LineageKind::model;
      node.label = record.name;
      node.detail = fmt::format("{}, {}", record.algorithm, short_hash(record.hash));
      node.run_id = store.text_property_locked("Artifact", artifact, "run_id");
    } else {
      node.kind = LineageKind::verdict;
      node.label = store.text_property_locked("Artifact", artifact, "label");
    }
    graph.nodes.push_back(std::move(node));
    return artifact_node[artifact] = graph.nodes.size() - 1;
  };

  const std::int64_t context = run_id.empty() ? 0 : store.context_of_run_locked(run_id);
  Statement stages(store.db, R"sql(
    SELECT Execution.id, Type.name, last_known_state FROM Association
    JOIN Execution ON Execution.id = Association.execution_id JOIN Type ON Type.id = Execution.type_id
    WHERE ?1 = 0 OR Association.context_id = ?1 ORDER BY Execution.id)sql");
  stages.bind(context);
  while (stages.step()) {
    const auto execution = stages.integer(0);
    LineageNode node;
    node.id = fmt::format("stage:{}", execution);
    node.label = stages.text(1).substr(std::string_view(detail::stage_prefix).size());
    node.detail = stages.integer(2) == detail::execution_complete  ? "complete"
                  : stages.integer(2) == detail::execution_running ? "running"
                                                                   : "failed";
    node.run_id = store.run_of_stage_locked(execution);
    Statement metrics(store.db,
                      "SELECT name, double_value FROM ExecutionProperty WHERE execution_id = ? AND name LIKE "
                      "'metric.%' AND double_value IS NOT NULL ORDER BY name");
    metrics.bind(execution);
    while (metrics.step())
      node.detail +=
          fmt::format(", {} {:.4g}", metrics.text(0).substr(std::string_view("metric.").size()), metrics.number(1));
    graph.nodes.push_back(std::move(node));
    const auto stage = graph.nodes.size() - 1;

    Statement events(store.db, "SELECT id, artifact_id, type FROM Event WHERE execution_id = ? ORDER BY id");
    events.bind(execution);
    while (events.step()) {
      const auto artifact = node_of_artifact(events.integer(1));
      if (events.integer(2) == detail::event_output) {
        graph.edges.push_back({stage, artifact, ""});
        continue;
      }
      Statement path(store.db, "SELECT step_key FROM EventPath WHERE event_id = ? ORDER BY rowid LIMIT 1");
      path.bind(events.integer(0));
      const auto role = path.step() ? path.text(0).substr(std::string_view(detail::role_prefix).size()) : std::string();
      graph.edges.push_back({artifact, stage, role});
    }
  }

  Statement versions(store.db, "SELECT name, version, model_hash, forced FROM redoubt_version ORDER BY name, version");
  while (versions.step()) {
    const auto model = artifact_node.find(store.find_artifact_locked(detail::type_model, versions.text(2)));
    if (model == artifact_node.end()) continue;
    LineageNode node;
    node.id = fmt::format("release:{}@{}", versions.text(0), versions.integer(1));
    node.kind = LineageKind::release;
    node.label = fmt::format("{}@{}", versions.text(0), versions.integer(1));
    node.detail = versions.integer(3) ? "forced past the gate" : "passed the gate";
    graph.nodes.push_back(std::move(node));
    graph.edges.push_back({model->second, graph.nodes.size() - 1, ""});
  }
  return graph;
}

// --- the log ----------------------------------------------------------------------------------------

void Workspace::append_log(std::string_view action, std::string_view subject, std::string_view detail_text) {
  Lock lock(impl_->mutex);
  Transaction transaction(impl_->db);
  impl_->log_locked(impl_->options.actor, action, subject, detail_text);
  transaction.commit();
}

std::vector<LogEntry> Workspace::log() const {
  Lock lock(impl_->mutex);
  std::vector<LogEntry> entries;
  Statement select(impl_->db,
                   "SELECT sequence, time_ms, actor, action, subject, detail, hash FROM redoubt_log ORDER BY sequence");
  while (select.step())
    entries.push_back({static_cast<std::uint64_t>(select.integer(0)), select.integer(1), select.text(2), select.text(3),
                       select.text(4), select.text(5), select.text(6)});
  return entries;
}

LogCheck Workspace::verify_log(std::string_view expected_head) const {
  LogCheck check;
  std::string previous(64, '0');
  for (const auto& entry : log()) {
    ++check.entries;
    const auto bad = [&](std::string reason) {
      check.intact = false;
      check.first_bad = entry.sequence;
      check.reason = std::move(reason);
    };
    if (entry.sequence != check.entries) {
      bad(fmt::format("entry {} is missing", check.entries));
      return check;
    }
    const auto hash = detail::log_hash(previous, static_cast<std::int64_t>(entry.sequence), entry.time_ms, entry.actor,
                                       entry.action, entry.subject, entry.detail);
    if (hash != entry.hash) {
      bad(fmt::format("entry {} ({} {}) does not have the hash that was recorded", entry.sequence, entry.action,
                      entry.subject));
      return check;
    }
    previous = entry.hash;
  }
  if (!expected_head.empty() && previous != expected_head) {
    check.intact = false;
    check.first_bad = check.entries + 1;
    check.reason =
        fmt::format("the log ends with hash {}, expected {}: entries were cut off or added", previous, expected_head);
  }
  return check;
}

std::string Workspace::log_head() const {
  Lock lock(impl_->mutex);
  Statement last(impl_->db, "SELECT hash FROM redoubt_log ORDER BY sequence DESC LIMIT 1");
  return last.step() ? last.text(0) : std::string(64, '0');
}

}  // namespace redoubt
