#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace redoubt {

/// A dataset as a run saw it.
struct DatasetRecord {
  std::string hash;    ///< Dataset::hash()
  std::string name;    ///< what the run called it: "train"
  std::string origin;  ///< where its row ids come from: a file, a table
  std::string role;    ///< "train", "holdout", "reference"
  std::string schema;  ///< column names, types and roles as JSON
  std::uint64_t rows = 0;

  bool operator==(const DatasetRecord&) const = default;
};

/// A model as a run stored it.
struct ModelRecord {
  std::string hash;  ///< Model::hash() of the stored bytes
  std::string name;
  std::string algorithm;
  std::string options;
  std::string data_hash;  ///< of the training rows
  std::uint64_t seed = 0;

  bool operator==(const ModelRecord&) const = default;
};

/// What is needed to say how a run came about, and to repeat it. Stored as JSON when the run ends.
struct Manifest {
  std::string run_id;
  std::string run_name;
  std::string state;  ///< "complete" or "failed"
  std::string library_version;
  std::string compiler;        ///< name and version
  std::string compiler_flags;  ///< of the library
  std::string isa;
  std::string cpu;
  std::string code_commit;   ///< given by the application in RunOptions; Redoubt cannot know it
  std::string parent_model;  ///< hash of the model that this run starts from or replaces; may be empty
  std::vector<DatasetRecord> datasets;
  std::vector<ModelRecord> models;
  std::map<std::string, double> metrics;  ///< "stage.metric" -> value

  std::string to_json() const;
  /// Error(corrupt) naming the field that is absent or of the wrong type.
  static Manifest from_json(std::string_view json);
  /// Names of the fields without which the run cannot be repeated or audited and that are empty;
  /// an empty list means complete. `parent_model` may be empty.
  std::vector<std::string> missing() const;
};

/// One field that differs: "datasets.train.hash", "metrics.evaluate.roc_auc", ... An empty side means absent.
struct ManifestChange {
  std::string field, before, after;
};

/// Everything in which two manifests differ, in order of field name; run ids and states are not compared.
std::vector<ManifestChange> diff(const Manifest& before, const Manifest& after);

}  // namespace redoubt
