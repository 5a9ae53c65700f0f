#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/data/encoder.hpp"

namespace redoubt::cli {
namespace {

bool is_model(const std::string& path) {
  // A model file starts with the length of its JSON header, then '{'.
  std::ifstream file(path, std::ios::binary);
  char head[9] = {};
  return file.read(head, 9) && head[8] == '{' && head[7] == 0 && head[6] == 0;
}

nlohmann::json inspect_model(const std::string& path, const std::string& importance) {
  const Model model = Model::load(path);
  const ModelInfo& info = model.info();
  nlohmann::json result = {{"file", path},
                           {"hash", model.hash()},
                           {"algorithm", info.algorithm},
                           {"options", info.options},
                           {"task", to_string(model.task())},
                           {"classes", model.classes()},
                           {"features", describe(model.schema())},
                           {"encoded_width", model.encoder().width()},
                           {"seed", info.seed},
                           {"train_rows", info.train_rows},
                           {"data_hash", info.data_hash},
                           {"lineage_id", info.lineage_id},
                           {"library_version", info.library_version},
                           {"isa", info.isa},
                           {"self_test", "passed"}};
  if (!importance.empty()) result["importance"] = importance_of(model, importance);
  return result;
}

nlohmann::json inspect_data(const DataArguments& arguments) {
  const Dataset data = read(arguments);
  auto columns = describe(data.schema());
  for (std::size_t c = 0; c < data.cols(); ++c) {
    std::size_t missing = 0;
    for (std::size_t row = 0; row < data.rows(); ++row) missing += data.column(c).missing(row);
    columns[c]["missing"] = missing;
  }
  auto quarantine = nlohmann::json::array();
  for (const QuarantinedRow& row : data.quarantine())
    quarantine.push_back({{"file", row.file}, {"line", row.line}, {"column", row.column}, {"reason", row.reason}});
  return {{"file", arguments.file}, {"rows", data.rows()}, {"task", to_string(data.task())},
          {"hash", data.hash()},    {"columns", columns},  {"quarantine", quarantine}};
}

/// The same content for people: a line per entry, a table per list of objects.
void print_readable(const nlohmann::json& json) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_array() && !value.empty() && value[0].is_object()) {
      std::cout << key << ":\n";
      for (const auto& row : value) {
        std::string line = " ";
        for (const auto& [name, cell] : row.items())
          line += fmt::format(" {}={}", name, cell.is_string() ? cell.get<std::string>() : cell.dump());
        std::cout << line << '\n';
      }
    } else {
      std::cout << fmt::format("{}: {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
}

}  // namespace

void add_inspect(CLI::App& app, int&) {
  struct Arguments {
    DataArguments data;
    std::string importance;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand(
      "inspect",
      "what is in a model file (its self-test is re-run) or in a data file (columns, types, missing, bad rows)");
  add_data_arguments(*command, arguments->data, false);
  add_importance(*command, arguments->importance);
  command->add_flag("--json", arguments->json, "print the result as JSON");
  command->callback([arguments] {
    const auto result = is_model(arguments->data.file) ? inspect_model(arguments->data.file, arguments->importance)
                                                       : inspect_data(arguments->data);
    if (arguments->json)
      print(result);
    else
      print_readable(result);
  });
}

}  // namespace redoubt::cli
