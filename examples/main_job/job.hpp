#pragma once
// The parts of the main job; main.cpp tells the story.
#include <redoubt/redoubt.hpp>

#include <limits>
#include <string>
#include <vector>

namespace job {

using namespace redoubt;

struct Arguments {
  std::string file;  ///< empty: the simulated marketplace
  std::string target, source, time, goal;
  std::string out = "redoubt-job";  ///< folder for the workspace, the models and the report
  bool no_quotes = false, no_header = false;
  std::string target_suffix;
};

/// Exits with the usage on a wrong command line.
Arguments parse(int argc, char** argv);

/// The data that the job runs on, and what is known about its labels.
struct Input {
  Dataset data;  ///< as a user would have it: poison included
  bool simulated = false;
  std::string origin;           ///< the file
  std::string planted;          ///< what was planted, in words
  std::vector<RowId> poisoned;  ///< rows whose label is wrong on purpose, sorted
  Column true_target;           ///< the target column without the planted poison

  bool is_poisoned(RowId row) const;
  /// The same rows with the labels that they had before anything was planted.
  Dataset with_true_labels(const Dataset& rows) const;
};

/// Generates the marketplace and reads it back from its CSV file, or reads the user's file and plants label flips.
Input read_input(const Arguments& arguments);

/// {train, holdout}: by source and time where the data has them, else stratified; the holdout has true labels and is
/// sealed. `how` says what was done.
Split make_split(const Input& input, std::string& how);

/// Share of the planted poison of `train` that `blocked` names, and share of its other rows.
struct PoisonFound {
  double recall = std::numeric_limits<double>::quiet_NaN();  ///< NaN if nothing was planted
  double false_positive_rate = 0;
  std::size_t planted = 0, found = 0, false_alarms = 0, clean = 0;
};
PoisonFound compare(const Input& input, const Dataset& train, const std::vector<RowId>& blocked);

/// `train` with an attacker's delivery added: copies of 60 % of its rows under new ids with their labels turned, from a
/// few sources that nobody has seen before. Returns the names of those sources in `sources`.
Dataset with_poisoned_delivery(const Dataset& train, std::vector<std::string>& sources);

/// The goal file to use: the one given, the marketplace's own, or one written from a linear baseline on `train`.
std::string goal_path(const Arguments& arguments, const Input& input, const Dataset& train);

/// A client of the prediction service on a loopback port. Throws std::runtime_error if it does not answer.
class Client {
 public:
  Client(int port, std::string name);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool healthy();  ///< health and metadata answer 200
  /// Probabilities (or the value) of one row, asked as `caller`. `model` gives the names and types of the inputs.
  std::vector<float> ask(const Model& model, const RowView& row, const std::string& caller);

 private:
  struct Connection;
  Connection* connection_;
  std::string name_;
};

/// Everything that the HTML report shows.
struct Story {
  const Input& input;
  const ScreenReport& screened;
  const PoisonFound& found;
  const Evaluation& evaluation;
  const SensitivityReport& sensitivity;
  const GateReport& accepted;
  const GateReport& refused;
  const Evaluation& damaged;
  Verdict monitor;
  LineageGraph lineage;
};
void write_report(const Story& story, const std::string& path);

}  // namespace job
