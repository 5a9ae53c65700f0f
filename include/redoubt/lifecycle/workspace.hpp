#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/lifecycle/lineage.hpp"
#include "redoubt/lifecycle/manifest.hpp"
#include "redoubt/lifecycle/property.hpp"

namespace redoubt {

class Registry;
class Run;

/// Where a workspace takes the time from. Replace it to make tests and replays deterministic.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::int64_t now_ms() const = 0;  ///< milliseconds since 1970-01-01 UTC
};

struct WorkspaceOptions {
  std::string actor = "unknown";  ///< who acts, as written into the log; the library does not verify it
  std::uint64_t id_seed = 0;      ///< 0: run ids from the operating system's random source; else derived from this
  const Clock* clock = nullptr;   ///< null: the system clock. Must outlive the workspace
  int busy_timeout_ms = 5000;     ///< how long to wait for another process that writes
};

/// What a run is told when it begins.
struct RunOptions {
  std::string parent_model;  ///< hash of the model it starts from or means to replace
  std::string code_commit;   ///< revision of the application's code
  Properties properties;
};

/// How a stage uses a dataset.
struct DatasetUse {
  std::string name;    ///< "train", "holdout", ...
  std::string origin;  ///< the file or table that the row ids count in; lets two files both have a row 7
  std::string role;    ///< empty: "holdout" if the dataset is sealed, "train" otherwise
};

/// One entry of the event log.
struct LogEntry {
  std::uint64_t sequence = 0;  ///< 1, 2, 3, ...
  std::int64_t time_ms = 0;
  std::string actor, action, subject, detail;
  std::string hash;  ///< SHA-256 over this entry and the hash of the one before
};

struct LogCheck {
  bool intact = true;
  std::uint64_t entries = 0;
  std::uint64_t first_bad = 0;  ///< sequence of the first entry that does not fit; 0 if intact
  std::string reason;
};

struct RunRecord {
  std::string id, name;
  std::string state;  ///< "running", "complete", "failed"
  std::int64_t started_ms = 0;
};

/// A directory that remembers: `redoubt.db` (SQLite in WAL mode, the tables of ML Metadata's schema version 10
/// plus tables named redoubt_*) and `artifacts/` (files named by their SHA-256, refused on read if a byte changed).
///
/// Runs, datasets (hash, row ids, sources), models, verdicts and metrics go in; questions about lineage come out.
/// Every change is one transaction that also appends to a hash-chained log, so a process that dies leaves a
/// consistent workspace (at worst an artifact file that nothing refers to). Copies share the workspace.
/// Thread-safe; several processes may use one directory.
class Workspace {
 public:
  /// Creates the directory if needed. Error(io_error) if it cannot be written, Error(corrupt) if `redoubt.db` is not
  /// a database, Error(unsupported) if it has another schema version.
  static Workspace open(const std::string& directory, const WorkspaceOptions& options = {});

  const std::string& directory() const noexcept;

  // --- recording ----------------------------------------------------------------------------------
  Run begin_run(std::string_view name, const RunOptions& options = {});
  /// Stores bytes under their SHA-256, which it returns. Atomic; storing the same bytes twice is free.
  std::string store(std::span<const std::byte> bytes);
  /// Error(not_found), or Error(corrupt) if the file no longer has this hash.
  std::vector<std::byte> fetch(std::string_view sha256) const;

  // --- questions ----------------------------------------------------------------------------------
  std::vector<RunRecord> runs() const;  ///< oldest first
  /// Of a run that has ended; Error(not_found) otherwise.
  Manifest manifest(std::string_view run_id) const;
  Model load_model(std::string_view model_hash) const;
  /// Verdicts of a run as the JSON they were recorded with, in order.
  std::vector<std::string> verdicts(std::string_view run_id) const;
  /// Backward: model -> run -> datasets. `rows_of` continues to the source rows.
  ModelOrigin origin(std::string_view model_hash) const;
  DatasetRows rows_of(std::string_view dataset_hash) const;
  /// Forward: row -> datasets -> models -> releases. An empty `origin` matches every origin.
  DataImpact impact_of_row(RowId row, std::string_view origin = {}) const;
  DataImpact impact_of_source(std::string_view source) const;
  /// Of one run, or of everything if `run_id` is empty.
  LineageGraph lineage_graph(std::string_view run_id = {}) const;

  // --- the log ------------------------------------------------------------------------------------
  /// Adds an entry of the application's own.
  void append_log(std::string_view action, std::string_view subject, std::string_view detail = {});
  std::vector<LogEntry> log() const;
  /// Recomputes the chain: finds any entry that was edited, inserted or removed from the middle. Entries cut off at
  /// the end are found only by comparing with a head hash that was kept elsewhere: pass it as `expected_head`.
  LogCheck verify_log(std::string_view expected_head = {}) const;
  std::string log_head() const;  ///< hash of the last entry; 64 zeros if there is none

  Registry registry() const;

  struct Impl;                                                 ///< private
  const Shared<Impl>& impl() const noexcept { return impl_; }  ///< private: for Registry

 private:
  explicit Workspace(Shared<Impl> impl) : impl_(static_cast<Shared<Impl>&&>(impl)) {}
  Shared<Impl> impl_;
};

/// One step of a run: what went in, what came out, how it went. Move-only; a stage that is destroyed before
/// `complete` is recorded as failed.
class RunStage {
 public:
  RunStage(RunStage&&) noexcept;
  RunStage& operator=(RunStage&&) = delete;
  ~RunStage();

  void set(const Properties& properties);
  void input(const Dataset& data, const DatasetUse& use);
  /// A model that the stage reads (to evaluate, to compare); it must be stored already. Error(not_found) otherwise.
  void input(const Model& model);
  void output(const Dataset& data, const DatasetUse& use);
  /// Stores the model under this run's id as lineage id, and returns that stored model: publish and serve this one.
  Model output(const Model& model, std::string_view name);
  /// A check's result or another document as JSON text; Error(parse_error) if it is not JSON.
  void verdict(std::string_view name, std::string_view json);
  void metric(std::string_view name, double value);
  void complete();
  void fail(std::string_view reason);

 private:
  friend class Run;
  struct State;
  explicit RunStage(State* state) noexcept : state_(state) {}
  State* state_;  ///< owned
};

/// A run in progress. Move-only; one that is destroyed before `complete` is recorded as failed.
class Run {
 public:
  Run(Run&&) noexcept;
  Run& operator=(Run&&) = delete;
  ~Run();

  const std::string& id() const noexcept;  ///< 8-4-4-4-12 hexadecimal digits
  /// kind: "read", "screen", "train", "evaluate", ... becomes the execution's type.
  RunStage begin_stage(std::string_view kind, const Properties& properties = {});
  /// Writes the manifest and closes the run; returns what was written.
  Manifest complete();
  Manifest fail(std::string_view reason);

 private:
  friend class Workspace;
  struct State;
  explicit Run(State* state) noexcept : state_(state) {}
  State* state_;  ///< owned
};

}  // namespace redoubt
